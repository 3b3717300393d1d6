# SPDX-License-Identifier: Apache-2.0
"""Two engines, stale ones, audits, the guard, clocks and restarts: nobody is answered worse for them."""

import pytest
from structlog.testing import capture_logs

from caryatid.control.gslb import auditing, guarding, lifting
from caryatid.control.gslb.engine import attend, begin, publish, verify
from caryatid.control.gslb.hearing import Hearing
from caryatid.control.gslb.settling import settle
from caryatid.drivers.dns.base import Publication
from caryatid.drivers.noop import WORLD, NoopDnsDriver
from caryatid.errors import Forbidden
from caryatid.model import GSLB, GSLB_MEMBER
from caryatid.model.gslb.answers import Answers, Candidate, Choice
from caryatid.model.policy import Caller
from caryatid.store import clock, work
from tests.control.gslb.globe import ZONE, Globe, uid

A, B, C = "192.0.2.1", "192.0.2.2", "192.0.2.3"


@pytest.fixture
def globe(door):
    return Globe(door)


@pytest.fixture
def name(globe):
    """www, answered with A as long as it is well, else with B."""
    globe.pool("near", A)
    globe.pool("far", B)
    key = globe.gslb("www", "near", "far")
    globe.say(A, "UUU")
    globe.say(B, "UUU")
    globe.turn()
    return key


def carried_out(globe, cases):
    for case in cases:
        for place in case.publications:
            publish(globe.door, place, [case])
            verify(globe.door, place, [case])


# Engines


def test_an_engine_that_was_paused_past_its_lease_changes_nothing(globe, name):
    globe.say(A, "DDD")
    stale = begin(globe.door, globe.claims("first"))
    globe.expire()
    globe.say(A, "UUU")
    globe.turn()
    carried_out(globe, stale)
    settle(globe.door, stale)
    globe.turn()
    assert stale[0].lost
    assert globe.told("www") == [A]
    assert globe.state(name).published["seen"] == globe.state(name).generation


def test_what_a_stale_engine_has_published_is_published_anew_even_where_nothing_refuses_it(globe, name, monkeypatch):
    def forgetful(_self, zone, wanted):
        WORLD.zones.setdefault(zone, {}).update({(each.fqdn, each.rrtype): each for each in wanted})

    monkeypatch.setattr(NoopDnsDriver, "publish", forgetful)
    globe.say(A, "DDD")
    stale = begin(globe.door, globe.claims("first"))
    globe.expire()
    globe.say(A, "UUU")
    globe.turn()
    carried_out(globe, stale)
    assert globe.told("www") == [B]
    settle(globe.door, stale)
    globe.turn()
    assert globe.told("www") == [A]


def test_an_engine_that_is_killed_after_publishing_leaves_nothing_unknown(globe, name):
    globe.say(A, "DDD")
    carried_out(globe, begin(globe.door, globe.claims("first")))
    assert globe.told("www") == [B]
    globe.expire()
    globe.say(A, "UUU")
    globe.turn()
    assert globe.told("www") == [A]


def test_a_name_deleted_while_an_engine_died_with_it_is_withdrawn(globe):
    globe.pool("near", A)
    key = globe.gslb("www", "near")
    carried_out(globe, begin(globe.door, globe.claims("first")))
    assert globe.told("www") == [A]
    globe.expire()
    globe.delete(key)
    globe.turn()
    assert globe.told("www") is None


# What name servers have


def test_what_is_missing_is_published_again(globe, name):
    WORLD.zones[ZONE].clear()
    auditing.audit(globe.door)
    globe.turn()
    assert globe.told("www") == [A]


def test_what_somebody_has_changed_is_put_right(globe, name):
    fqdn = f"www.{ZONE}"
    wrong = Answers(fqdn, "A", 30, Choice((Candidate("198.51.100.66"),)))
    WORLD.zones[ZONE][fqdn, "A"] = Publication(wrong, fqdn, "A", 1)
    auditing.audit(globe.door)
    globe.turn()
    assert globe.told("www") == [A]


def test_what_nobody_wants_is_withdrawn(globe, name):
    fqdn = f"old.{ZONE}"
    answers = Answers(fqdn, "A", 30, Choice((Candidate(A),)))
    WORLD.zones[ZONE][fqdn, "A"] = Publication(answers, fqdn, "A", 7)
    auditing.audit(globe.door)
    assert globe.told("old") is None
    assert globe.told("www") == [A]


def test_after_the_database_was_restored_from_a_copy_names_can_be_changed_again(globe, name):
    """Name servers have seen higher generations than the database knows of."""
    fqdn = f"www.{ZONE}"
    known = WORLD.zones[ZONE][fqdn, "A"]
    WORLD.zones[ZONE][fqdn, "A"] = Publication(known.answers, fqdn, "A", 50)
    auditing.audit(globe.door)
    globe.turn()
    globe.say(A, "DDD")
    globe.turn()
    assert globe.told("www") == [B]
    assert globe.get(GSLB, name)["provisioning_status"] == "ACTIVE"


