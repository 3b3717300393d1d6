# SPDX-License-Identifier: Apache-2.0
"""Who a checker is: enrolled once by a token, of one region, renewed in time."""

import asyncio
import contextlib
import stat
from datetime import UTC, datetime, timedelta

import pytest

from caryatid.checker import identity
from caryatid.checker.identity import NotEnrolled, Place
from caryatid.wire.checks import Seat
from caryatid.wire.conductor import ConductorRefused
from tests.checker.conductor import REGION, Conductor, eventually


def run(scenario):
    async def whole():
        async with asyncio.timeout(60), Conductor().open() as conductor:
            await scenario(conductor)

    asyncio.run(whole())


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path / "checker", token_file=tmp_path / "token")


def test_a_token_makes_a_checker_once_and_nobody_else_can_read_its_key(place):
    async def scenario(conductor):
        place.token_file.write_text(conductor.new_token().encode())
        conductor.away, later = True, asyncio.get_running_loop()
        later.call_later(0.5, setattr, conductor, "away", False)
        one = await identity.obtain(place)
        assert (one.enrolment.region_id, one.enrolment.checker_id) == (REGION, "checker-1")
        assert (await one.client().shares(Seat(checker="x"))).checks == "1"
        await one.close()
        assert {stat.S_IMODE(path.stat().st_mode) for path in place.directory.iterdir()} == {0o600}
        place.token_file.unlink()
        again = await identity.obtain(place)
        assert again.enrolment == one.enrolment
        await again.close()

    run(scenario)


def test_a_token_is_shown_to_nobody_but_its_own_authority(place):
    async def scenario(conductor):
        token = conductor.new_token().model_copy(update={"authority": "0" * 64})
        place.token_file.write_text(token.encode())
        with pytest.raises(ConductorRefused, match="Nothing was sent"):
            await identity.obtain(place)

    run(scenario)


def test_a_checker_works_for_the_region_of_its_certificate_alone(place, tmp_path):
    async def scenario(conductor):
        place.token_file.write_text(conductor.new_token().encode())
        await (await identity.obtain(place)).close()
        for region in (REGION, "here"):
            await (await identity.obtain(Place(place.directory, region))).close()
        with pytest.raises(NotEnrolled, match="belongs to region here"):
            await identity.obtain(Place(place.directory, "there"))
        with pytest.raises(NotEnrolled, match="gslb-region token"):
            await identity.obtain(Place(tmp_path / "other", token_file=tmp_path / "missing"))

    run(scenario)


def test_a_certificate_is_renewed_when_the_conductor_says_so_and_shown_before_it_is_kept(place):
    async def scenario(conductor):
        place.token_file.write_text(conductor.new_token().encode())
        one = await identity.obtain(place)
        before = place.credentials.read_bytes()
        conductor.renew = True
        keeping = asyncio.create_task(one.keep())
        await eventually(lambda: place.credentials.read_bytes() != before)
        assert len(conductor.standings) == 2
        assert (await one.client().shares(Seat(checker="x"))).checks == "1"
        keeping.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await keeping
        await one.close()

    run(scenario)


def test_an_ended_certificate_is_no_identity(place):
    async def scenario(conductor):
        place.token_file.write_text(conductor.new_token().encode())
        await (await identity.obtain(place)).close()
        assert identity.load(place, datetime.now(UTC) + timedelta(days=31)) is None

    run(scenario)
