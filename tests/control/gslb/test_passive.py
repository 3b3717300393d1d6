# SPDX-License-Identifier: Apache-2.0
"""Monitors that nobody tries: users tell, it counts at once, and for as long as the monitor says."""

import pytest
from sqlalchemy import text

from caryatid.config import Settings
from caryatid.control import initial, writes
from caryatid.control.gslb import explain, home, passive, sight, trials, votes
from caryatid.control.gslb.checks import Checks
from caryatid.control.gslb.engine import attend
from caryatid.control.gslb.watch import Watch, forget
from caryatid.drivers.noop import WORLD
from caryatid.errors import Forbidden, NotFound, Refused
from caryatid.model import GSLB, GSLB_BACKEND, GSLB_MEMBER, GSLB_MONITOR, GSLB_POOL, GSLB_REGION, GSLB_ZONE
from caryatid.model.event import BEGINNING
from caryatid.model.policy import Caller
from caryatid.store import events, rows, work
from caryatid.store.database import Database
from caryatid.store.gslb import shares
from caryatid.wire.checks import Vote, Votes
from tests.doors import open_door

ADMIN = Caller("root", "p1", is_admin=True)
MINE = Caller("me", "p1", frozenset({"member"}))
OTHER = Caller("you", "p2", frozenset({"member"}))
READER = Caller("reader", "p1", frozenset({"reader"}))
NOWHERE = "99999999-9999-4999-8999-999999999999"
A, B = "192.0.2.1", "192.0.2.2"
NAME = "www.example.test."
NOOP = {"amphora_driver": "noop", "compute_driver": "noop", "network_driver": "noop"}


class Told:
    """A name with two members and a monitor that is told how they are."""

    def __init__(self, door, **monitor):
        self.door = door
        self.region = home.ensure(door)
        backend = self.made(GSLB_BACKEND, driver="noop")["id"]
        self.made(GSLB_ZONE, name="example.test.", backend_id=backend)
        self.monitor = self.made(GSLB_MONITOR, MINE, type="passive", **monitor)["id"]
        self.pool = self.made(GSLB_POOL, MINE, monitors=[{"monitor_id": self.monitor}])["id"]
        self.members = {address: self.made(GSLB_MEMBER, MINE, self.pool, address=address)["id"] for address in (A, B)}
        self.gslb = self.made(GSLB, MINE, fqdn=NAME, record_types=["A"], pools=[{"pool_id": self.pool}])["id"]
        self.settle()

    def made(self, kind, caller=ADMIN, parent_id=None, **body):
        return writes.create(self.door, caller, kind, body, parent_id=parent_id).document

    def tell(self, word, *addresses, caller=MINE, **more):
        said = [{"member_id": self.members[address], "vote": word, **more} for address in addresses]
        return passive.tell(self.door, caller, self.monitor, {"votes": said})

    def settle(self):
        """Whether anything was due; not any more afterwards."""
        found = False
        while claims := work.claim_some(self.door.database, "test", GSLB, 10):
            found = True
            attend(self.door, claims)
        return found

    def answered(self):
        self.settle()
        found = WORLD.zones.get("example.test.", {}).get((NAME, "A"))
        return [] if found is None else sorted(each.content for each in found.answers.default.candidates)

    def seen(self, address):
        """What is shown of the member."""
        with self.door.database.read() as tx:
            document = rows.get(tx, GSLB_MEMBER, self.members[address])
            return sight.with_votes(tx, [document])[0]

    def later(self, seconds):
        """So much time goes by."""
        with self.door.database.transaction() as tx:
            for column in ("at", "since", "until"):
                tx.connection.execute(text(f"UPDATE gslb_vote SET {column} = {column} - {seconds}"))

    def said(self):
        with self.door.database.read() as tx:
            found = [
                one for one in events.after(tx, BEGINNING) if (one["kind"], one["action"]) == ("gslb_monitor", "tell")
            ]
        return [(one["user_id"], one["detail"]["votes"]) for one in found]


@pytest.fixture
def door(tmp_path, database_url):
    WORLD.forget()
    database = Database(database_url)
    door = open_door(database, Settings(state_dir=tmp_path, **NOOP))
    initial.ensure(door)
    yield door
    database.close()
    WORLD.forget()


@pytest.fixture
def told(door):
    return Told(door, interval=10)


def faults(act, *arguments, **words):
    with pytest.raises(Refused) as caught:
        act(*arguments, **words)
    return {fault.attribute: fault.message for fault in caught.value.faults}


