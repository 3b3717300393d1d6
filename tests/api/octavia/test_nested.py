# SPDX-License-Identifier: Apache-2.0
"""The fully populated create (facts: octavia.md §2.13)."""

import pytest

from caryatid.api.octavia.nested import flatten
from caryatid.errors import Refused
from caryatid.model import L7POLICY, LISTENER, MEMBER, POOL

LBAAS = "/v2/lbaas"
SUBNET = "00000000-0000-4000-8000-000000000002"
HTTP = {"protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN"}


def of(kind, children):
    return [child for child in children if child.kind is kind]


def listener(**more):
    return {"protocol": "HTTP", "protocol_port": 80, **more}


def texts(body, objects_max=100):
    with pytest.raises(Refused) as refused:
        flatten({"vip_subnet_id": SUBNET, **body}, objects_max)
    return [fault.message for fault in refused.value.faults]


def test_a_pool_named_alone_is_the_one_defined_elsewhere():
    for defined, named in (("pools", "listeners"), ("listeners", "pools")):
        body = {
            "listeners": [listener(default_pool={"name": "p"} if named == "listeners" else {"name": "p", **HTTP})],
            "pools": [{"name": "p", **HTTP} if defined == "pools" else {"name": "p"}],
        }
        _, _, children = flatten(body, 100)
        (pool,) = of(POOL, children)
        assert of(LISTENER, children)[0].given["default_pool_id"] == pool.id


def test_everything_hangs_on_what_it_stands_in():
    policy = {"action": "REDIRECT_TO_POOL", "redirect_pool": {"name": "q", **HTTP}, "rules": [{}]}
    pool = {"name": "p", **HTTP, "members": [{}], "healthmonitor": {}}
    wanted = listener(default_pool=pool, l7policies=[policy], rate_limit_policies=[{"rules": [{}]}])
    loadbalancer_id, own, children = flatten({"listeners": [wanted]}, 100)
    by_id = {child.id: child.kind.name for child in children}
    hangs = {
        (child.kind.name, attribute, by_id.get(key, "loadbalancer" if key == loadbalancer_id else key))
        for child in children
        for attribute, key in child.given.items()
    }
    assert hangs == {
        ("listener", "loadbalancer_id", "loadbalancer"),
        ("listener", "default_pool_id", "pool"),
        ("pool", "loadbalancer_id", "loadbalancer"),
        ("member", "pool_id", "pool"),
        ("healthmonitor", "pool_id", "pool"),
        ("l7policy", "listener_id", "listener"),
        ("l7policy", "redirect_pool_id", "pool"),
        ("l7policy", "position", 1),
        ("l7rule", "l7policy_id", "l7policy"),
        ("ratelimitpolicy", "listener_id", "listener"),
        ("ratelimitrule", "ratelimitpolicy_id", "ratelimitpolicy"),
    }
    assert own == {}


def test_every_naming_fault_is_told_at_once_with_what_else_is_wrong():
    body = {
        "listeners": [
            listener(default_pool={"name": "zz"}),
            listener(protocol_port=70000, default_pool={**HTTP}),
        ],
        "pools": [{"name": "a", **HTTP}, {"name": "a", **HTTP}, {"name": "rr", "protocol": "HTTP"}],
    }
    found = texts(body)
    assert "Pools must be named when creating a fully populated loadbalancer." in found
    assert "Pool 'zz' was referenced but no full definition was found." in found
    assert "Pool definition for 'rr' missing required attribute: lb_algorithm" in found
    assert any(text.startswith("Pool names must be unique") for text in found)
    assert any("protocol_port" in text for text in found)
    assert not any("lb_algorithm" in text for text in found if "Pool definition" not in text)


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"listeners": {}}, "Value should be a list"),
        ({"listeners": [3]}, "Value should be an object"),
        ({"pools": [{"name": "p", **HTTP, "healthmonitor": []}]}, "Value should be an object"),
        ({"listeners": [listener(loadbalancer_id=SUBNET)]}, "argument listener: loadbalancer_id."),
        ({"pools": [{"name": "p", **HTTP, "listener_id": SUBNET}]}, "argument pool: listener_id."),
        ({"listeners": [listener(default_pool_id=SUBNET, default_pool={"name": "p", **HTTP})]}, "exclude each other"),
        ({"pools": [{"name": 3, **HTTP}]}, "Pools must be named"),
    ],
)
def test_what_cannot_stand_there_is_refused(body, text):
    assert any(text in said for said in texts(body))


