# SPDX-License-Identifier: Apache-2.0
"""Who checks what in a region: each share one checker's, all of them somebody's, whoever comes and goes."""

import shutil
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, settings, strategies
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from caryatid.control.gslb import shares, votes
from caryatid.errors import Forbidden
from caryatid.model import GSLB_REGION
from caryatid.plan.seats import allot
from caryatid.store import clock
from caryatid.store.database import Database
from caryatid.store.gslb import shares as store
from caryatid.store.gslb import votes as vote_store
from caryatid.wire.checks import LEASE_S, SHARES, Held, Seat, Vote, Votes
from tests.store.gslb.conftest import Orchard

STEP_S = 1.0
NAMES = ("a", "b", "c", "d")


@pytest.fixture
def orchard(database):
    return Orchard(database)


@pytest.fixture
def region(orchard):
    return orchard.part(GSLB_REGION, name="fra")


def sit(orchard, region, name, held=(), **more):
    held = [Held(share=share, fence=fence) for share, fence in dict(held).items()]
    answer = shares.sit(orchard.database, region, Seat(checker=name, held=held, **more))
    return {one.share: one.fence for one in answer}


def test_one_checker_has_all_and_two_have_half_each_after_each_has_come_once_more(orchard, region):
    one = sit(orchard, region, "one")
    assert set(one) == set(range(SHARES))
    assert sit(orchard, region, "two") == {}
    one = sit(orchard, region, "one", one)
    two = sit(orchard, region, "two")
    assert len(one) == len(two) == SHARES // 2
    assert not one.keys() & two.keys()
    assert set(one.values()) == {1}
    assert set(two.values()) == {2}


def test_who_leaves_gives_back_at_once_and_what_it_said_stays_confirmed(orchard, region):
    known = orchard.whole()
    member, share = known["gslb_member"], votes.share_of(known["gslb_member"])
    one = sit(orchard, region, "one")
    say(orchard, region, "one", known, one, "UP")
    sit(orchard, region, "one", one)
    before = seen(orchard, member)
    sit(orchard, region, "one", one, leaving=True)
    two = sit(orchard, region, "two")
    after = seen(orchard, member)
    assert two == dict.fromkeys(range(SHARES), 2)
    assert before.confirmed_at > before.at
    assert after.confirmed_at >= before.confirmed_at
    assert (after.word, after.since) == ("UP", before.since)
    assert share in two
    with orchard.database.read() as tx:
        assert [one.id for one in store.seated(tx, region)] == ["two"]


def test_what_a_checker_in_quarantine_said_does_not_count_and_it_holds_nothing(orchard, region):
    known = orchard.whole()
    one = sit(orchard, region, "one")
    say(orchard, region, "one", known, one, "DOWN")
    assert sit(orchard, region, "one", quarantined=True) == {}
    with orchard.database.read() as tx:
        assert vote_store.of_members(tx, [known["gslb_member"]]) == {}
    assert set(sit(orchard, region, "two")) == set(range(SHARES))


def test_only_what_was_on_time_and_under_its_fence_is_confirmed(orchard, region):
    sit(orchard, region, "one")
    before = numbered(orchard, region)
    late, old = Held(share=1, fence=1, on_time=False), Held(share=2, fence=0)
    shares.sit(orchard.database, region, Seat(checker="one", held=[Held(share=0, fence=1), late, old]))
    after = numbered(orchard, region)
    assert [share for share in after if after[share].seen_at > before[share].seen_at] == [0]
    assert all(after[share].until > before[share].until for share in after)


def test_who_was_away_has_what_it_had_unless_somebody_else_has_it_now(orchard, region):
    one = sit(orchard, region, "one")
    pass_by(orchard.database, LEASE_S + 1)
    assert sit(orchard, region, "one", one) == one
    pass_by(orchard.database, LEASE_S + 1)
    two = sit(orchard, region, "two")
    assert two == dict.fromkeys(range(SHARES), 2)


def test_a_conductor_that_has_just_begun_leaves_everybody_what_they_had(orchard, region):
    sit(orchard, region, "one")
    sit(orchard, region, "two")
    one = sit(orchard, region, "one")
    two = sit(orchard, region, "two")
    pass_by(orchard.database, LEASE_S + 1)
    seat = Seat(checker="one", held=[Held(share=share, fence=fence) for share, fence in one.items()])
    again = shares.sit(orchard.database, region, seat, beginning=True)
    assert {held.share: held.fence for held in again} == one
    assert sit(orchard, region, "two", two) == two


def test_a_checkers_name_is_its_regions(orchard, region):
    other = orchard.part(GSLB_REGION, name="ams")
    sit(orchard, region, "one")
    with pytest.raises(Forbidden):
        sit(orchard, other, "one")
    assert len(sit(orchard, region, "one")) == SHARES


@pytest.mark.parametrize("count", [1, 2, 3, 5, 7, 32, 40])
def test_parts_are_alike_and_together_all(count):
    live = [f"c{number}" for number in range(count)]
    holders = {}
    for _ in range(2):
        for name in live:
            own = allot(SHARES, holders, live, name)
            holders = {share: who for share, who in holders.items() if share not in own.freed}
            holders |= dict.fromkeys(own.taken, name)
    parts = [list(holders.values()).count(name) for name in live]
    assert sum(parts) == SHARES
    assert max(parts) - min(parts) <= 1


