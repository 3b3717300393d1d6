# SPDX-License-Identifier: Apache-2.0
"""Whole checkers, and a conductor that comes and goes. Members are real."""

import asyncio
import contextlib

import pytest

from caryatid.checker import quarantine, report, shares
from caryatid.checker import run as life
from caryatid.wire.checks import SHARES, Trial
from tests.checker.checking import Member, check, checker, members
from tests.checker.conductor import Conductor, eventually


@pytest.fixture(autouse=True)
def hurry(monkeypatch):
    """What is done every second is done five times as often."""
    monkeypatch.setattr(shares, "SEAT_EVERY_S", 0.2)
    monkeypatch.setattr(quarantine, "RECOVER_EVERY_S", 0.2)
    monkeypatch.setattr(quarantine, "RECENT_S", 0.0)
    monkeypatch.setattr(life, "LEAVE_S", 20.0)
    monkeypatch.setattr(report, "UNSAID_S", 0.2)


def run(scenario):
    async def whole():
        async with asyncio.timeout(90), Conductor().open() as conductor:
            await scenario(conductor)

    asyncio.run(whole())


def test_a_member_that_ends_is_down_and_up_when_it_is_there_again():
    async def scenario(conductor):
        async with members(2) as (one, two), checker(conductor):
            conductor.want([check("one", one.port), check("two", two.port)])
            await eventually(lambda: conductor.words() == {"one": "UP", "two": "UP"})
            await one.stop()
            await eventually(lambda: conductor.words() == {"one": "DOWN", "two": "UP"})
            down = conductor.said[-1]
            assert "refused" in down.reason.lower()
            await one.start()
            await eventually(lambda: conductor.words() == {"one": "UP", "two": "UP"})
            assert len(conductor.said) == 4
            assert [vote.seq for vote in conductor.said] == sorted({vote.seq for vote in conductor.said})
            assert conductor.said[0].rtt_ms > 0

    run(scenario)


def test_checks_come_and_go_as_the_conductor_says():
    async def scenario(conductor):
        async with members(2) as (one, two), checker(conductor) as process:
            conductor.want([check("one", one.port)])
            await eventually(lambda: "one" in conductor.words())
            conductor.want([check("two", two.port)])
            await eventually(lambda: "two" in conductor.words())
            assert len(process.schedule) == 1

    run(scenario)


def test_a_conductor_that_does_not_know_the_checks_yet_takes_none_away():
    async def scenario(conductor):
        async with members(1) as (one,), checker(conductor) as process:
            conductor.want([check("one", one.port)])
            await eventually(lambda: "one" in conductor.words())
            conductor.version = ""
            conductor.checks = []
            seen, connections = conductor.seats[process.id][0], one.connections
            await eventually(lambda: conductor.seats[process.id][0] > seen + 0.5)
            await eventually(lambda: one.connections > connections + 1)
            assert len(process.schedule) == 1

    run(scenario)


def test_a_share_that_goes_and_comes_back_at_once_is_checked_again():
    async def scenario(conductor):
        async with members(1) as (one,), checker(conductor) as process:
            conductor.want([check("one", one.port, share=5)])
            await eventually(lambda: "one" in conductor.words())
            fences = dict(process.shares._fences)
            for had in ({}, fences):
                process.shares._have(had)
            await eventually(lambda: len(process.schedule) == 1)

    run(scenario)


def test_two_checkers_share_a_region_and_one_takes_over_what_the_other_gives_back():
    async def scenario(conductor):
        async with members(1) as (one,), checker(conductor) as first:
            conductor.want([check(f"m{number}", one.port, share=number) for number in range(SHARES)])
            await eventually(lambda: len(conductor.words()) == SHARES)
            async with checker(conductor) as second:
                await eventually(lambda: sorted(map(len, (first.schedule, second.schedule))) == [16, 16])
                assert set(conductor.holders().values()) == {first.id, second.id}
                keys = [set(process.schedule._kept) for process in (first, second)]
                assert not keys[0] & keys[1]
            # it has left: nobody waits for a lease to end
            await eventually(lambda: set(conductor.holders().values()) == {first.id})
            await eventually(lambda: len(first.schedule) == SHARES)
            await eventually(lambda: confirmed(conductor))

    def confirmed(conductor):
        """Whoever has a share now has said so of its check."""
        said = {vote.share: vote.fence for vote in conductor.said}
        return said == {share: lease.fence for share, lease in conductor.leases.items()}

    run(scenario)


