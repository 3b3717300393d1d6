# SPDX-License-Identifier: Apache-2.0
"""The status tree and statistics (facts: octavia.md §2.5)."""

import pytest

from caryatid.store import observations
from caryatid.store.observations import Counters

LBAAS = "/v2/lbaas"
BRIEF = {"id", "name", "operating_status", "provisioning_status"}


@pytest.mark.parametrize("spelling", ["status", "statuses"])
def test_the_tree_has_listeners_their_pools_and_in_these_monitors_and_members(api, spelling):
    ids = api.populated()
    tree = api.get(f"{LBAAS}/loadbalancers/{ids['loadbalancers']}/{spelling}").json()["statuses"]["loadbalancer"]
    assert tree.keys() == BRIEF | {"listeners"}
    (listener,) = tree["listeners"]
    assert listener.keys() == BRIEF | {"pools"}
    (pool,) = listener["pools"]
    assert pool.keys() == BRIEF | {"health_monitor", "members"}
    assert pool["health_monitor"].keys() == BRIEF | {"type"}
    (member,) = pool["members"]
    assert member.keys() == BRIEF | {"address", "protocol_port"}
    assert [tree["id"], listener["id"], pool["id"], member["id"]] == [
        ids[name] for name in ("loadbalancers", "listeners", "pools", "members")
    ]


def test_a_pool_is_in_the_tree_once_if_a_listener_reaches_it_and_not_otherwise(api):
    made = api.loadbalancer()
    shared = {"loadbalancer_id": made["id"], "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN"}
    first, second, _lonely = (api.create("/pools", "pool", name=name, **shared) for name in ("a", "b", "lonely"))
    listener = api.create(
        "/listeners",
        "listener",
        loadbalancer_id=made["id"],
        protocol="HTTP",
        protocol_port=80,
        default_pool_id=first["id"],
    )
    for pool in (second, second, first):
        api.create(
            "/l7policies",
            "l7policy",
            listener_id=listener["id"],
            action="REDIRECT_TO_POOL",
            redirect_pool_id=pool["id"],
        )
    tree = api.get(f"{LBAAS}/loadbalancers/{made['id']}/status").json()["statuses"]["loadbalancer"]
    assert sorted(pool["name"] for pool in tree["listeners"][0]["pools"]) == ["a", "b"]
    assert tree["listeners"][0]["pools"][0].keys() == BRIEF | {"members"}


def test_what_was_observed_is_in_the_tree_and_in_what_is_shown(api):
    ids = api.populated()
    api.settle()
    with api.door.database.transaction() as tx:
        seen = [("member", ids["members"], ids["loadbalancers"], "ERROR")]
        observations.write(tx, seen, 1.0)
    path = f"{LBAAS}/pools/{ids['pools']}/members/{ids['members']}"
    assert api.get(path).json()["member"]["operating_status"] == "ERROR"
    assert '"ERROR"' in api.get(f"{LBAAS}/loadbalancers/{ids['loadbalancers']}/status").text


def test_children_on_their_way_out_are_still_in_the_tree(api):
    ids = api.populated()
    api.settle()
    api.delete(f"{LBAAS}/pools/{ids['pools']}/members/{ids['members']}")
    tree = f"{LBAAS}/loadbalancers/{ids['loadbalancers']}/status"
    assert "PENDING_DELETE" in api.get(tree).text
    api.settle()
    assert ids["members"] not in api.get(tree).text


def test_statistics_are_summed_and_zero_before_anything_was_counted(api):
    ids = api.populated()
    for path in (f"loadbalancers/{ids['loadbalancers']}", f"listeners/{ids['listeners']}"):
        empty = api.get(f"{LBAAS}/{path}/stats").json()["stats"]
        assert empty == dict.fromkeys(
            ("bytes_in", "bytes_out", "active_connections", "total_connections", "request_errors"), 0
        )
    with api.door.database.transaction() as tx:
        rows = [
            Counters(ids["listeners"], amphora, ids["loadbalancers"], "e", bytes_in=3, active_connections=1)
            for amphora in ("a1", "a2")
        ]
        observations.write_statistics(tx, rows)
    for path in (f"loadbalancers/{ids['loadbalancers']}", f"listeners/{ids['listeners']}"):
        stats = api.get(f"{LBAAS}/{path}/stats").json()["stats"]
        assert (stats["bytes_in"], stats["active_connections"]) == (6, 2)


@pytest.mark.parametrize("path", ["loadbalancers/x/status", "loadbalancers/x/stats", "listeners/x/stats"])
def test_of_what_is_not_there_nothing_is_told(api, path):
    answer = api.get(f"{LBAAS}/{path}")
    assert answer.status_code == 404
    assert answer.json()["faultstring"].endswith(" x not found.")
