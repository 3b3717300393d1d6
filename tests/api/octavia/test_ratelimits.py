# SPDX-License-Identifier: Apache-2.0
"""Rate limits over HTTP: what Octavia has specified, and how they end."""

import pytest

LBAAS = "/v2/lbaas"


@pytest.fixture
def listener(api):
    made = api.loadbalancer()
    return api.create("/listeners", "listener", loadbalancer_id=made["id"], protocol="HTTP", protocol_port=80)


def shown(api, path, wrapper):
    return api.get(f"{LBAAS}/{path}").json()[wrapper]


def test_a_limit_grows_from_a_policy_and_its_rules(api, listener):
    policy = api.create("/ratelimitpolicies", "ratelimitpolicy", listener_id=listener["id"], action="DENY", name="p")
    path = f"ratelimitpolicies/{policy['id']}"
    rule = api.create(f"/{path}/rules", "rule", metric="REQUESTS", threshold="100", name="r")
    assert (rule["threshold"], rule["interval"], rule["urls"], rule["name"]) == (100, 30, [], "r")
    assert shown(api, path, "ratelimitpolicy")["rules"] == [{"id": rule["id"]}]
    found = shown(api, f"listeners/{listener['id']}", "listener")
    assert found["rate_limit_policies"] == [{"id": policy["id"]}]
    assert found["provisioning_status"] == "PENDING_CREATE"
    api.settle()
    assert shown(api, f"{path}/rules/{rule['id']}", "rule")["provisioning_status"] == "ACTIVE"
    changed = api.put(f"{LBAAS}/{path}/rules/{rule['id']}", json={"rule": {"threshold": 5}})
    assert changed.status_code == 200
    assert changed.json()["rule"]["threshold"] == 5
    pending = [shown(api, where, word)["provisioning_status"] for where, word in (
        (path, "ratelimitpolicy"), (f"listeners/{listener['id']}", "listener"))]  # fmt: skip
    assert pending == ["PENDING_UPDATE"] * 2


def test_rules_go_with_their_policy_and_policies_with_their_listener(api):
    ids = api.populated()
    api.settle()
    assert api.delete(f"{LBAAS}/listeners/{ids['listeners']}").status_code == 204
    api.settle()
    assert shown(api, "ratelimitpolicies", "ratelimitpolicies") == []
    assert api.get(f"{LBAAS}/ratelimitpolicies/{ids['ratelimitpolicies']}/rules").status_code == 404


def test_policies_are_found_by_what_they_say(api, listener):
    for action in ("DENY", "REJECT"):
        api.create("/ratelimitpolicies", "ratelimitpolicy", listener_id=listener["id"], action=action)
    for query, actions in ((f"listener_id={listener['id']}", ["DENY", "REJECT"]), ("action=REJECT", ["REJECT"])):
        found = shown(api, f"ratelimitpolicies?{query}", "ratelimitpolicies")
        assert [policy["action"] for policy in found] == actions


def test_the_listener_of_a_policy_stays(api, listener):
    policy = api.create("/ratelimitpolicies", "ratelimitpolicy", listener_id=listener["id"], action="DENY")
    body = {"ratelimitpolicy": {"listener_id": listener["id"]}}
    answer = api.put(f"{LBAAS}/ratelimitpolicies/{policy['id']}", json=body)
    assert answer.status_code == 400
    assert "It cannot be changed." in answer.json()["faultstring"]


def test_they_are_kept_on_each_database(any_api):
    ids = any_api.populated()
    any_api.settle()
    path = f"ratelimitpolicies/{ids['ratelimitpolicies']}"
    (rule,) = shown(any_api, f"{path}/rules", "rules")
    assert (rule["id"], rule["operating_status"]) == (ids["limits"], "ONLINE")
    assert any_api.delete(f"{LBAAS}/{path}").status_code == 204
    any_api.settle()
    assert any_api.get(f"{LBAAS}/{path}").status_code == 404
