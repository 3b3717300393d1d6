# SPDX-License-Identifier: Apache-2.0
"""What is never so and what is always so of the answers of any name, however its pools and members are."""

from dataclasses import replace
from itertools import count
from typing import Any, NamedTuple

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from caryatid.model.gslb.words import POLICIES
from caryatid.plan.explaining import Client, explain
from caryatid.plan.gslb import OWN, Gslb, Member, Memory, Monitor, MonitorUse, Pool, PoolUse, Rule, Vote
from caryatid.plan.pools import contents
from caryatid.plan.steering import Decision, decide, digest, needed
from caryatid.plan.votes import Look
from tests.plan.names import MONITOR, NOW, PLACES, REGIONS, everything, votes

SAID = st.text("UD-", min_size=3, max_size=3)
OTHER = replace(MONITOR, id="other", insufficient_data="unhealthy")
ENOUGH = settings(deadline=None, max_examples=50)
CLIENT = Client("198.51.100.7", "US", "NA", 64500, PLACES["us"])


class World(NamedTuple):
    """A name and all that belongs to it."""

    gslb: Gslb
    pools: dict[str, Pool]

    def seen(self, memory: Memory, look: Look) -> Decision:
        return decide(self.gslb, self.pools, REGIONS, memory, look)

    def saying(self, said: dict[str, tuple[str, str]], at: float) -> "World":
        """The same with other votes."""
        pools = {
            key: replace(
                each,
                members=tuple(
                    replace(member, votes=_votes(*said.get(member.id, ("UUU", "UUU")), at)) for member in each.members
                ),
            )
            for key, each in self.pools.items()
        }
        return World(self.gslb, pools)


def _votes(said: str, other: str, at: float) -> dict[str, tuple[Vote, ...]]:
    word = {"U": "UP", "D": "DOWN"}.get(said[0], "UNKNOWN")
    return {
        MONITOR.id: votes(said, at, (10.0, 20.0, 30.0)),
        OTHER.id: votes(other, at),
        OWN: (Vote("eu", "conductor", word, at, at),),
    }


@st.composite
def members(draw, number: int) -> Member:
    both: dict[str, Any] = draw(
        st.sampled_from(
            [
                {"addresses": (f"192.0.2.{number}",)},
                {"addresses": (f"192.0.2.{number}", f"2001:db8::{number}")},
                {"addresses": (f"2001:db8::{number}",)},
                {"addresses": (), "hostname": f"m{number}.example.net"},
            ]
        )
    )
    return Member(
        f"member-{number}",
        weight=draw(st.sampled_from([0, 1, 1, 1, 7, 65_535])),
        priority=draw(st.integers(0, 2)),
        backup=draw(st.booleans()),
        serve_mode=draw(st.sampled_from(["obey", "obey", "always", "never", "obey_sticky_down"])),
        enabled=draw(st.sampled_from([True, True, True, False])),
        drain_until=draw(st.sampled_from([None, None, None, NOW + 1e6, NOW - 5])),
        votes=_votes(draw(SAID), draw(SAID), NOW),
        own_good_s=draw(st.sampled_from([None, None, 6.0])),
        **both,
    )


@st.composite
def pools(draw, name: str, numbers: count) -> Pool:  # type: ignore[type-arg]
    uses = [MonitorUse(MONITOR), MonitorUse(OTHER, draw(st.booleans()), observe_only=False)]
    placed = draw(st.booleans())
    return Pool(
        name,
        members=tuple(draw(members(next(numbers))) for _ in range(draw(st.integers(0, 4)))),
        monitors=tuple(uses[: draw(st.integers(0, 2))]),
        monitor_policy=draw(st.sampled_from(["all", "any", "majority", "at_least:1"])),
        minimum_healthy=draw(st.sampled_from(["1", "2", "50%", "100%"])),
        member_policy=draw(st.sampled_from(["multivalue", "failover", "weighted", "source_hash"])),
        shed_percent=draw(st.sampled_from([0, 0, 30, 100])),
        enabled=draw(st.sampled_from([True, True, True, False])),
        latitude=draw(st.floats(-90, 90)) if placed else None,
        longitude=draw(st.floats(-180, 180)) if placed else None,
        bias=draw(st.integers(-99, 99)),
    )


