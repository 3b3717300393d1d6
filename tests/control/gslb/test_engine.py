# SPDX-License-Identifier: Apache-2.0
"""Gslbs are answered as they shall be, whatever happens on the way."""

from contextlib import contextmanager

import pytest
from sqlalchemy import Engine, event, text

from caryatid.control.gslb.engine import attend
from caryatid.drivers.dns.base import DnsError, DnsRefusedError
from caryatid.drivers.noop import WORLD, NoopDnsDriver
from caryatid.model import GSLB, GSLB_MEMBER, GSLB_POOL
from caryatid.model.event import Sought
from caryatid.store import events
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
    return key


def of(globe, kind, key=None):
    with globe.database.read() as tx:
        return [
            row for row in events.newest(tx, sought=Sought([f"{kind.name}.*"])) if key in (None, row["resource_id"])
        ]


# Answers


def test_a_name_is_answered_with_what_is_well_and_shows_it(globe, name):
    globe.turn()
    assert globe.told("www") == [A]
    shown = globe.get(GSLB, name)
    assert (shown["provisioning_status"], shown["operating_status"]) == ("ACTIVE", "ONLINE")
    assert shown["published_generation"] == 1
    assert shown["published_at"]
    assert globe.get(GSLB_POOL, uid("near"))["provisioning_status"] == "ACTIVE"
    assert globe.get(GSLB_MEMBER, uid(A))["operating_status"] == "ONLINE"


@contextmanager
def counted():
    """The statements of what is done within."""
    found = []

    def note(_connection, _cursor, statement, *_):
        found.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield found
    finally:
        event.remove(Engine, "before_cursor_execute", note)


def test_many_names_that_are_wanted_otherwise_cost_as_many_statements_as_few(globe):
    globe.pool("shared", A)
    globe.say(A, "UUU")
    keys = [globe.gslb(f"name{number}", "shared") for number in range(30)]
    globe.turn()
    cost = {}
    for number in (3, 30):
        for key in keys[:number]:
            globe.change(key, ttl=7 + number)
        with counted() as found:
            globe.turn()
        cost[number] = len(found)
    assert {globe.get(GSLB, key)["provisioning_status"] for key in keys} == {"ACTIVE"}
    assert cost[30] <= cost[3]


def test_when_regions_agree_that_it_is_down_the_next_pool_answers(globe, name):
    globe.turn()
    globe.say(A, "DDU")
    globe.turn()
    assert globe.told("www") == [B]
    assert globe.get(GSLB, name)["operating_status"] == "DEGRADED"
    member = globe.get(GSLB_MEMBER, uid(A))
    assert member["operating_status"] == "DOWN"
    assert "as eu sees it" in member["status_reason"]
    globe.say(A, "UUU")
    globe.turn()
    assert globe.told("www") == [A]


def test_what_has_not_changed_is_not_published_again(globe, name):
    globe.turn()
    before = WORLD.publishes
    globe.say(B, "UUD")
    globe.turn()
    assert WORLD.publishes == before
    assert globe.state(name).generation == 1


def test_all_changed_names_of_a_zone_are_one_publication(globe):
    globe.pool("near", A)
    for number in range(30):
        globe.gslb(f"www{number}", "near")
    globe.turn()
    assert WORLD.publishes == 1
    assert all(globe.told(f"www{number}") == [A] for number in range(30))


def test_record_types_that_are_not_wanted_any_more_are_withdrawn(globe, name):
    globe.turn()
    assert globe.told("www", "AAAA") == []
    globe.change(name, record_types=["A"])
    globe.turn()
    assert globe.told("www", "AAAA") is None
    assert globe.told("www") == [A]


def test_a_deleted_name_is_withdrawn_and_then_gone(globe, name):
    globe.turn()
    globe.delete(name)
    globe.turn()
    assert WORLD.zones[ZONE] == {}
    assert globe.get(GSLB, name) is None
    assert globe.state(name) is None


def test_a_name_that_is_given_anew_waits_until_it_has_been_withdrawn(globe, name):
    globe.turn()
    globe.delete(name)
    (old,) = globe.claims()
    new = globe.gslb("www", "far")
    globe.turn()
    assert globe.told("www") == [A]
    attend(globe.door, [old])
    assert globe.told("www") is None
    globe.turn()
    assert globe.told("www") == [B]
    assert globe.get(GSLB, new)["provisioning_status"] == "ACTIVE"


def test_a_disabled_name_is_answered_with_nothing(globe, name):
    globe.turn()
    globe.change(name, admin_state_up=False)
    globe.turn()
    assert globe.told("www") == []
    assert globe.get(GSLB, name)["operating_status"] == "DISABLED"


def test_a_member_that_is_taken_out_is_not_answered_with(globe, name):
    globe.turn()
    globe.change_member(uid(A), admin_state_up=False)
    globe.turn()
    assert globe.told("www") == [B]
    assert globe.get(GSLB_POOL, uid("near"))["provisioning_status"] == "ACTIVE"


