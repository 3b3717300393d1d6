# SPDX-License-Identifier: Apache-2.0
"""Who asks why is told, and what was is kept."""

import pytest

from caryatid.control.gslb.explain import explain
from caryatid.control.gslb.history import history
from caryatid.control.gslb.sync import sync
from caryatid.drivers.noop import WORLD
from caryatid.errors import Forbidden, NotFound, Refused
from caryatid.model import GSLB
from caryatid.model.policy import Caller
from caryatid.store import jobs
from tests.control.gslb.globe import Globe, uid

A, B = "192.0.2.1", "192.0.2.2"
STRANGER = Caller("x", "p2", frozenset({"member"}))


@pytest.fixture
def globe(door):
    return Globe(door)


@pytest.fixture
def name(globe):
    """www, answered with A, and in 198.51.100.0/24 with B."""
    globe.pool("near", A)
    globe.pool("far", B)
    rules = [{"cidrs": ["198.51.100.0/24"], "pool_ids": [uid("far")]}]
    key = globe.gslb("www", "near", steering_policy="geo", rules=rules)
    globe.say(A, "UUU")
    globe.say(B, "UUU")
    globe.turn()
    return key


def test_a_client_is_told_which_rule_and_pool_it_gets(globe, caller, name):
    found = explain(globe.door, caller, name, "198.51.100.7")
    (answer,) = [one for one in found["answers"] if one["rrtype"] == "A"]
    (chance,) = answer["chances"]
    assert (chance["content"], chance["pool"], chance["probability"]) == (B, "far", 1)
    assert answer["why"][0] == "198.51.100.7 is among those in 198.51.100.0/24"
    (other,) = [one for one in explain(globe.door, caller, name, "203.0.113.1")["answers"] if one["rrtype"] == "A"]
    assert [chance["content"] for chance in other["chances"]] == [A]


def test_without_a_client_everybody_is_explained(globe, caller, name):
    found = explain(globe.door, caller, name)
    told = [one for one in found["answers"] if one["rrtype"] == "A"]
    said = [(one["why"][0], [chance["content"] for chance in one["chances"]]) for one in told]
    assert said == [("clients whom no rule names", [A]), ("clients in 198.51.100.0/24", [B])]
    assert found["published"]
    assert found["pools"][0]["members"][0]["well"]


def test_what_is_not_yet_published_is_told(globe, caller, name):
    globe.say(B, "DDD")
    found = explain(globe.door, caller, name)
    assert not found["published"]
    assert "DOWN as 3 of 3 regions see it" in " ".join(found["why"])
    globe.turn()
    assert explain(globe.door, caller, name)["published"]


def test_nonsense_strangers_and_nobody_are_refused(globe, caller, name):
    with pytest.raises(Refused):
        explain(globe.door, caller, name, "here")
    with pytest.raises(NotFound):
        explain(globe.door, caller, uid("nobody"))
    for act in (explain, history, sync):
        with pytest.raises(Forbidden):
            act(globe.door, STRANGER, name)


def test_history_tells_what_was_answered_why_and_who_said_so(globe, caller, name):
    globe.say(B, "DDU")
    globe.turn()
    found = history(globe.door, caller, name)
    _, answer = [one["detail"] for one in found if one["type"] == "gslb.answer"]
    assert answer["changed"] == {"A": [[A, B], [A]]}
    statuses = [one["detail"] for one in found if one["type"] == "gslb_member.status"]
    (member,) = [one for one in statuses if one["changed"]["operating_status"][1] == "DOWN"]
    said = {one["region"]: one["vote"] for one in member["per_region"]}
    assert said == {"eu": "DOWN", "us": "DOWN", "ap": "UP"}
    assert [one["id"] for one in history(globe.door, caller, name, limit=2)] == [one["id"] for one in found[-2:]]


def test_sync_publishes_again_though_nothing_has_changed(globe, caller, name):
    before = WORLD.publishes
    accepted = sync(globe.door, caller, name)
    assert globe.get(GSLB, name)["provisioning_status"] == "PENDING_UPDATE"
    globe.turn()
    assert WORLD.publishes == before + 1
    with globe.database.read() as tx:
        assert jobs.get(tx, accepted.job_id)["state"] == "succeeded"
    assert globe.get(GSLB, name)["provisioning_status"] == "ACTIVE"
