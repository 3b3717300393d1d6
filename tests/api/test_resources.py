# SPDX-License-Identifier: Apache-2.0
"""The five verbs: statuses, what is refused and how (facts: octavia.md §2.2, §2.3, §9), on both databases."""

import pytest

LBAAS = "/v2/lbaas"
NOWHERE = "11111111-1111-4111-8111-111111111111"


def fault(answer, status):
    assert answer.status_code == status, answer.text
    assert answer.json().keys() == {"faultcode", "faultstring", "debuginfo"}
    return answer.json()["faultstring"]


def test_a_life_from_create_to_gone(any_api):
    api = any_api
    made = api.post(
        f"{LBAAS}/loadbalancers",
        json={"loadbalancer": {"name": "a", "vip_subnet_id": "00000000-0000-4000-8000-000000000002"}},
    )
    assert made.status_code == 201
    path = f"{LBAAS}/loadbalancers/{made.json()['loadbalancer']['id']}"
    api.settle()
    changed = api.put(path, json={"loadbalancer": {"description": "d"}})
    assert (changed.status_code, changed.json()["loadbalancer"]["description"]) == (200, "d")
    gone = api.delete(path)
    assert (gone.status_code, gone.content) == (204, b"")
    assert "content-type" not in gone.headers
    assert {answer.headers["caryatid-job"] for answer in (made, changed, gone)} & {""} == set()
    assert api.get(path).json()["loadbalancer"]["provisioning_status"] == "PENDING_DELETE"
    again = api.delete(path)
    assert fault(again, 409).startswith("Invalid state PENDING_DELETE of loadbalancer resource")
    api.settle()
    assert fault(api.get(path), 404) == f"Load Balancer {path.rpartition('/')[2]} not found."
    assert api.delete(path).status_code == 404


@pytest.mark.parametrize(
    ("path", "title"),
    [
        ("loadbalancers", "Load Balancer"),
        ("listeners", "Listener"),
        ("pools", "Pool"),
        ("healthmonitors", "Health Monitor"),
        ("l7policies", "L7Policy"),
        ("ratelimitpolicies", "RateLimitPolicy"),
        ("flavors", "Flavor"),
        ("flavorprofiles", "Flavor Profile"),
        ("availabilityzones", "Availability Zone"),
        ("availabilityzoneprofiles", "Availability Zone Profile"),
    ],
)
def test_what_is_not_there_is_404_by_its_title_whatever_the_id(api, path, title):
    for key in (NOWHERE, "not-a-uuid", "x" * 500, "%F0%9F%98%80"):
        shown = {"%F0%9F%98%80": "😀"}.get(key, key)
        assert fault(api.get(f"{LBAAS}/{path}/{key}"), 404) == f"{title} {shown} not found."
        assert api.delete(f"{LBAAS}/{path}/{key}").status_code == 404


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(f"{LBAAS}/pools/{NOWHERE}/members", id="pool"),
        pytest.param(f"{LBAAS}/l7policies/{NOWHERE}/rules", id="l7policy"),
    ],
)
def test_a_parent_that_is_not_there_is_404_in_shape_b(api, path):
    wrapper = "member" if "pools" in path else "rule"
    title = "Pool" if "pools" in path else "L7Policy"
    body = {
        "member": {"address": "10.0.0.1", "protocol_port": 1},
        "rule": {"type": "PATH", "compare_type": "EQUAL_TO", "value": "/"},
    }
    answers = [
        api.get(path),
        api.get(f"{path}/{NOWHERE}"),
        api.post(path, json={wrapper: body[wrapper]}),
        api.put(f"{path}/{NOWHERE}", json={wrapper: {}}),
        api.delete(f"{path}/{NOWHERE}"),
    ]
    expected = {"code": 404, "title": "Bad Request", "description": f"{title} {NOWHERE} not found."}
    assert [(answer.status_code, answer.json()) for answer in answers] == [(404, expected)] * 5


def test_a_member_of_another_pool_is_404(api):
    ids, others = api.populated(), api.populated()
    path = f"{LBAAS}/pools/{others['pools']}/members/{ids['members']}"
    for answer in (api.get(path), api.put(path, json={"member": {"weight": 3}}), api.delete(path)):
        assert fault(answer, 404) == f"Member {ids['members']} not found."


def test_the_project_of_what_is_below_comes_from_the_load_balancer(api):
    made = api.loadbalancer(tenant_id="p9")
    assert made["project_id"] == made["tenant_id"] == "p9"
    listener = api.create(
        "/listeners", "listener", loadbalancer_id=made["id"], protocol="HTTP", protocol_port=80, project_id="other"
    )
    assert listener["project_id"] == listener["tenant_id"] == "p9"


