# SPDX-License-Identifier: Apache-2.0
"""A checker that is revoked is refused at once, what it said counts no more, and others of its region take over."""

import pytest

from caryatid.config import Settings
from caryatid.control import initial
from caryatid.control.gslb import revoking, shares
from caryatid.errors import Conflict, Forbidden, NotFound
from caryatid.model import GSLB_CHECKER
from caryatid.model.event import BEGINNING
from caryatid.model.policy import Caller
from caryatid.store import clock, events, jobs
from caryatid.store.filters import Query
from caryatid.store.gslb import enrolled
from caryatid.store.gslb.enrolled import Enrolled
from caryatid.wire.checks import SHARES, Seat
from tests.control.gslb.test_votes import Region
from tests.doors import open_door

ADMIN = Caller("root", "p1", is_admin=True)
MINE = Caller("me", "p1", frozenset({"member"}))


class Vantage(Region):
    """A region whose checkers have enrolled: two of them, of whom the first makes all checks."""

    def __init__(self, database, tmp_path):
        super().__init__(database)
        settings = Settings(state_dir=tmp_path, amphora_driver="noop", compute_driver="noop", network_driver="noop")
        self.door = open_door(database, settings)
        initial.ensure(self.door)
        with database.transaction() as tx:
            for name in ("c1", "c2"):
                enrolled.keep(tx, Enrolled(name, self.id, f"host-{name}", "1.0", None, (), clock.now(tx) + 60))
        self.fences = self.seat("one", "c1")
        self.say(self.vote("UP"))
        self.woken()

    def seat(self, process, certificate):
        found = shares.sit(self.database, self.id, Seat(checker=process), enrolled_id=certificate)
        return {one.share: one.fence for one in found}

    def revoke(self, key="c1", caller=ADMIN):
        return revoking.revoke(self.door, caller, key)

    def listed(self, **filters):
        with self.database.read() as tx:
            return {one["name"]: one for one in enrolled.page(tx, Query(filters=filters))}


@pytest.fixture
def vantage(database, tmp_path):
    return Vantage(database, tmp_path)


def test_what_it_said_counts_no_more_and_whoever_used_it_is_looked_at(vantage):
    assert [one.word for one in vantage.seen()] == ["UP"]
    vantage.revoke()
    assert vantage.seen() == []
    assert vantage.woken()


def test_it_is_refused_and_what_it_says_late_is_stale(vantage):
    late = vantage.vote("DOWN")
    vantage.revoke()
    with pytest.raises(Forbidden):
        vantage.seat("one", "c1")
    with pytest.raises(Forbidden):
        vantage.seat("another", "c1")
    assert vantage.say(late) == [late.share]
    assert vantage.seen() == []


def test_another_of_its_region_has_all_its_checks_as_soon_as_it_says_that_it_is_there(vantage):
    vantage.seat("two", "c2")
    vantage.revoke()
    taken = vantage.seat("two", "c2")
    assert len(taken) == SHARES
    assert all(fence > vantage.fences[share] for share, fence in taken.items())
    vantage.fences = taken
    vantage.say(vantage.vote("DOWN"), checker="two")
    assert [one.word for one in vantage.seen()] == ["DOWN"]


def test_what_others_said_stays(vantage):
    vantage.revoke("c2")
    assert [one.word for one in vantage.seen()] == ["UP"]
    assert vantage.seat("one", "c1") == vantage.fences


def test_an_event_and_a_job_say_so(vantage):
    receipt = vantage.revoke()
    with vantage.database.read() as tx:
        job = jobs.get(tx, receipt.job_id)
        (event,) = [one for one in events.after(tx, BEGINNING) if one["kind"] == GSLB_CHECKER.name]
    assert (job["state"], job["action"], job["resource_id"]) == ("succeeded", "revoke", "c1")
    assert (event["action"], event["user_id"]) == ("revoke", "root")
    assert event["detail"] == {"name": "host-c1", "region_id": vantage.id}
    assert receipt.document["revoked"]


def test_they_are_listed_by_region_and_by_whether_they_are_believed(vantage):
    vantage.revoke()
    assert vantage.listed().keys() == {"host-c1", "host-c2"}
    assert vantage.listed(revoked="true").keys() == {"host-c1"}
    assert vantage.listed(region_id=vantage.id, name="host-c2").keys() == {"host-c2"}
    assert vantage.listed(region_id="other") == {}
    one = vantage.listed()["host-c2"]
    assert one.keys() == set(GSLB_CHECKER.attributes)
    assert one["certificate_expiration"] > "2026"


def test_only_who_was_revoked_is_removed_and_it_is_refused_all_the_same(vantage):
    with pytest.raises(Conflict, match="gslb-checker revoke c1"):
        revoking.delete(vantage.door, ADMIN, "c1")
    vantage.revoke()
    vantage.revoke()
    revoking.delete(vantage.door, ADMIN, "c1")
    assert vantage.listed().keys() == {"host-c2"}
    with pytest.raises(Forbidden):
        vantage.seat("one", "c1")
    for act in (revoking.delete, revoking.revoke):
        with pytest.raises(NotFound):
            act(vantage.door, ADMIN, "c1")


def test_it_is_an_administrator_s_to_say(vantage):
    for act in (revoking.delete, revoking.revoke):
        with pytest.raises(Forbidden):
            act(vantage.door, MINE, "c1")