@st.composite
def worlds(draw) -> World:
    numbers = count(1)
    made = {name: draw(pools(name, numbers)) for name in ("a", "b", "c", "fallback")[: draw(st.integers(1, 4))]}
    policy = draw(st.sampled_from(list(POLICIES)))
    rules = (
        Rule(("b", "a"), cidrs=("198.51.100.0/24",), countries=("DE",)),
        Rule(("c",), continents=("NA",), asns=(64500,)),
    )
    name = Gslb(
        "g",
        "www.example.test.",
        record_types=draw(st.sampled_from([("A", "AAAA"), ("A", "AAAA"), ("A",), ("CNAME",)])),
        policy=policy,
        uses=tuple(PoolUse(key, draw(st.integers(0, 1)), draw(st.integers(0, 3))) for key in made if key != "fallback"),
        rules=rules if policy == "geo" else (),
        ttl_degraded=draw(st.sampled_from([None, 0, 5])),
        fallback_pool_id="fallback",
        on_all_down=draw(st.sampled_from(["fail_open", "fail_closed", "fallback_pool", "last_known"])),
        max_answers=draw(st.integers(1, 3)),
        failback=draw(st.sampled_from(["auto", "auto", "manual"])),
        failback_delay=draw(st.sampled_from([0, 0, 30])),
        enabled=draw(st.sampled_from([True] * 9 + [False])),
    )
    return World(name, made)


stories = st.lists(
    st.tuples(st.floats(0.1, 100), st.dictionaries(st.integers(1, 16).map("member-{}".format), st.tuples(SAID, SAID))),
    max_size=6,
)


def told(world: World, story: list[tuple[float, dict[str, tuple[str, str]]]]) -> list[tuple[World, Look, Decision]]:
    """What was decided from one look to the next."""
    memory, now, all_told = Memory(), NOW, []
    for later_s, said in [(0.0, {}), *story]:
        now += later_s
        world = world.saying(said, now) if said else world
        decision = world.seen(memory, Look(now))
        memory = decision.memory
        all_told.append((world, Look(now), decision))
    return all_told


def barred(world: World, now: float) -> set[str]:
    """What nobody may be answered with."""
    return {
        content
        for pool in world.pools.values()
        for member in pool.members
        for rrtype in ("A", "AAAA", "CNAME")
        for content in contents(member, rrtype)
        if not (pool.enabled and member.enabled and member.weight)
        or member.serve_mode == "never"
        or (member.drain_until is not None and now < member.drain_until)
    }


@given(worlds(), stories)
@ENOUGH
def test_no_answer_ever_contains_who_is_draining_disabled_or_of_weight_0(world, story):
    for seen, look, decision in told(world, story):
        assert not everything(decision) & barred(seen, look.now)


@given(worlds(), stories)
@ENOUGH
def test_every_record_type_is_answered_with_its_own_kind_of_content(world, story):
    for _, _, decision in told(world, story):
        assert tuple(decision.answers) == world.gslb.record_types
        for rrtype, answers in decision.answers.items():
            for choice in (answers.default, *(variant.choice for variant in answers.variants)):
                assert (
                    len({each.content for each in choice.candidates}) == len(choice.candidates)
                    or choice.way == "nearest"
                )
                assert all(each.weight >= 1 for each in choice.candidates)
                for each in choice.candidates:
                    assert (":" in each.content) == (rrtype == "AAAA")
                    assert each.content.endswith(".") == (rrtype == "CNAME")
                assert choice.count == 1 or choice.way == "all"