def test_the_project_of_a_load_balancer_is_the_header_s_unless_the_body_says_another(api):
    subnet = {"vip_subnet_id": "00000000-0000-4000-8000-000000000002"}
    for headers, body, expected in (
        ({}, {}, "default"),
        ({"X-Project-Id": "p1"}, {}, "p1"),
        ({"X-Project-Id": "p1"}, {"project_id": "p2"}, "p2"),
    ):
        answer = api.post(f"{LBAAS}/loadbalancers", json={"loadbalancer": {**subnet, **body}}, headers=headers)
        assert answer.json()["loadbalancer"]["project_id"] == expected
    both = api.post(f"{LBAAS}/loadbalancers", json={"loadbalancer": {**subnet, "project_id": "a", "tenant_id": "b"}})
    assert "say different things" in fault(both, 400)


def test_immutable_and_unknown_attributes_are_400_and_nothing_is_changed(api):
    ids = api.populated()
    path = f"{LBAAS}/listeners/{ids['listeners']}"
    before = api.get(path).json()
    answer = api.put(path, json={"listener": {"name": "new", "protocol": "TCP", "bogus": 1, "id": NOWHERE}})
    text = fault(answer, 400)
    assert all(name in text for name in ("protocol", "bogus", "id"))
    assert len(text.splitlines()) == 3
    assert api.get(path).json() == before


def test_every_fault_is_named_at_once(api):
    answer = api.post(
        f"{LBAAS}/listeners",
        json={
            "listener": {"loadbalancer_id": NOWHERE, "protocol": "SMTP", "protocol_port": 0, "connection_limit": "x"}
        },
    )
    lines = fault(answer, 400).splitlines()
    assert len(lines) == 4
    assert f"Load Balancer {NOWHERE} not found." in lines


def test_one_fault_is_told_in_the_words_of_the_wire(api):
    made = api.loadbalancer()
    answer = api.post(f"{LBAAS}/listeners", json={"listener": {"loadbalancer_id": made["id"], "protocol": "HTTP"}})
    assert (
        fault(answer, 400) == "Invalid input for field/attribute protocol_port. Value: 'None'. Mandatory field missing."
    )
    answer = api.post(f"{LBAAS}/loadbalancers", json={"loadbalancer": {}})
    expected = "Validation failure: VIP must contain one of: vip_port_id, vip_network_id, vip_subnet_id."
    assert fault(answer, 400) == expected


def test_a_reference_to_a_pool_that_is_not_there_is_404(api):
    assert (
        fault(
            api.post(
                f"{LBAAS}/healthmonitors",
                json={"healthmonitor": {"pool_id": NOWHERE, "type": "TCP", "delay": 1, "timeout": 1, "max_retries": 1}},
            ),
            404,
        )
        == f"Pool {NOWHERE} not found."
    )


def test_nested_resources_are_400_where_only_a_whole_create_takes_them(api):
    made = api.loadbalancer()
    listener = {"loadbalancer_id": made["id"], "protocol": "HTTP", "protocol_port": 80}
    pool = {"name": "p", "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN"}
    answer = api.post(f"{LBAAS}/listeners", json={"listener": {**listener, "default_pool": pool}})
    assert fault(answer, 400).startswith("Unknown attribute for argument")
    answer = api.post(f"{LBAAS}/pools", json={"pool": {**pool, "loadbalancer_id": made["id"], "members": []}})
    assert fault(answer, 400).startswith("Unknown attribute for argument")


def test_a_load_balancer_with_children_goes_only_with_them(api):
    ids = api.populated()
    path = f"{LBAAS}/loadbalancers/{ids['loadbalancers']}"
    assert fault(api.delete(path), 400) == f"Cannot delete Load Balancer {ids['loadbalancers']} - it has children"
    assert api.delete(f"{path}?cascade=false").status_code == 400
    assert "unambiguous boolean" in fault(api.delete(f"{path}?cascade=perhaps"), 400)
    assert api.delete(f"{path}?cascade=True").status_code == 204
    api.settle()
    assert api.get(f"{LBAAS}/members").status_code == 404
    for name in ("loadbalancers", "listeners", "pools", "healthmonitors", "l7policies", "ratelimitpolicies"):
        assert api.get(f"{LBAAS}/{name}").json()[name] == []


def test_cascade_is_for_load_balancers_only(api):
    ids = api.populated()
    answer = api.delete(f"{LBAAS}/listeners/{ids['listeners']}?cascade=true")
    assert fault(answer, 400) == 'Unknown argument: "cascade"'