def test_what_is_told_is_answered_at_once_and_shown_with_its_words(told):
    told.tell("UP", A, B)
    assert told.answered() == [A, B]
    told.tell("DOWN", A, reason="its disk is full")
    assert told.answered() == [B]
    (seen,) = told.seen(A)["per_region"]
    assert (seen["region_id"], seen["monitor_id"]) == (told.region, told.monitor)
    assert (seen["vote"], seen["reason"]) == ("DOWN", "its disk is full")
    found = explain.explain(told.door, MINE, told.gslb)
    why = {one["address"]: (one["well"], one["why"]) for one in found["pools"][0]["members"]}
    assert why[A] == (False, "DOWN as told for 1 of 1 regions: local: its disk is full")
    assert why[B][0]
    told.tell("UP", A)
    assert told.answered() == [A, B]


def test_who_is_concerned_is_woken_by_what_is_otherwise_and_not_by_the_same_again(told):
    told.tell("UP", A, B)
    assert told.settle()
    told.tell("UP", A, B)
    assert not told.settle()
    told.tell("DOWN", B)
    assert told.settle()


def test_an_event_says_who_told_otherwise_and_nothing_of_the_same_again(told):
    told.tell("UP", A)
    told.tell("UP", A, B, reason="looks good")
    (first, (user, votes_)) = told.said()
    assert first[0] == user == "me"
    assert votes_ == [
        {"member_id": told.members[B], "region_id": told.region, "vote": "UP", "reason": "looks good"},
    ]
    told.tell("UP", A, B)
    assert len(told.said()) == 2


def test_it_counts_for_three_intervals_or_for_as_long_as_the_monitor_says(told):
    told.tell("DOWN", A)
    told.later(29)
    assert told.seen(A)["per_region"][0]["vote"] == "DOWN"
    told.later(2)
    assert told.seen(A)["per_region"][0]["vote"] == "UNKNOWN"
    writes.change(told.door, MINE, GSLB_MONITOR, told.monitor, {"parameters": {"valid_s": 60}})
    assert told.seen(A)["per_region"][0]["vote"] == "DOWN"
    told.later(30)
    assert told.seen(A)["per_region"][0]["vote"] == "UNKNOWN"


def test_silence_is_noticed_by_who_watches(told):
    told.tell("UP", A, B)
    told.answered()
    watch = Watch(told.door.database, "here")
    watch.turn()
    told.settle()
    watch.turn()
    assert not told.settle()
    told.later(31)
    watch._last -= 31
    watch.turn()
    assert told.settle()
    watch.turn()
    assert not told.settle()
    watch.close()
    assert told.seen(A)["operating_status"] == "UNKNOWN"
    assert told.answered() == [A, B], "of silence nothing follows: what was last known stands"


def test_a_longer_life_is_watched_as_long_as_it_lasts(told):
    told.tell("UP", A, B)
    told.answered()
    watch = Watch(told.door.database, "here")
    watch.turn()
    writes.change(told.door, MINE, GSLB_MONITOR, told.monitor, {"parameters": {"valid_s": 60}})
    told.settle()
    told.later(31)
    watch._last -= 31
    watch.turn()
    assert not told.settle()
    told.later(30)
    watch._last -= 30
    watch.turn()
    assert told.settle()
    watch.close()


def test_the_word_of_users_is_evidence_enough_for_the_guard(told):
    told.tell("UP", A, B)
    assert told.answered() == [A, B]
    told.tell("DOWN", A, B)
    told.settle()
    found = explain.explain(told.door, MINE, told.gslb)
    assert all("kept" not in " ".join(one["why"]) for one in found["pools"][0]["members"])


def test_it_is_told_for_regions_and_enough_of_them_must_agree(door):
    here = home.ensure(door)
    far = [writes.create(door, ADMIN, GSLB_REGION, {"name": name}).document["id"] for name in ("east", "west")]
    told = Told(door, regions=[here, *far])
    for region in (here, *far):
        told.tell("UP", A, B, region_id=region)
    assert told.answered() == [A, B]
    told.tell("DOWN", A, region_id=far[0])
    assert told.answered() == [A, B]
    told.tell("DOWN", A)
    assert told.answered() == [B]


def test_a_monitor_that_names_no_region_is_told_for_this_one(told):
    with told.door.database.read() as tx:
        assert rows.get(tx, GSLB_MONITOR, told.monitor)["regions"] == [told.region]
    writes.change(told.door, MINE, GSLB_MONITOR, told.monitor, {"regions": None})
    with told.door.database.read() as tx:
        assert rows.get(tx, GSLB_MONITOR, told.monitor)["regions"] == [told.region]


