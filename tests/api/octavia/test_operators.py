# SPDX-License-Identifier: Apache-2.0
"""What operators have: amphorae, failover, providers and their capabilities (facts: octavia.md §2.12)."""

import json

from caryatid import metrics
from caryatid.control import spares
from caryatid.store import observations
from caryatid.store.observations import Counters

AMPHORAE = "/v2.0/octavia/amphorae"
LBAAS = "/v2/lbaas"


def amphora(api, made):
    (found,) = api.get(f"{AMPHORAE}?loadbalancer_id={made['id']}&status=ALLOCATED").json()["amphorae"]
    return found


def test_amphorae_are_listed_by_load_balancer_status_and_project(api):
    made = api.loadbalancer(project_id="p1")
    api.settle()
    found = amphora(api, made)
    assert found["role"] == "STANDALONE"
    assert [one["id"] for one in api.get(f"{AMPHORAE}?project_id=p1").json()["amphorae"]] == [found["id"]]
    assert api.get(f"{AMPHORAE}?project_id=p2").json()["amphorae"] == []
    assert api.get(f"{AMPHORAE}/{found['id']}").json() == {"amphora": found}
    assert api.get(f"{AMPHORAE}?bogus=1").status_code == 400


def test_a_failover_replaces_every_amphora(api):
    made = api.loadbalancer()
    api.settle()
    before = amphora(api, made)
    answer = api.put(f"{LBAAS}/loadbalancers/{made['id']}/failover")
    assert (answer.status_code, answer.content) == (202, b"")
    shown = api.get(f"{LBAAS}/loadbalancers/{made['id']}").json()["loadbalancer"]
    assert shown["provisioning_status"] == "PENDING_UPDATE"
    api.settle()
    assert amphora(api, made)["id"] != before["id"]
    assert api.put(f"{LBAAS}/loadbalancers/x/failover").status_code == 404


def test_one_amphora_is_replaced_configured_or_if_in_error_removed(api):
    made = api.loadbalancer()
    api.settle()
    before = amphora(api, made)
    assert api.put(f"{AMPHORAE}/{before['id']}/config").status_code == 202
    refused = api.delete(f"{AMPHORAE}/{before['id']}")
    assert refused.status_code == 409
    answer = api.put(f"{AMPHORAE}/{before['id']}/failover")
    assert (answer.status_code, answer.content) == (202, b"")
    assert answer.headers["caryatid-job"]
    api.settle()
    assert amphora(api, made)["id"] != before["id"]
    for method, path in (("PUT", "/failover"), ("PUT", "/config"), ("DELETE", ""), ("GET", ""), ("GET", "/stats")):
        answer = api.request(method, f"{AMPHORAE}/{before['id']}{path}")
        assert (answer.status_code, answer.json()["faultstring"]) == (404, f"Amphora {before['id']} not found.")


def test_a_spare_is_shown_ready_without_a_load_balancer_and_counted_until_it_is_taken(api):
    profile = post_profile(api, {"spares": 1}).json()["flavorprofile"]["id"]
    body = {"flavor": {"name": "spared", "flavor_profile_id": profile}}
    flavor_id = api.post(f"{LBAAS}/flavors", json=body).json()["flavor"]["id"]
    spares.keep(api.door)
    (spare,) = api.get(f"{AMPHORAE}?status=READY").json()["amphorae"]
    assert (spare["status"], spare["loadbalancer_id"], spare["role"]) == ("READY", None, None)
    assert "spare_of" not in spare
    assert metrics.SPARES.labels(flavor_id, "ready")._value.get() == 1
    refused = api.put(f"{AMPHORAE}/{spare['id']}/failover")
    assert (refused.status_code, "is a spare" in refused.json()["faultstring"]) == (409, True)
    made = api.loadbalancer(flavor_id=flavor_id)
    api.settle()
    assert amphora(api, made)["id"] == spare["id"]