def test_tags_null_is_as_if_not_said_and_an_empty_list_clears(api):
    made = api.loadbalancer(tags=["b", "a", "a"])
    path = f"{LBAAS}/loadbalancers/{made['id']}"
    assert made["tags"] == ["a", "b"]
    assert api.put(path, json={"loadbalancer": {"tags": None}}).json()["loadbalancer"]["tags"] == ["a", "b"]
    assert api.put(path, json={"loadbalancer": {"tags": []}}).json()["loadbalancer"]["tags"] == []


def test_admin_state_up_null_is_false_and_spellings_are_forgiven(api):
    made = api.loadbalancer(admin_state_up="yes")
    path = f"{LBAAS}/loadbalancers/{made['id']}"
    assert made["admin_state_up"] is True
    changed = api.put(path, json={"loadbalancer": {"admin_state_up": None, "name": None}}).json()["loadbalancer"]
    assert (changed["admin_state_up"], changed["name"]) == (False, "")


def test_an_empty_change_is_legal_but_for_an_l7_policy(api):
    ids = api.populated()
    assert api.put(f"{LBAAS}/pools/{ids['pools']}", json={"pool": {}}).status_code == 200
    answer = api.put(f"{LBAAS}/l7policies/{ids['l7policies']}", json={"l7policy": {}})
    assert fault(answer, 400) == "Invalid update options"


def test_a_quota_that_is_met_is_403(small_api):
    made = small_api.loadbalancer()
    pool = {"loadbalancer_id": made["id"], "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN"}
    small_api.create("/pools", "pool", **pool)
    answer = small_api.post(f"{LBAAS}/pools", json={"pool": pool})
    assert fault(answer, 403) == "Quota has been met for resources: Pool"


def test_what_operators_offer_has_the_same_verbs(api):
    profile = api.create("/flavorprofiles", "flavorprofile", name="f", provider_name="amphora", flavor_data="{}")
    flavor = api.create("/flavors", "flavor", name="small", flavor_profile_id=profile["id"])
    path = f"{LBAAS}/flavors/{flavor['id']}"
    assert api.put(path, json={"flavor": {"enabled": False}}).json()["flavor"]["enabled"] is False
    twin = api.post(f"{LBAAS}/flavors", json={"flavor": {"name": "small", "flavor_profile_id": profile["id"]}})
    assert fault(twin, 409) == "A flavor of small already exists."
    assert api.delete(f"{LBAAS}/flavorprofiles/{profile['id']}").status_code == 409
    assert api.delete(path).status_code == 204
    assert api.delete(f"{LBAAS}/flavorprofiles/{profile['id']}").status_code == 204
    zone = api.put(f"{LBAAS}/availabilityzones/local", json={"availability_zone": {"description": "x"}})
    assert zone.json()["availability_zone"]["description"] == "x"


def test_networks_follow_the_same_conventions(api):
    network = api.post("/v1/networks", json={"network": {"name": "n", "tenant_id": "p1"}})
    assert network.status_code == 201
    made = network.json()["network"]
    assert made["project_id"] == made["tenant_id"] == "p1"
    subnet = api.post("/v1/subnets", json={"subnet": {"network_id": made["id"], "cidr": "127.3.0.0/24"}}).json()[
        "subnet"
    ]
    port = api.post("/v1/ports", json={"port": {"subnet_id": subnet["id"], "ip_address": "127.3.0.9"}}).json()["port"]
    assert port["network_id"] == made["id"]
    found = api.get("/v1/ports?ip_address=127.3.0.9&fields=id").json()
    assert found == {"ports": [{"id": port["id"]}], "ports_links": []}
    assert api.delete(f"/v1/networks/{made['id']}").status_code == 409
    for path in (f"ports/{port['id']}", f"subnets/{subnet['id']}", f"networks/{made['id']}"):
        assert api.delete(f"/v1/{path}").status_code == 204


def test_network_clients_look_up_what_they_name_at_v2_and_change_nothing_there(api):
    for plural in ("networks", "subnets"):
        (found,) = api.get(f"/v2/{plural}?name=default").json()[plural]
        assert api.get(f"/v2.0/{plural}/{found['id']}").json()[plural[:-1]] == found
        assert api.post(f"/v2/{plural}", json={plural[:-1]: {}}).status_code == 405


def test_an_attachment_that_is_not_built_is_told_with_what_to_use_instead(api):
    network = api.post("/v1/networks", json={"network": {"name": "outside"}}).json()["network"]
    subnet = {"network_id": network["id"], "cidr": "192.0.2.0/24", "attachment": "bgp"}
    refused = api.post("/v1/subnets", json={"subnet": subnet})
    assert refused.status_code == 501
    assert "routed" in refused.text
