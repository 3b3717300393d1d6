# SPDX-License-Identifier: Apache-2.0
"""When checks are made, and what they may do to each other: nothing."""

import asyncio
from collections import Counter

import uvloop

from caryatid.checker.outcome import Outcome
from caryatid.checker.schedule import STUCK, Schedule
from tests.checker.checking import check
from tests.checker.conductor import eventually

UP, DOWN = Outcome(up=True, rtt_ms=1.0), Outcome(up=False, reason="refused")


class Bench:
    """A schedule whose checks find what a test says, and what was said of them."""

    def __init__(self, concurrency=100):
        self.tries = Counter()
        self.found = {}
        self.said = []
        self.hanging = set()
        self.schedule = Schedule(self.once, self.say, "checker", concurrency)

    async def once(self, wanted):
        self.tries[wanted.member_id] += 1
        if wanted.member_id in self.hanging:
            await asyncio.sleep(wanted.timeout_s)
            return DOWN
        result = self.found.get(wanted.member_id, UP)
        if isinstance(result, Exception):
            raise result
        return (
            result.pop(0)
            if isinstance(result, list) and len(result) > 1
            else result[0]
            if isinstance(result, list)
            else result
        )

    def say(self, wanted, word, before, outcome):
        self.said.append((wanted.member_id, word, before, outcome.reason))

    def words(self):
        return {member: word for member, word, _, _ in self.said}


def run(scenario, **given):
    async def whole():
        bench = Bench(**given)
        try:
            async with asyncio.timeout(60):
                await scenario(bench)
        finally:
            bench.schedule.close()

    uvloop.run(whole())  # as in a process of its own; test_run has the other loop


def want(bench, *checks):
    bench.schedule.want(checks, {one.share for one in checks})


def test_a_check_comes_again_and_again_and_an_unchanged_word_is_said_once():
    async def scenario(bench):
        want(bench, check("m", interval_s=0.05))
        await eventually(lambda: bench.tries["m"] > 5)
        assert bench.said == [("m", "UP", None, "")]

    run(scenario)


def test_what_is_new_is_up_at_one_success_and_down_after_fall_failures():
    async def scenario(bench):
        bench.found["m"] = [DOWN, DOWN, DOWN, UP, UP]
        want(bench, check("m", interval_s=0.05, fall=3, rise=2))
        await eventually(lambda: len(bench.said) == 2)
        assert bench.said == [("m", "DOWN", None, "refused"), ("m", "UP", "DOWN", "")]
        assert bench.tries["m"] >= 5

    run(scenario)


def test_who_takes_a_share_over_goes_on_from_what_the_region_says():
    async def scenario(bench):
        bench.found["m"] = [DOWN, DOWN, UP]
        want(bench, check("m", interval_s=0.05, fall=3, word="UP"))
        await eventually(lambda: bench.said)
        assert bench.said == [("m", "UP", "UP", "")]  # confirmed under the new fence, by the first that agrees

    run(scenario)


def test_another_version_begins_anew_and_the_same_goes_on():
    async def scenario(bench):
        bench.found["m"] = DOWN
        one = check("m", interval_s=0.05, fall=2, word="UP")
        want(bench, one)
        await eventually(lambda: bench.words() == {"m": "DOWN"})
        said, tries = len(bench.said), bench.tries["m"]
        want(bench, one.model_copy(update={"word": "UP"}))
        await eventually(lambda: bench.tries["m"] > tries + 3)
        assert len(bench.said) == said
        bench.found["m"] = UP
        want(bench, one.model_copy(update={"version": "2", "rise": 20}))
        await eventually(lambda: len(bench.said) > said)
        assert bench.said[-1] == ("m", "UP", None, "")

    run(scenario)


def test_it_is_known_of_how_many_checks_something_is_said():
    async def scenario(bench):
        bench.found["n"] = DOWN
        checks = [
            check("m", interval_s=0.05),
            check("n", interval_s=0.05, word="UP"),
            check("o", interval_s=3600, fall=9),
        ]
        bench.found["o"] = DOWN
        want(bench, *checks)
        await eventually(lambda: bench.words() == {"m": "UP", "n": "DOWN"})
        assert bench.schedule.words == 2
        want(bench, checks[1].model_copy(update={"version": "2"}))
        assert bench.schedule.words <= 1
        await eventually(lambda: bench.schedule.words == 2)
        bench.schedule.leave(range(32))
        assert bench.schedule.words == 0

    run(scenario)


def test_retries_are_made_at_once_and_a_failure_may_be_what_is_wanted():
    async def scenario(bench):
        bench.found["r"] = [DOWN, DOWN, UP]
        bench.found["i"] = DOWN
        bench.found["j"] = UP
        want(
            bench,
            check("r", interval_s=3600, timeout_s=5, retries=2, rapid_recheck=False),
            check("i", interval_s=3600, inverted=True),
            check("j", interval_s=0.05, inverted=True),
        )
        await eventually(lambda: bench.words() == {"r": "UP", "i": "UP", "j": "DOWN"})
        assert bench.tries["r"] == 3

    run(scenario)


def test_after_a_result_that_differs_the_next_one_comes_within_a_second():
    async def scenario(bench):
        bench.found["m"] = [UP]
        want(bench, check("m", interval_s=3600, timeout_s=5, fall=2, word="UP"))
        await eventually(lambda: bench.said)
        quick = check("n", interval_s=3600, timeout_s=5, fall=2)
        bench.found["n"] = DOWN
        want(bench, quick)
        await eventually(lambda: bench.words().get("n") == "DOWN")
        assert bench.tries["n"] == 2
        assert bench.tries["m"] == 1

    run(scenario)