def test_statistics_are_told_by_listener_and_404_before_there_are_any(api):
    made = api.loadbalancer()
    api.settle()
    found = amphora(api, made)
    assert api.get(f"{AMPHORAE}/{found['id']}/stats").status_code == 404
    with api.door.database.transaction() as tx:
        rows = [Counters(name, found["id"], made["id"], "e", bytes_out=5) for name in ("l1", "l2")]
        observations.write_statistics(tx, rows)
    stats = api.get(f"{AMPHORAE}/{found['id']}/stats").json()["amphora_stats"]
    assert [one["listener_id"] for one in stats] == ["l1", "l2"]
    assert stats[0] == {
        "id": found["id"],
        "listener_id": "l1",
        "loadbalancer_id": made["id"],
        "active_connections": 0,
        "bytes_in": 0,
        "bytes_out": 5,
        "request_errors": 0,
        "total_connections": 0,
    }


def test_providers_and_their_capabilities(api):
    listed = api.get(f"{LBAAS}/providers").json()
    assert {"amphora", "octavia"} == {one["name"] for one in listed["providers"]}
    assert listed.keys() == {"providers"}
    assert api.get(f"{LBAAS}/providers?fields=name").json()["providers"][0].keys() == {"name"}
    known = {"flavor_capabilities": "loadbalancer_topology", "availability_zone_capabilities": "compute_zone"}
    for name, key in known.items():
        found = api.get(f"{LBAAS}/providers/amphora/{name}").json()[name]
        assert key in {one["name"] for one in found}
        answer = api.get(f"{LBAAS}/providers/nobody/{name}")
        assert answer.status_code == 400
        assert "Provider 'nobody' is not enabled." in answer.json()["faultstring"]


def test_capabilities_are_what_profiles_may_say(api):
    base = f"{LBAAS}/providers/amphora"
    found = api.get(f"{base}/flavor_capabilities").json()["flavor_capabilities"]
    keys = {one["name"]: one["description"] for one in found}
    assert {"anti_affinity", "host_labels", "spares", "haproxy_threads", "haproxy_maxconn", "log_format"} <= keys.keys()
    assert all(keys.values())
    for key in keys:
        answer = post_profile(api, {key: {"no": {"such": "value"}}})
        assert answer.status_code == 400
        assert key in answer.json()["faultstring"]
    zone_path = f"{base}/availability_zone_capabilities?fields=name"
    assert {"name": "host_labels"} in api.get(zone_path).json()["availability_zone_capabilities"]


def post_profile(api, data):
    body = {"name": "p", "provider_name": "amphora", "flavor_data": json.dumps(data)}
    return api.post(f"{LBAAS}/flavorprofiles", json={"flavorprofile": body})


def test_a_profile_says_only_what_its_provider_knows(api):
    refused = post_profile(api, {"colour": "red", "spares": 1000})
    assert refused.status_code == 400
    assert "colour" in refused.json()["faultstring"]
    assert "spares" in refused.json()["faultstring"]
    assert post_profile(api, {"spares": 2}).status_code == 201
    body = {"name": "z", "provider_name": "amphora", "availability_zone_data": json.dumps({"host_labels": "x"})}
    answer = api.post(f"{LBAAS}/availabilityzoneprofiles", json={"availability_zone_profile": body})
    assert answer.status_code == 400
    assert "availability_zone_data.host_labels" in answer.json()["faultstring"]


def test_the_role_of_one_of_a_pair_is_shown_as_vrrp_has_it(api):
    flavors = api.get(f"{LBAAS}/flavors?name=active-standby").json()["flavors"]
    made = api.loadbalancer(flavor_id=flavors[0]["id"])
    api.settle()
    path = f"{AMPHORAE}?loadbalancer_id={made['id']}"
    pair = {one["role"]: one["id"] for one in api.get(path).json()["amphorae"]}
    assert set(pair) == {"MASTER", "BACKUP"}
    with api.door.database.transaction() as tx:
        seen = (("MASTER", "FAULT"), ("BACKUP", "MASTER"))
        observations.write(tx, [(observations.ROLE, pair[slot], made["id"], word) for slot, word in seen], 1.0)
    assert {one["id"]: one["role"] for one in api.get(path).json()["amphorae"]} == {
        pair["MASTER"]: "FAULT",
        pair["BACKUP"]: "MASTER",
    }
    assert api.get(f"{AMPHORAE}/{pair['BACKUP']}").json()["amphora"]["role"] == "MASTER"