# Name servers that are away, or refuse


def test_when_nobody_answers_it_is_tried_again_and_says_why(globe, name):
    def away(_call, act):
        if act == "publish":
            raise DnsError("Nobody listens on 192.0.2.53; start it.")

    WORLD.mishap = away
    (outcome,) = globe.turn()
    assert "192.0.2.53" in outcome.reason
    assert globe.get(GSLB, name)["provisioning_status"] == "PENDING_CREATE"
    WORLD.mishap = lambda _call, _act: None
    globe.wake()
    globe.turn()
    assert globe.told("www") == [A]
    assert globe.get(GSLB, name)["provisioning_status"] == "ACTIVE"


def test_a_name_server_that_is_dead_leaves_the_others_told_and_is_named(globe, name, monkeypatch):
    globe.turn()
    monkeypatch.setattr(
        "caryatid.drivers.noop.NoopDnsDriver.verify",
        lambda _self, _zone, wanted: {(each.fqdn, each.rrtype): "192.0.2.53:53 does not answer" for each in wanted},
    )
    globe.change(name, ttl=20)
    (outcome,) = globe.turn()
    assert "192.0.2.53:53 does not answer" in outcome.reason
    assert globe.told("www") == [A]
    assert globe.get(GSLB, name)["operating_status"] == "DEGRADED"
    assert globe.get(GSLB, name)["provisioning_status"] == "PENDING_UPDATE"
    monkeypatch.undo()
    globe.wake()
    globe.turn()
    shown = globe.get(GSLB, name)
    assert (shown["operating_status"], shown["provisioning_status"]) == ("ONLINE", "ACTIVE")


def test_a_name_that_is_refused_does_not_keep_the_others_of_its_zone(globe, monkeypatch):
    globe.pool("near", A)
    keys = [globe.gslb(f"www{number}", "near") for number in range(8)]
    publish_all = NoopDnsDriver.publish

    def some(self, zone, wanted):
        good = [each for each in wanted if not each.fqdn.startswith("www3.")]
        publish_all(self, zone, good)
        why = "These servers hold plain records."
        if refused := {(each.fqdn, each.rrtype): why for each in wanted if each not in good}:
            raise DnsRefusedError(why, refused)

    monkeypatch.setattr(NoopDnsDriver, "publish", some)
    globe.turn()
    shown = [globe.get(GSLB, key)["provisioning_status"] for key in keys]
    assert shown == ["ACTIVE"] * 3 + ["ERROR"] + ["ACTIVE"] * 4


def test_a_name_that_is_in_another_zone_now_is_withdrawn_from_the_old_one(globe, name):
    globe.turn()
    globe.elsewhere("other", "www.example.test.")
    globe.move(name, "www.example.test.")
    globe.turn()
    assert globe.told("www") is None
    assert WORLD.zones["www.example.test."].keys() == {(f"www.{ZONE}", "A"), (f"www.{ZONE}", "AAAA")}
    assert globe.get(GSLB, name)["provisioning_status"] == "ACTIVE"


# What is told of it


def test_the_log_tells_what_was_answered_and_how_everything_was(globe, name):
    globe.turn()
    globe.say(A, "DDD")
    globe.turn()
    answers = [event["detail"] for event in of(globe, GSLB, name) if event["action"] == "answer"]
    assert [detail["changed"] for detail in answers] == [{"A": [[], [A]], "AAAA": [[], []]}, {"A": [[A], [B]]}]
    assert answers[1]["cause"] == "failover: answered with far"
    (status,) = [
        event["detail"] for event in of(globe, GSLB_MEMBER, uid(A)) if event["detail"]["changed"]["operating_status"][0]
    ]
    assert status["changed"] == {"operating_status": ["ONLINE", "DOWN"]}
    assert [one["vote"] for one in status["per_region"]] == ["DOWN"] * 3
    pools = [event["detail"]["changed"]["operating_status"] for event in of(globe, GSLB_POOL, uid("near"))]
    assert pools == [[None, "ONLINE"], ["ONLINE", "DOWN"]]


def test_who_has_asked_sees_how_it_goes(globe, name):
    globe.turn()
    with globe.database.read() as tx:
        begun = tx.connection.execute(
            text("SELECT outcome, log FROM attempt WHERE root_id = :key"), {"key": name}
        ).all()
    ((outcome, log),) = begun
    assert outcome == "done"
    assert "generation 1: A told, AAAA told" in log


def test_a_look_that_nobody_has_asked_for_is_no_attempt(globe, name):
    globe.turn()
    globe.say(A, "DDD")
    globe.turn()
    with globe.database.read() as tx:
        assert tx.connection.execute(text("SELECT count(*) FROM attempt")).scalar_one() == 1