def test_an_audit_leaves_alone_what_is_as_it_shall_be(globe, name):
    before = WORLD.publishes
    auditing.audit(globe.door)
    globe.turn()
    assert WORLD.publishes == before


# The guard


@pytest.fixture
def crowd(globe):
    """24 members of as many names, checked by one process alone in one region."""
    addresses = [f"192.0.2.{number}" for number in range(1, 25)]
    for address in addresses:
        globe.pool(f"pool {address}", address)
        globe.gslb(f"n{address[8:]}", f"pool {address}")
        globe.say(address, "UUU", wake=False)
    globe.turn()
    return addresses


def test_when_one_checker_takes_most_members_down_they_stay(globe, crowd):
    for address in crowd:
        globe.say(address, "DDD", checker="the same", wake=False)
    globe.wake()
    globe.turn()
    shown = [globe.get(GSLB_MEMBER, uid(address)) for address in crowd]
    assert [member["operating_status"] for member in shown] == ["UNKNOWN"] * 24
    assert "kept in answers" in shown[0]["status_reason"]


def test_when_an_operator_says_that_they_are_down_they_go(globe, crowd, caller):
    for address in crowd:
        globe.say(address, "DDD", checker="the same", wake=False)
    globe.wake()
    globe.turn()
    assert globe.get(GSLB_MEMBER, uid(crowd[0]))["operating_status"] == "UNKNOWN"
    lifting.lift(globe.door, caller)
    globe.turn()
    shown = [globe.get(GSLB_MEMBER, uid(address)) for address in crowd]
    assert {member["operating_status"] for member in shown} == {"DOWN"}
    assert not any("kept in answers" in (member["status_reason"] or "") for member in shown)


def test_only_an_administrator_may_say_that(globe):
    with pytest.raises(Forbidden):
        lifting.lift(globe.door, Caller("alice", "p1", roles=frozenset({"member"}), request_id="r"))


def test_when_regions_agree_they_go(globe, crowd):
    for address in crowd:
        globe.say(address, "DDD", wake=False)
    globe.wake()
    globe.turn()
    assert {globe.get(GSLB_MEMBER, uid(address))["operating_status"] for address in crowd} == {"DOWN"}


def test_a_few_go_and_then_no_more_of_the_same_minute_and_recovery_lets_them_go_again(globe, crowd):
    for address in crowd[:10]:
        globe.say(address, "DDD", checker="the same", wake=False)
    globe.wake()
    globe.turn()
    assert [globe.get(GSLB_MEMBER, uid(one))["operating_status"] for one in crowd[:10]] == ["DOWN"] * 10
    for address in crowd[10:20]:
        globe.say(address, "DDD", checker="the same", wake=False)
    globe.wake()
    globe.turn()
    assert [globe.get(GSLB_MEMBER, uid(one))["operating_status"] for one in crowd[10:20]] == ["UNKNOWN"] * 10


# Time


def test_after_a_restart_silence_changes_nothing(globe, name):
    globe.say(A, "DDD")
    globe.turn()
    globe.silence()
    globe.wake()
    with globe.database.read() as tx:
        since = clock.now(tx)
    globe.turn(since)
    assert globe.told("www") == [B]


def test_a_clock_that_is_set_is_as_a_restart(globe):
    hearing = Hearing()
    assert hearing.since(1000.0, 10.0) == 1000.0
    assert hearing.since(1010.0, 20.0) == 1000.0
    assert hearing.since(5000.0, 21.0) == 5000.0
    hearing.lost()
    assert hearing.since(5001.0, 22.0) == 5001.0


def test_votes_from_before_the_clock_was_set_back_count_until_they_are_confirmed_again(globe, name):
    globe.say(A, "DDD", age_s=-3600)
    globe.turn()
    assert globe.told("www") == [B]


# Faults of our own


def test_a_gslb_of_which_nothing_can_be_made_does_not_keep_the_others(globe, name, monkeypatch):
    globe.pool("third", C)
    other = globe.gslb("api", "third")
    with globe.database.transaction() as tx:
        work.wake_roots(tx, [name], kind=GSLB)
    known = guarding.decide

    def broken(gslb, *rest):
        if gslb.id == name:
            raise ZeroDivisionError
        return known(gslb, *rest)

    monkeypatch.setattr(guarding, "decide", broken)
    with capture_logs():
        outcomes = attend(globe.door, globe.claims())
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Again", "Done"]
    assert globe.told("api") == [C]
    assert globe.get(GSLB, other)["provisioning_status"] == "ACTIVE"
