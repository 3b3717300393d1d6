# SPDX-License-Identifier: Apache-2.0
"""The checker that an installation has of its own: through the same door as all others, from its own region."""

import asyncio
import shutil

import pytest

from caryatid.checker.identity import Place
from caryatid.config import Settings
from caryatid.control import authority
from caryatid.control.gslb import home
from caryatid.model import GSLB_MEMBER, GSLB_MONITOR, GSLB_POOL
from caryatid.services.checker import TOKEN, serve
from caryatid.services.checking import OwnChecker
from caryatid.store.database import Database
from caryatid.store.gslb import enrolled, shares, votes
from caryatid.wire.checks import SHARES
from tests.conducting import conducted
from tests.doors import open_door

LATE_S = 30


@pytest.fixture
def registry(tmp_path, sqlite):
    shutil.copy(sqlite, tmp_path / "caryatid.db")
    database = Database(f"sqlite:///{tmp_path}/caryatid.db")
    yield authority.open_registry(database, Settings(state_dir=tmp_path, gslb_allowed_targets="127.0.0.1/32"))
    database.close()


def words(registry, members):
    with registry.database.read() as tx:
        return {key: [one.word for one in said] for key, said in votes.of_members(tx, members).items()}


def test_it_enrols_by_itself_checks_what_is_wanted_and_gives_back_what_it_held(registry):
    async def story():
        async with asyncio.timeout(LATE_S), conducted(registry) as place:
            listening = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0)
            port = listening.sockets[0].getsockname()[1]
            orchard = place.orchard
            monitor = orchard.part(GSLB_MONITOR, type="tcp", interval=0.5, timeout=0.4, fall=1)
            pool = orchard.part(GSLB_POOL, monitors=[{"monitor_id": monitor}])
            member = orchard.part(GSLB_MEMBER, pool_id=pool, address="127.0.0.1", port=port)
            orchard.gslb(pools=[{"pool_id": pool}])
            door = open_door(registry.database, registry.settings)
            async with OwnChecker(door, registry, ("127.0.0.1", int(place.url.rpartition(":")[2]))):
                await until(lambda: words(registry, [member]) == {member: ["UP"]})
                listening.close()
                await until(lambda: words(registry, [member]) == {member: ["DOWN"]})
            return home.ensure(door)

    region = asyncio.run(story())
    with registry.database.read() as tx:
        assert {share.checker for share in shares.of(tx, region)} == {""}
        assert [one.region_id for one in enrolled.every(tx)] == [region]


def test_two_checkers_of_a_region_share_its_checks_and_who_is_left_has_all(registry):
    def holders(region):
        with registry.database.read() as tx:
            return [share.checker for share in shares.of(tx, region)]

    def voters(members):
        with registry.database.read() as tx:
            return {one.checker for said in votes.of_members(tx, members).values() for one in said if one.word == "UP"}

    async def story():
        async with asyncio.timeout(2 * LATE_S), conducted(registry) as place:
            listening = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0)
            port = listening.sockets[0].getsockname()[1]
            orchard, region = place.orchard, place.region("fra")
            monitor = orchard.part(GSLB_MONITOR, type="tcp", interval=0.5, timeout=0.4)
            pool = orchard.part(GSLB_POOL, monitors=[{"monitor_id": monitor}])
            member = {"pool_id": pool, "address": "127.0.0.1"}
            members = [orchard.part(GSLB_MEMBER, **member, port=port, name=str(number)) for number in range(40)]
            orchard.gslb(pools=[{"pool_id": pool}])
            stops, running = [asyncio.Event(), asyncio.Event()], []
            for number, stop in enumerate(stops):
                directory = registry.settings.state_dir / f"checker{number}"
                directory.mkdir()
                (directory / TOKEN).write_text(place.token(region).encode())
                there = Place(directory, region, [place.url], directory / TOKEN)
                running.append(asyncio.create_task(serve(registry.settings, there, stop)))
            await until(lambda: sorted(map(holders(region).count, set(holders(region)))) == [SHARES // 2] * 2)
            await until(lambda: voters(members) == set(holders(region)))
            stops[0].set()
            await running[0]
            await until(lambda: len(set(holders(region))) == 1 and "" not in holders(region))
            await until(lambda: voters(members) == set(holders(region)))
            assert {word for said in words(registry, members).values() for word in said} == {"UP"}
            stops[1].set()
            await running[1]
            listening.close()

    asyncio.run(story())


async def until(condition):
    while not condition():  # noqa: ASYNC110  others write what is waited for
        await asyncio.sleep(0.02)
