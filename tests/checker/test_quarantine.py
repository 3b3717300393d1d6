# SPDX-License-Identifier: Apache-2.0
"""When a checker doubts itself."""

import asyncio

import pytest

from caryatid.checker import quarantine
from caryatid.checker.quarantine import Quarantine
from tests.checker.checking import check, members


def run(scenario):
    async def whole():
        async with asyncio.timeout(30):
            await scenario()

    asyncio.run(whole())


def going_down(number, of, interval_s=10.0):
    """So many checks of so many go down together."""
    doubts = []
    found = Quarantine(60, lambda: doubts.append(True))
    for each in range(number):
        found.fell(check(str(each), interval_s=interval_s), of)
    return found, doubts


@pytest.mark.parametrize(
    ("fallen", "known", "doubted"),
    [(12, 20, False), (13, 20, True), (19, 19, False), (60, 100, False), (61, 100, True), (20, 20_000, False)],
)
def test_more_than_a_part_of_twenty_or_more_going_down_together_is_doubted(fallen, known, doubted):
    async def scenario():
        found, doubts = going_down(fallen, known)
        assert bool(found.reason) == bool(doubts) == doubted
        assert await found.well(0.0) != doubted

    run(scenario)


def test_what_went_down_longer_than_its_interval_ago_is_not_together():
    async def scenario():
        found, _ = going_down(12, 20, interval_s=0.05)
        await asyncio.sleep(0.1)
        for each in range(12):
            found.fell(check(str(each)), 20)
        assert not found.reason

    run(scenario)


@pytest.mark.parametrize(("listening", "gone", "well"), [(1, 0, True), (1, 1, True), (1, 2, False), (0, 1, False)])
def test_half_of_the_controls_must_be_reached(listening, gone, well, monkeypatch):
    monkeypatch.setattr(quarantine, "CONTROL_TIMEOUT_S", 10.0)

    async def scenario():
        async with members(listening + gone) as everyone:
            for member in everyone[:gone]:
                await member.stop()
            found = Quarantine(60, lambda: None)
            found.retarget([f"127.0.0.1:{member.port}" for member in everyone])
            assert await found.well(asyncio.get_running_loop().time()) == well
            assert bool(found.reason) != well

    run(scenario)


def test_with_controls_going_down_together_asks_them():
    async def scenario():
        async with members(1) as (control,):
            found = Quarantine(60, lambda: None)
            found.retarget([f"127.0.0.1:{control.port}"])
            for each in range(20):
                found.fell(check(str(each)), 20)
            assert not found.reason
            assert await found.well(asyncio.get_running_loop().time())

    run(scenario)