def test_every_fault_is_told_at_once(told):
    far = told.made(GSLB_REGION, name="east")["id"]
    pool = told.made(GSLB_POOL, MINE)["id"]
    unrelated = told.made(GSLB_MEMBER, MINE, pool, address=A)["id"]
    theirs = told.made(GSLB_POOL, OTHER)["id"]
    stranger = told.made(GSLB_MEMBER, OTHER, theirs, address=A)["id"]
    good, vote = {"member_id": told.members[A], "vote": "UP"}, {"vote": "UP"}
    found = faults(passive.tell, told.door, MINE, told.monitor, {"more": 1, "votes": [
        good, good, {**good, "vote": "MAYBE"}, {**good, "region_id": far}, {**good, "region_id": NOWHERE},
        {**vote, "member_id": stranger}, {**vote, "member_id": unrelated}, {**vote, "member_id": NOWHERE}, "x",
        {**good, "colour": "red"},
    ]})  # fmt: skip
    assert found.keys() == {
        *("more", "votes.1.member_id", "votes.2.vote", "votes.3.region_id", "votes.4.region_id", "votes.5.member_id"),
        *("votes.6.member_id", "votes.7.member_id", "votes.8", "votes.9.colour"),
    }
    assert "none of the monitor's (local): name one of these, or add it" in found["votes.3.region_id"]
    assert "does not use this monitor: name it in the pool's monitors" in found["votes.6.member_id"]
    assert found["votes.5.member_id"] == f"GSLB Member {stranger} not found."
    assert told.seen(A)["per_region"] == []


@pytest.mark.parametrize("body", [None, [], {}, {"votes": None}, {"votes": []}, {"votes": {}}, "x"])
def test_nonsense_is_refused(told, body):
    assert "votes" in faults(passive.tell, told.door, MINE, told.monitor, body)


def test_so_many_are_told_at_once_and_no_more(told):
    one = {"member_id": told.members[A], "vote": "UP"}
    found = faults(passive.tell, told.door, MINE, told.monitor, {"votes": [one] * 1001})
    assert "1 to 1000 votes are told at once; these are 1001" in found["votes"]


def test_a_disabled_region_hears_nothing(told):
    writes.change(told.door, ADMIN, GSLB_REGION, told.region, {"enabled": False})
    assert "disabled" in faults(told.tell, "UP", A)["votes.0.region_id"]


def test_without_a_region_of_its_own_the_installation_must_be_told_for_which(door):
    far = writes.create(door, ADMIN, GSLB_REGION, {"name": "east"}).document["id"]
    writes.delete(door, ADMIN, GSLB_REGION, home.ensure(door))
    found = faults(writes.create, door, MINE, GSLB_MONITOR, {"type": "passive"})
    assert "no region of its own" in found["regions"]
    made = writes.create(door, MINE, GSLB_MONITOR, {"type": "passive", "regions": [far]}).document
    assert made["regions"] == [far]


def test_only_those_may_tell_who_may_change_the_project_s_monitors(told):
    for stranger in (OTHER, READER):
        with pytest.raises(Forbidden):
            told.tell("DOWN", A, caller=stranger)
    with pytest.raises(NotFound):
        passive.tell(told.door, MINE, NOWHERE, {"votes": []})


def test_what_is_tried_is_not_told_and_what_is_told_is_not_tried(told):
    tried = told.made(GSLB_MONITOR, MINE, type="tcp")["id"]
    vote = {"votes": [{"member_id": told.members[A], "vote": "UP"}]}
    assert "Make one of type passive" in faults(passive.tell, told.door, MINE, tried, vote)["type"]
    assert "gslb-monitor tell" in faults(trials.ask, told.door, told.monitor, address=A)["type"]


def test_checkers_are_not_sent_it_and_are_not_believed_about_it(told):
    checks = Checks(told.door.database, told.door.settings)
    checks.look()
    assert b'"wanted":[]' in checks.answer(told.region, range(32))
    told.tell("UP", A)
    with told.door.database.transaction() as tx:
        shares.take(tx, told.region, "c1", range(32), 0.0, 9e9)
    share = votes.share_of(told.members[A])
    lie = Vote(monitor_id=told.monitor, member_id=told.members[A], share=share, fence=1, word="DOWN", seq=1)
    votes.take(told.door.database, told.region, Votes(checker="c1", votes=[lie]))
    assert told.seen(A)["per_region"][0]["vote"] == "UP"


def test_parameters_are_its_own_and_the_timeout_of_checks_is_no_matter(door):
    body = {"type": "passive", "interval": 1, "parameters": {"valid_s": 5}}
    assert writes.create(door, MINE, GSLB_MONITOR, body).document["timeout"] == 5.0
    for wrong in ({"valid_s": 0}, {"valid_s": "5"}, {"path": "/"}, {"max_rtt_ms": 5}):
        found = faults(writes.create, door, MINE, GSLB_MONITOR, {"type": "passive", "parameters": wrong})
        assert found.keys() == {f"parameters.{name}" for name in wrong}


def test_what_was_told_goes_with_its_monitor(told):
    told.tell("UP", A)
    writes.change(told.door, MINE, GSLB_POOL, told.pool, {"monitors": []})
    writes.delete(told.door, MINE, GSLB_MONITOR, told.monitor)
    forget(told.door)
    assert told.seen(A)["per_region"] == []