def test_any_number_of_hanging_checks_stalls_no_other():
    async def scenario(bench):
        hanging = [check(f"h{number}", interval_s=0.5, timeout_s=0.4) for number in range(120)]
        bench.hanging = {one.member_id for one in hanging}
        good = check("good", interval_s=0.1)
        want(bench, good, *hanging)
        await eventually(lambda: sum(bench.tries[one.member_id] > 0 for one in hanging) == 120)
        before, others = bench.tries["good"], sum(bench.tries.values())
        await eventually(lambda: sum(bench.tries.values()) > others + 120)  # for them there are 30 slots: over 1.6 s
        assert bench.tries["good"] > before + 5

    run(scenario, concurrency=40)


def test_what_was_not_made_in_time_is_told_and_only_until_it_was_told():
    async def scenario(bench):
        hanging = [check(f"h{number}", interval_s=0.25, timeout_s=0.2, share=7) for number in range(50)]
        bench.hanging = {one.member_id for one in hanging}
        want(bench, *hanging)
        await eventually(lambda: bench.schedule.late() == {7})
        bench.hanging.clear()
        want(bench, *hanging[:1])
        tries = bench.tries["h0"]
        await eventually(lambda: bench.tries["h0"] > tries + 3)
        bench.schedule.punctual({7})
        assert bench.schedule.late() == set()

    run(scenario, concurrency=5)


def test_a_process_that_did_not_run_for_a_while_is_late_before_it_says_anything():
    async def scenario(bench):
        want(bench, check("m", interval_s=0.05, share=3))
        await eventually(lambda: bench.tries["m"] > 2)
        assert bench.schedule.late() == set()
        loop = asyncio.get_running_loop()
        until = loop.time() + 0.3
        while loop.time() < until:  # nothing else runs
            pass
        assert bench.schedule.late() == {3}

    run(scenario)


def test_checks_of_a_lost_share_end_at_once_those_under_way_too():
    async def scenario(bench):
        bench.hanging = {"m"}
        want(bench, check("m", interval_s=61, timeout_s=60, share=1), check("n", interval_s=0.05, share=2))
        await eventually(lambda: bench.tries["m"] == 1)
        bench.schedule.leave({1, 2})
        assert len(bench.schedule) == 0
        said, tries = len(bench.said), bench.tries["n"]
        await asyncio.sleep(0.3)
        assert (len(bench.said), bench.tries["n"]) == (said, tries)

    run(scenario)


def test_a_check_that_does_not_end_is_ended():
    async def scenario(bench):
        async def stuck(wanted):
            if wanted.member_id == "m":
                await asyncio.sleep(3600)
            return UP

        bench.schedule._once = stuck
        want(bench, check("m", interval_s=0.2, timeout_s=0.1, fall=1))

        def ended():
            bench.schedule.late()
            return bench.said

        await eventually(ended)
        assert bench.said == [("m", "DOWN", None, STUCK)]

    run(scenario)


def test_what_a_checker_cannot_try_says_nothing_of_the_member_at_first():
    async def scenario(bench):
        cannot = Outcome(up=False, reason="no files", ours=True)
        others = [check(f"o{number}", interval_s=0.05, share=4) for number in range(3)]
        bench.found["m"] = cannot
        bench.found["n"] = [UP, cannot]
        bench.found["e"] = [UP, ValueError()]
        want(bench, *(check(name, interval_s=0.05, timeout_s=0.1, share=4) for name in "mn"), *others)
        await eventually(lambda: bench.words().get("n") == "DOWN")  # for as long as a vote lasts, nothing confirmed it
        assert "m" not in bench.words()
        assert bench.schedule.late() == set()

    run(scenario)


def test_a_share_most_of_whose_checks_cannot_be_tried_is_confirmed_by_nobody():
    async def scenario(bench):
        cannot = Outcome(up=False, reason="no files", ours=True)
        bench.found = {f"m{number}": [UP, cannot] for number in range(4)}
        want(bench, *(check(f"m{number}", interval_s=0.05, share=4) for number in range(4)))
        await eventually(lambda: len(bench.said) == 4)
        bench.schedule.punctual(())
        await eventually(lambda: bench.tries["m0"] > 20)
        assert bench.schedule.late() == {4}
        assert set(bench.words().values()) == {"UP"}

    run(scenario)


def test_many_new_checks_do_not_begin_at_the_same_moment_and_a_single_one_at_once():
    async def scenario(bench):
        now = asyncio.get_running_loop().time()
        for number, interval_s, within_s in ((1500, 10.0, 1.5), (1500, 1.0, 1.0), (1, 10.0, 0.0)):
            checks = [check(f"{number}-{interval_s}-{each}", interval_s=interval_s) for each in range(number)]
            want(bench, *checks)
            due = [bench.schedule._kept["monitor", one.member_id].due - now for one in checks]
            assert max(due) - min(due) <= within_s
            assert max(due) - min(due) >= within_s * 0.9
            bench.schedule.leave(range(32))

    run(scenario)


def test_where_in_the_interval_a_check_comes_differs_from_check_to_check_and_checker_to_checker():
    async def scenario(bench):
        other = Schedule(bench.once, bench.say, "another", 10)
        for schedule in (bench.schedule, other):
            schedule.want([check(f"m{number}", interval_s=100) for number in range(100)], range(32))
        phases = [{kept.phase for kept in one._kept.values()} for one in (bench.schedule, other)]
        other.close()
        assert all(len(found) == 100 and min(found) < 20 and max(found) > 80 for found in phases)
        assert not phases[0] & phases[1]

    run(scenario)
