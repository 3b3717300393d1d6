# SPDX-License-Identifier: Apache-2.0
"""What checkers say is kept, whoever is concerned is woken, and nothing old takes the place of something newer."""

import pytest

from caryatid.control.gslb import shares, votes
from caryatid.model import GSLB, GSLB_MEMBER, GSLB_REGION
from caryatid.store import rows, work
from caryatid.store.gslb import votes as store
from caryatid.wire.checks import Held, Seat, Vote, Votes
from tests.store.gslb.conftest import Orchard


class Region:
    """A region with one checker that has all shares, and a gslb with one of everything."""

    def __init__(self, database):
        self.orchard = Orchard(database)
        self.database = database
        self.id = self.orchard.part(GSLB_REGION, name="fra")
        self.known = self.orchard.whole()
        self.number = 0
        self.fences = self.sit("one")

    def sit(self, checker, **more):
        answer = shares.sit(self.database, self.id, Seat(checker=checker, **more))
        return {one.share: one.fence for one in answer}

    def vote(self, word, **more):
        member = more.pop("member_id", self.known["gslb_member"])
        share, self.number = votes.share_of(member), self.number + 1
        given = {"share": share, "fence": self.fences[share], "seq": self.number, **more}
        return Vote(**{"monitor_id": self.known["gslb_monitor"], **given}, member_id=member, word=word)

    def say(self, *said, checker="one"):
        return votes.take(self.database, self.id, Votes(checker=checker, votes=said)).stale

    def seen(self):
        with self.database.read() as tx:
            return store.of_members(tx, [self.known["gslb_member"]]).get(self.known["gslb_member"], [])

    def woken(self):
        """Whether the gslb is due; not any more afterwards."""
        due = work.next_due(self.database, GSLB) == 0
        with self.database.transaction() as tx:
            tx.connection.exec_driver_sql("UPDATE work SET due_at = NULL")
        return due


@pytest.fixture
def region(database):
    made = Region(database)
    made.woken()
    return made


def test_an_edge_wakes_and_the_same_again_does_not_and_is_as_old_as_it_was(region):
    assert region.say(region.vote("UP", rtt_ms=3.0)) == []
    assert region.woken()
    (first,) = region.seen()
    assert region.say(region.vote("UP", rtt_ms=5.0)) == []
    assert not region.woken()
    (second,) = region.seen()
    assert (second.since, second.rtt_ms) == (first.since, 5.0)
    assert region.say(region.vote("DOWN", reason="refused")) == []
    assert region.woken()
    (third,) = region.seen()
    assert (third.word, third.reason, third.since == third.at) == ("DOWN", "refused", True)


def test_under_an_old_fence_nothing_is_heard(region):
    region.say(region.vote("UP"))
    old = region.vote("DOWN")
    region.sit("one", leaving=True)
    assert region.say(old) == [old.share]
    region.fences = region.sit("two")
    assert region.say(old) == [old.share]
    assert region.say(region.vote("DOWN"), checker="one") == [old.share]
    assert [one.word for one in region.seen()] == ["UP"]
    assert region.say(region.vote("DOWN"), checker="two") == []
    assert [(one.word, one.checker) for one in region.seen()] == [("DOWN", "two")]


def test_when_a_share_has_changed_hands_the_first_word_wakes_though_it_is_the_same(region):
    region.say(region.vote("UP"))
    (before,) = region.seen()
    region.sit("one", leaving=True)
    region.fences = region.sit("two")
    region.woken()
    region.say(region.vote("UP"), checker="two")
    assert region.woken()
    (after,) = region.seen()
    assert (after.since, after.checker) == (before.since, "two")


def test_what_was_kept_while_we_were_away_is_as_old_as_it_is_and_nothing_newer_is_lost(region):
    region.say(region.vote("DOWN", age_s=20.0))
    (first,) = region.seen()
    region.say(region.vote("UP"))
    region.say(region.vote("DOWN", age_s=10.0))
    (last,) = region.seen()
    assert last.word == "UP"
    assert last.at - first.at > 15


def test_a_clock_that_was_set_back_silences_nobody(region):
    region.say(region.vote("UP"))
    with region.database.transaction() as tx:
        tx.connection.exec_driver_sql("UPDATE gslb_vote SET at = at + 3600")
    region.say(region.vote("DOWN"))
    assert [one.word for one in region.seen()] == ["DOWN"]


def test_what_its_checker_has_made_on_time_is_confirmed_without_a_vote(region):
    region.say(region.vote("UP"))
    (before,) = region.seen()
    share = votes.share_of(region.known["gslb_member"])
    region.sit("one", held=[Held(share=share, fence=1, on_time=False)])
    (late,) = region.seen()
    region.sit("one", held=[Held(share=share, fence=1)])
    (after,) = region.seen()
    assert late.confirmed_at == before.confirmed_at < after.confirmed_at
    assert after.at == before.at


def test_of_members_and_monitors_that_are_no_more_nothing_is_kept_nor_in_shares_that_are_not_theirs(region):
    gone = region.vote("UP", member_id="0" * 36)
    elsewhere = region.vote("UP").model_copy(update={"share": (votes.share_of(region.known["gslb_member"]) + 1) % 32})
    unknown = region.vote("UP", monitor_id="0" * 36)
    assert region.say(gone, elsewhere, unknown) == []
    with region.database.read() as tx:
        assert tx.connection.exec_driver_sql("SELECT count(*) FROM gslb_vote").scalar() == 0
    assert not region.woken()


def test_of_several_words_of_one_check_in_one_batch_the_latest_counts(region):
    first, second = region.vote("UP"), region.vote("DOWN")
    region.say(second, first)
    assert [one.word for one in region.seen()] == ["DOWN"]


def test_two_thousand_votes_are_taken_at_once(region):
    pool = region.known["gslb_pool"]
    members = [region.orchard.row(GSLB_MEMBER, pool_id=pool, address=f"10.0.{n // 250}.{n % 250}") for n in range(2000)]
    with region.database.transaction() as tx:
        rows.insert(tx, GSLB_MEMBER, members)
    assert region.say(*(region.vote("UP", member_id=member.id) for member in members)) == []
    assert region.woken()
    with region.database.read() as tx:
        assert len(store.of_members(tx, [member.id for member in members])) == len(members)