def test_a_body_of_too_many_objects_is_refused_before_they_are_all_read():
    members = [{"address": f"10.0.0.{n}", "protocol_port": 80} for n in range(20)]
    body = {"pools": [{"name": "p", **HTTP, "members": members}]}
    assert texts(body, 20) == ["Validation failure: One request creates at most 20 objects here."]
    assert len(flatten(body, 21)[2]) == 21


def test_ids_ascend_in_the_order_of_the_body():
    members = [{"address": f"10.0.0.{n}", "protocol_port": 80} for n in range(50)]
    _, _, children = flatten({"pools": [{"name": "p", **HTTP, "members": members}]}, 100)
    ids = [child.id for child in of(MEMBER, children)]
    assert ids == sorted(ids)


@pytest.mark.parametrize(
    ("positions", "order"),
    [((None, None, None), "abc"), ((None, 1, None), "bac"), ((2, 1, 1), "cba"), ((9, 9, 1), "cab")],
)
def test_policies_stand_as_if_created_one_after_the_other(positions, order):
    policies = [
        {"name": name, "action": "REJECT", **({"position": place} if place else {})}
        for name, place in zip("abc", positions, strict=True)
    ]
    _, _, children = flatten({"listeners": [listener(l7policies=policies)]}, 100)
    found = sorted(of(L7POLICY, children), key=lambda child: child.given["position"])
    assert "".join(child.body["name"] for child in found) == order


def test_the_answer_is_the_whole_tree_and_get_shows_ids(api):
    check = {"type": "HTTP", "delay": 5, "timeout": 5, "max_retries": 2}
    members = [{"address": f"10.0.0.{n}", "protocol_port": 80} for n in (1, 2)]
    policy = {"action": "REJECT", "rules": [{"type": "PATH", "compare_type": "EQUAL_TO", "value": "/x"}]}
    pool = {"name": "p", **HTTP, "members": members, "healthmonitor": check}
    made = api.loadbalancer(listeners=[listener(default_pool=pool, l7policies=[policy], tenant_id="elsewhere")])
    (one,) = made["listeners"]
    (whole,) = made["pools"]
    assert "loadbalancers" not in one
    assert one["project_id"] == "default"
    assert one["default_pool_id"] == whole["id"]
    assert one["l7policies"][0]["rules"][0]["value"] == "/x"
    assert "loadbalancers" not in whole
    assert whole["listeners"] == [{"id": one["id"]}]
    assert [member["address"] for member in whole["members"]] == ["10.0.0.1", "10.0.0.2"]
    assert "pools" not in whole["healthmonitor"]
    assert "healthmonitor_id" not in whole
    assert {made["provisioning_status"], one["provisioning_status"], whole["provisioning_status"]} == {"PENDING_CREATE"}
    shown = api.get(f"{LBAAS}/loadbalancers/{made['id']}").json()["loadbalancer"]
    assert shown["listeners"] == [{"id": one["id"]}]
    api.settle()
    for path in (f"listeners/{one['id']}", f"pools/{whole['id']}", f"pools/{whole['id']}/members"):
        assert "PENDING" not in api.get(f"{LBAAS}/{path}").text


def test_an_empty_load_balancer_shows_empty_lists(api):
    made = api.loadbalancer()
    assert (made["listeners"], made["pools"]) == ([], [])


def test_two_listeners_on_one_port_are_409_and_nothing_is_made(api):
    body = {"vip_subnet_id": SUBNET, "listeners": [listener(), listener(protocol="TCP")]}
    answer = api.post(f"{LBAAS}/loadbalancers", json={"loadbalancer": body})
    assert answer.status_code == 409
    assert "already using protocol" in answer.json()["faultstring"]
    for name in ("loadbalancers", "listeners"):
        assert api.get(f"{LBAAS}/{name}").json()[name] == []


def test_the_limit_of_objects_is_the_operator_s(small_api):
    pools = [{"name": f"p{n}", **HTTP} for n in range(6)]
    answer = small_api.post(f"{LBAAS}/loadbalancers", json={"loadbalancer": {"vip_subnet_id": SUBNET, "pools": pools}})
    assert answer.status_code == 400
    assert "at most 5 objects" in answer.json()["faultstring"]