def test_the_shares_of_a_checker_that_dies_move_when_its_lease_ends():
    async def scenario(conductor):
        conductor.lease_s = 1.0
        async with members(1) as (one,):
            conductor.want([check(f"m{number}", one.port, share=number) for number in range(SHARES)])
            async with checker(conductor) as dead, checker(conductor) as other:
                await eventually(lambda: sorted(map(len, (dead.schedule, other.schedule))) == [16, 16])
                await eventually(lambda: len(conductor.words()) == SHARES)
                client, dead.shares._client = dead.shares._client, Silent  # it says nothing any more
                await eventually(lambda: len(other.schedule) == SHARES)
                dead.shares._client = client

    class Silent:
        async def shares(self, _seat):
            await asyncio.sleep(3600)

        wanted = shares

    run(scenario)


def test_what_is_found_while_the_conductor_is_away_is_told_with_its_age_and_only_the_newest():
    async def scenario(conductor):
        async with members(2) as (one, two), checker(conductor) as process:
            conductor.want([check("one", one.port), check("two", two.port)])
            await eventually(lambda: len(conductor.words()) == 2)
            conductor.away = True
            await one.stop()
            await eventually(lambda: len(process.report) == 1)
            await one.start()
            await two.stop()
            await eventually(lambda: len(process.report) == 2)
            await eventually(lambda: {kept.vote.word for kept in process.report._unsaid.values()} == {"UP", "DOWN"})
            said = len(conductor.said)
            await asyncio.sleep(0.5)
            conductor.away = False
            await eventually(lambda: conductor.words() == {"one": "UP", "two": "DOWN"} and not len(process.report))
            late = conductor.said[said:]
            assert len(late) == 2
            assert all(vote.age_s > 0.5 for vote in late)

    run(scenario)


def test_a_share_whose_news_the_conductor_does_not_have_is_not_confirmed():
    async def scenario(conductor):
        async with members(1) as (one,), checker(conductor) as process:
            conductor.want([check("one", one.port, share=5)])
            await eventually(lambda: len(conductor.words()) == 1)
            conductor._votes = None  # a fault on that path alone
            await one.stop()
            await eventually(lambda: sum(on_time(conductor, process).values()) == SHARES - 1)
            assert not on_time(conductor, process)[5]
            del conductor._votes
            await eventually(lambda: conductor.words() == {"one": "DOWN"})
            await eventually(lambda: on_time(conductor, process).get(5))

    run(scenario)


def on_time(conductor, process):
    _, seat = conductor.seats.get(process.id, (0, None))
    return {held.share: held.on_time for held in seat.held} if seat else {}


def test_a_share_whose_checks_are_not_known_yet_is_not_confirmed():
    async def scenario(conductor):
        conductor.version = ""
        async with checker(conductor) as process:
            await eventually(lambda: len(on_time(conductor, process)) == SHARES)
            assert not any(on_time(conductor, process).values())
            conductor.version = 1
            await eventually(lambda: all(on_time(conductor, process).values()))

    run(scenario)


def test_what_is_said_under_an_old_fence_does_not_count_and_the_share_is_given_up():
    async def scenario(conductor):
        async with members(1) as (one,), checker(conductor) as process:
            conductor.want([check("one", one.port, share=5)])
            await eventually(lambda: len(conductor.words()) == 1)
            lease = conductor.leases[5]
            lease.checker, lease.fence, lease.until = "somebody else", lease.fence + 1, lease.until + 3600
            await one.stop()
            await eventually(lambda: len(process.schedule) == 0)
            await asyncio.sleep(0.5)
            assert conductor.words() == {"one": "UP"}

    run(scenario)


