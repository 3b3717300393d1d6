# SPDX-License-Identifier: Apache-2.0
"""Two installations: one tells the other how its load balancers are."""

import asyncio
import json
import shutil

import pytest

from caryatid.api.news import News
from caryatid.config import Settings
from caryatid.control import authority, initial, writes
from caryatid.control.health import Observer
from caryatid.drivers.noop import WORLD
from caryatid.model import LOADBALANCER
from caryatid.model.policy import Caller
from caryatid.services.reporter import Reporter
from caryatid.store.database import Database
from caryatid.store.wake import Wakeups
from tests.conducting import conducted
from tests.doors import open_door

LATE_S = 30


@pytest.fixture
def there(tmp_path, sqlite):
    """The registry of the installation that is told."""
    shutil.copy(sqlite, tmp_path / "there.db")
    database = Database(f"sqlite:///{tmp_path}/there.db")
    yield authority.open_registry(database, Settings(state_dir=tmp_path / "there"))
    database.close()


@pytest.fixture
def here(tmp_path, sqlite):
    """The door of the one that tells."""
    WORLD.forget()
    shutil.copy(sqlite, tmp_path / "here.db")
    settings = Settings(
        state_dir=tmp_path / "here", amphora_driver="noop", compute_driver="noop", network_driver="noop"
    )
    door = open_door(Database(f"sqlite:///{tmp_path}/here.db"), settings)
    initial.ensure(door)
    yield door
    door.database.close()
    WORLD.forget()


def known(registry):
    with registry.database.read() as tx:
        columns = "loadbalancer_id, region_id, addresses, operating_status"
        found = tx.connection.exec_driver_sql(f"SELECT {columns} FROM gslb_remote").all()
    return {row[0]: (row[1], json.loads(row[2]), row[3]) for row in found}


async def until(registry, wanted):
    async with asyncio.timeout(LATE_S):
        while known(registry) != wanted:  # noqa: ASYNC110  it is another process's database, as it were
            await asyncio.sleep(0.02)


def test_another_installation_learns_how_load_balancers_here_are_and_when_one_is_otherwise(there, here):
    balancer = {"vip_subnet_id": initial.SUBNET_ID, "vip_address": "127.100.0.9"}
    key = writes.create(here, Caller("t", "p1", is_admin=True), LOADBALANCER, balancer).document["id"]

    def seen(status):
        Observer(here.database).update_health(
            {"loadbalancers": {key: {"loadbalancer-status": status, "listeners": {}}}}
        )

    async def story():
        async with conducted(there) as place:
            region = place.region("fra")
            directory = here.settings.state_dir / "reporter"
            directory.mkdir(parents=True)
            (directory / "token").write_text(place.token(region).encode())
            wakeups = Wakeups(here.database)
            wakeups.start()
            seen("ONLINE")
            async with Reporter(here.database, News(wakeups), here.settings.state_dir, [place.url]):
                for status in ("ONLINE", "ERROR", "ONLINE"):
                    seen(status)
                    await until(there, {key: (region, ["127.100.0.9"], status)})
            wakeups.close()

    asyncio.run(story())