@given(worlds(), stories, st.randoms())
@ENOUGH
def test_answers_are_a_function_of_votes_and_time_alone(world, story, random):
    """Not of the order in which votes, members, pools and regions happened to come."""

    def mixed(member: Member) -> Member:
        said = {key: tuple(random.sample(heard, len(heard))) for key, heard in member.votes.items()}
        return replace(member, votes=dict(random.sample(list(said.items()), len(said))))

    def shuffled(pool: Pool) -> Pool:
        return replace(pool, members=tuple(mixed(each) for each in random.sample(pool.members, len(pool.members))))

    memory = Memory()
    for seen, look, decision in told(world, story):
        parts = {key: shuffled(seen.pools[key]) for key in random.sample(list(seen.pools), len(seen.pools))}
        regions = {key: REGIONS[key] for key in random.sample(list(REGIONS), len(REGIONS))}
        other = decide(seen.gslb, parts, regions, memory, look)
        assert {rrtype: digest(each) for rrtype, each in other.answers.items()} == {
            rrtype: digest(each) for rrtype, each in decision.answers.items()
        }
        assert (other.status, other.pools, other.memory, other.again_at) == (
            decision.status,
            decision.pools,
            decision.memory,
            decision.again_at,
        )
        memory = decision.memory


@given(worlds(), stories)
@ENOUGH
def test_what_is_remembered_survives_being_written_down(world, story):
    for seen, look, decision in told(world, story):
        read = Memory.read(orjson.loads(orjson.dumps(decision.memory.document())))
        assert read == decision.memory
        assert seen.seen(read, look).answers == seen.seen(decision.memory, look).answers


@given(worlds(), stories)
@ENOUGH
def test_whoever_looks_twice_sees_the_same(world, story):
    for seen, look, decision in told(world, story):
        again = seen.seen(decision.memory, look)
        assert again.memory is decision.memory
        assert again.answers == decision.answers
        assert again.status == decision.status


@given(worlds(), stories, st.floats(60, 1e5), st.floats(0, 5.9))
@ENOUGH
def test_a_restart_serves_no_worse_answer_than_before(world, story, away_s, seconds):
    """All votes are old, and nobody has said anything yet: what was answered is answered. (What waits for a time to
    pass may be over: nobody waits here.)"""
    world = World(replace(world.gslb, failback_delay=0, failback="auto"), world.pools)
    seen, look, decision = told(world, story)[-1]
    if any(memory.damped for memory in decision.memory.members.values()):
        return
    since = look.now + away_s
    after = seen.seen(decision.memory, Look(since + seconds, since=since))
    assert everything(after) == everything(decision)
    assert {rrtype: digest(replace(each, ttl=0)) for rrtype, each in after.answers.items()} == {
        rrtype: digest(replace(each, ttl=0)) for rrtype, each in decision.answers.items()
    }


@given(worlds(), stories)
@ENOUGH
def test_whom_the_guard_keeps_goes_on_being_answered_with(world, story):
    memory = Memory()
    for seen, look, _ in told(world, story):
        first = seen.seen(memory, look)
        kept = seen.seen(memory, look._replace(held=first.unagreed))
        assert kept.unagreed == first.unagreed
        for member_id in kept.unagreed:
            assert kept.members[member_id].well
            assert not first.members[member_id].well
        memory = kept.memory


@given(worlds(), stories)
@ENOUGH
def test_who_is_seen_down_by_all_is_answered_with_only_when_nothing_better_is_there(world, story):
    for seen, _, decision in told(world, story):
        sure = {
            content
            for pool in seen.pools.values()
            for member in pool.members
            for content in contents(member, seen.gslb.record_types[0])
            if decision.members[member.id].status == "DOWN" and decision.members[member.id].word == "DOWN"
        }
        if decision.status in ("ONLINE", "NO_MONITOR"):
            assert not everything(decision) & sure


@given(worlds(), stories)
@ENOUGH
def test_what_is_explained_is_what_is_published(world, story):
    for _, _, decision in told(world, story):
        for answers in decision.answers.values():
            explained = explain(answers, CLIENT)
            assert {chance.content for chance in explained.chances} <= everything(decision)
            assert all(0 < chance.probability <= 1 for chance in explained.chances)
            choices = [answers.default, *(variant.choice for variant in answers.variants)]
            if explained.chances:
                assert sum(chance.probability for chance in explained.chances) <= max(c.count for c in choices) + 1e-9
            needed(answers)


def test_a_monitor_of_this_module_lasts_as_long_as_the_stories_think():
    assert Monitor("").interval_s == MONITOR.interval_s