def test_a_checker_that_is_refused_stops_at_once_and_one_that_is_alone_after_a_while(monkeypatch):
    async def scenario(conductor):
        conductor.lease_s = 0.5
        async with members(1) as (one,), checker(conductor) as process:
            conductor.want([check("one", one.port)])
            await eventually(lambda: len(process.schedule) == 1)
            conductor.denied = True
            await eventually(lambda: len(process.schedule) == 0)
        conductor.denied = False
        async with members(1) as (one,), checker(conductor) as process:
            conductor.want([check("two", one.port)])
            await eventually(lambda: len(process.schedule) == 1)
            conductor.away = True
            await asyncio.sleep(0.7)
            assert len(process.schedule) == 1
            monkeypatch.setattr(shares, "ALONE_S", 0.5)
            await eventually(lambda: len(process.schedule) == 0)

    run(scenario)


def test_who_leaves_tells_what_it_has_found_and_gives_back_what_it_has():
    async def scenario(conductor):
        async with members(1) as (one,), checker(conductor) as process:
            conductor.want([check("one", one.port)])
            await eventually(lambda: len(conductor.words()) == 1)
        assert conductor.seats[process.id][1].leaving
        assert conductor.holders() == {}

    run(scenario)


def test_a_checker_whose_controls_fail_says_nobody_is_down_and_holds_nothing():
    async def scenario(conductor):
        async with members(3) as (one, two, control), checker(conductor) as process:
            conductor.controls = [f"127.0.0.1:{control.port}"]
            conductor.want([check("one", one.port), check("two", two.port)])
            await eventually(lambda: len(conductor.words()) == 2)
            for member in (control, one, two):  # as if the network had gone
                await member.stop()
            await eventually(lambda: conductor.seats[process.id][1].quarantined)
            await eventually(lambda: len(process.schedule) == 0 and not len(process.report))
            assert conductor.words() == {"one": "UP", "two": "UP"}
            assert conductor.holders() == {}
            await control.start()
            await eventually(lambda: conductor.words() == {"one": "DOWN", "two": "DOWN"})

    run(scenario)


def test_too_many_going_down_together_without_controls_are_doubted_once(monkeypatch):
    async def scenario(conductor):
        monkeypatch.setattr(quarantine, "DOUBT_S", 0.5)
        async with members(20) as everyone, checker(conductor) as process:
            conductor.want([check(str(number), one.port) for number, one in enumerate(everyone)])
            await eventually(lambda: len(conductor.words()) == 20)
            for one in everyone:
                await one.stop()
            await eventually(lambda: conductor.seats[process.id][1].quarantined)
            assert list(conductor.words().values()).count("DOWN") <= 12
            assert len(process.schedule) == 0
            await eventually(lambda: set(conductor.words().values()) == {"DOWN"})  # it is still so: it is believed

    run(scenario)


@pytest.mark.parametrize("fallen", [5, 12])
def test_some_going_down_together_are_not_doubted(fallen):
    async def scenario(conductor):
        async with members(20) as everyone, checker(conductor) as process:
            conductor.want([check(str(number), one.port) for number, one in enumerate(everyone)])
            await eventually(lambda: len(conductor.words()) == 20)
            for one in everyone[:fallen]:
                await one.stop()
            await eventually(lambda: list(conductor.words().values()).count("DOWN") == fallen)
            assert not process.quarantine.reason

    run(scenario)


def test_a_dry_run_is_one_try_of_which_nothing_is_remembered():
    async def scenario(conductor):
        async with members(1) as (one,), checker(conductor) as process:
            conductor.trials = [Trial(id="1", check=check("m", one.port)), Trial(id="2", check=check("n", 1))]
            await eventually(lambda: len(conductor.tried) == 2)
            assert {tried.id: tried.word for tried in conductor.tried} == {"1": "UP", "2": "DOWN"}
            assert one.connections == 1
            assert not conductor.said
            assert len(process.schedule) == 0

    run(scenario)


def test_when_one_conductor_fails_the_next_is_asked():
    async def scenario(conductor):
        other = Conductor(authority=conductor.authority)
        async with contextlib.AsyncExitStack() as second:
            await second.enter_async_context(other.open())
            member = await Member().start()
            for one in (conductor, other):
                one.want([check("m", member.port)])
            client = conductor.client(other.url, conductor.url)
            conductor.client = lambda: client
            async with checker(conductor) as process:
                await eventually(lambda: process.id in other.seats and "m" in other.words())
                assert not conductor.seats
                await second.aclose()
                await member.stop()
                await eventually(lambda: conductor.words() == {"m": "DOWN"})

    run(scenario)