class Region(RuleBasedStateMachine):
    """Checkers come every second, are killed, freeze and come back, leave; time goes by in steps of a second."""

    database: Database

    def __init__(self):
        super().__init__()
        self.orchard = Orchard(self.database)
        self.region = self.orchard.part(GSLB_REGION, name=f"r{uuid4().hex[:8]}")
        self.alive, self.frozen = {}, {}
        self.given = {}
        """(share, fence) → whom it was given to."""

    @initialize()
    def begin(self):
        self.come("a")

    @rule(name=strategies.sampled_from(NAMES))
    def come(self, name):
        if name not in self.alive and name not in self.frozen:
            self.alive[name] = self.sit(name, {})

    @rule(name=strategies.sampled_from(NAMES))
    def kill(self, name):
        self.alive.pop(name, None)
        self.frozen.pop(name, None)

    @rule(name=strategies.sampled_from(NAMES))
    def freeze(self, name):
        if name in self.alive:
            self.frozen[name] = self.alive.pop(name)

    @rule(name=strategies.sampled_from(NAMES))
    def thaw(self, name):
        if name in self.frozen:
            self.alive[name] = self.sit(name, self.frozen.pop(name))

    @rule(name=strategies.sampled_from(NAMES))
    def leave(self, name):
        if name in self.alive:
            assert self.sit(name, self.alive.pop(name), leaving=True) == {}

    @precondition(lambda self: self.alive)
    @rule()
    def second(self):
        pass_by(self.database, STEP_S)
        for name in sorted(self.alive):
            self.alive[name] = self.sit(name, self.alive[name])

    @rule()
    def settle(self):
        """So many seconds that everything must have found its place."""
        if self.alive:
            for _ in range(int(LEASE_S + 1)):
                self.second()
            held = [share for name in self.alive for share in self.alive[name]]
            assert sorted(held) == list(range(SHARES))

    @invariant()
    def each_share_is_one_checkers(self):
        current = {share.number: (share.checker, share.fence) for share in numbered(self.orchard, self.region).values()}
        for number, (checker, fence) in current.items():
            holders = [name for name, held in self.alive.items() if held.get(number) == fence]
            assert all(f"{name}-{self.region[:8]}" == checker for name in holders)

    def sit(self, name, held, **more):
        told = sit(self.orchard, self.region, f"{name}-{self.region[:8]}", held, **more)
        for share, fence in told.items():
            assert self.given.setdefault((share, fence), name) == name
        return told


@pytest.mark.parametrize(("sort", "examples"), [("sqlite", 8), ("postgresql", 2)])
def test_never_two_holders_under_one_fence_and_each_share_held_soon(sort, examples, tmp_path, request):
    if sort == "sqlite":
        shutil.copy(request.getfixturevalue("sqlite"), tmp_path / "c.db")
        url = f"sqlite:///{tmp_path}/c.db"
    else:
        url = request.getfixturevalue("new_database")()
    database = Database(url)
    machine = type("Region", (Region,), {"database": database})
    limits = settings(
        max_examples=examples, stateful_step_count=15, deadline=None, suppress_health_check=list(HealthCheck)
    )
    try:
        run_state_machine_as_test(machine, settings=limits)
    finally:
        database.close()


def test_many_conductors_give_each_share_to_one_checker_under_one_fence(orchard, region):
    given = {}

    def come(name):
        held = {}
        for _ in range(5):
            held = sit(orchard, region, name, held)
            for share, fence in held.items():
                assert given.setdefault((share, fence), name) == name
        return held

    with ThreadPoolExecutor(len(NAMES)) as threads:
        list(threads.map(come, NAMES))
    held = [share for name in NAMES for share in sit(orchard, region, name)]
    held = [share for name in NAMES for share in sit(orchard, region, name)]
    assert sorted(held) == list(range(SHARES))


def pass_by(database, seconds):
    """All that is remembered of when something was is so much older."""
    with database.transaction() as tx:
        run = tx.connection.exec_driver_sql
        run(f"UPDATE gslb_share SET until = until - {seconds}, seen_at = seen_at - {seconds}")
        run(f"UPDATE gslb_vote SET at = at - {seconds}, since = since - {seconds}")
        for row in run("SELECT id, seen_at FROM gslb_checker").all():
            moment = clock.text(clock.epoch_s(row[1]) - seconds)
            run(f"UPDATE gslb_checker SET seen_at = '{moment}' WHERE id = '{row[0]}'")


def numbered(orchard, region):
    with orchard.database.read() as tx:
        return {share.number: share for share in store.of(tx, region)}


def say(orchard, region, checker, known, held, word):
    member = known["gslb_member"]
    share = votes.share_of(member)
    given = {"monitor_id": known["gslb_monitor"], "member_id": member, "share": share, "fence": held[share]}
    vote = Vote(**given, word=word, seq=1)
    return votes.take(orchard.database, region, Votes(checker=checker, votes=[vote]))


def seen(orchard, member):
    with orchard.database.read() as tx:
        (one,) = vote_store.of_members(tx, [member])[member]
        return one
