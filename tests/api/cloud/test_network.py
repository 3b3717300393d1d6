# SPDX-License-Identifier: Apache-2.0
"""Networks, subnets and ports in Neutron's shapes, to each project what is its own or shared with it."""

import pytest

from caryatid.control import initial
from caryatid.model.policy import Caller, Identified
from tests.api.conftest import open_api, settings

BASES = ("/network/v2.0", "/v2", "/v2.0")


class Said:
    """Believes what is said: `role@project`."""

    def identify(self, shown):
        role, _, project_id = shown.token.partition("@")
        return Identified(Caller(role, project_id or None, frozenset({role})))


@pytest.fixture
def api(tmp_path, database_url):
    for opened in open_api(database_url, settings(tmp_path, pagination_max_limit=3)):
        gate = opened.app.router.default.gate
        gate._identity = Said()
        yield opened


def as_(who):
    return {"headers": {"X-Auth-Token": who}}


def make(api, kind, **body):
    answer = api.post(f"/v1/{kind}s", json={kind: body}, **as_("admin@ops"))
    assert answer.status_code == 201, answer.text
    return answer.json()[kind]


def listed(api, path, who="admin@ops", **query):
    answer = api.get(f"/network/v2.0/{path}", params=query, **as_(who))
    assert answer.status_code == 200, answer.text
    return next(value for name, value in answer.json().items() if not name.endswith("_links"))


def names(api, path, who="admin@ops", **query):
    return sorted(one["name"] for one in listed(api, path, who, **query))


@pytest.fixture
def two(api):
    """A network with a subnet for each of two projects."""
    for number, project_id in enumerate(("a", "b")):
        network = make(api, "network", name=f"net-{project_id}", project_id=project_id)
        common = {"project_id": project_id, "network_id": network["id"], "attachment": "noop"}
        subnet = make(api, "subnet", name=f"sub-{project_id}", cidr=f"10.{number}.0.0/24", **common)
        make(api, "port", name=f"port-{project_id}", subnet_id=subnet["id"], project_id=project_id)


@pytest.mark.parametrize("base", BASES)
def test_a_subnet_is_found_by_its_name_as_neutron_shows_it(api, base):
    (found,) = api.get(f"{base}/subnets", params={"name": "default"}, **as_("member@a")).json()["subnets"]
    one = api.get(f"{base}/subnets/{initial.SUBNET_ID}", **as_("member@a")).json()["subnet"]
    assert one == found
    assert (one["id"], one["cidr"], one["ip_version"]) == (initial.SUBNET_ID, "127.100.0.0/16", 4)
    assert one["allocation_pools"] == [{"start": "127.100.0.1", "end": "127.100.255.254"}]
    assert one["tenant_id"] == one["project_id"]
    assert one["created_at"].endswith("Z")
    assert not {"attachment", "proxy_arp"} & one.keys(), "how we reach it is none of Neutron's words"


def test_a_network_names_its_subnets(api, two):
    (network,) = listed(api, "networks", name="net-a")
    (subnet,) = listed(api, "subnets", network_id=network["id"])
    assert network["subnets"] == [subnet["id"]]
    assert (network["status"], network["admin_state_up"], network["router:external"]) == ("ACTIVE", True, False)


def test_a_project_sees_its_own_and_what_is_shared(api, two):
    for path, own in (("networks", "net"), ("subnets", "sub")):
        assert names(api, path) == ["default", f"{own}-a", f"{own}-b"]
        assert names(api, path, "reader@a") == ["default", f"{own}-a"]
        (other,) = listed(api, path, name=f"{own}-b")
        for base in ("/network/v2.0", "/v1"):
            assert api.get(f"{base}/{path}/{other['id']}", **as_("reader@a")).status_code == 403
            (shared,) = listed(api, path, name="default")
            assert api.get(f"{base}/{path}/{shared['id']}", **as_("reader@a")).status_code == 200
        assert len(api.get(f"/v1/{path}", **as_("reader@a")).json()[path]) == 2
    assert names(api, "ports", "reader@a") == ["port-a"]
    assert names(api, "networks", "reader@a", project_id="b") == []


def test_who_has_no_role_in_a_project_sees_nothing(api, two):
    for who in ("auditor@a", "reader@"):
        assert api.get("/network/v2.0/subnets", **as_(who)).status_code == 403


def test_the_address_of_a_load_balancer_is_a_port(api):
    body = {"name": "lb", "vip_subnet_id": initial.SUBNET_ID, "project_id": "a"}
    made = api.post("/v2/lbaas/loadbalancers", json={"loadbalancer": body}, **as_("admin@ops")).json()["loadbalancer"]
    port = api.get(f"/network/v2.0/ports/{made['vip_port_id']}", **as_("reader@a")).json()["port"]
    assert port["fixed_ips"] == [{"subnet_id": initial.SUBNET_ID, "ip_address": made["vip_address"]}]
    assert (port["device_id"], port["status"], port["security_groups"]) == (made["id"], "ACTIVE", [])
    by_address = {"fixed_ips": f"ip_address={made['vip_address']}"}
    assert [one["id"] for one in listed(api, "ports", **by_address)] == [port["id"]]
    assert listed(api, "ports", fixed_ips=f"subnet_id={initial.NETWORK_ID}") == []


def test_lists_are_filtered_as_neutron_s_are(api, two):
    assert names(api, "networks", name=["net-a", "net-b"]) == ["net-a", "net-b"], "any of several"
    assert names(api, "networks", tenant_id="a") == ["net-a"]
    assert names(api, "networks", shared="true") == ["default"]
    assert names(api, "networks", **{"router:external": "True"}) == []
    assert names(api, "networks", **{"router:external": "False", "name": "net-a"}) == ["net-a"]
    assert names(api, "subnets", ip_version="4", cidr="10.0.0.0/24") == ["sub-a"]
    assert names(api, "subnets", ip_version="6") == []
    assert names(api, "ports", status="DOWN") == ["port-a", "port-b"]
    assert listed(api, "ports", name="port-a", fields=["name"]) == [{"name": "port-a"}]
    refused = api.get("/network/v2.0/ports", params={"nonsense": "1"}, **as_("admin@ops"))
    assert refused.status_code == 400


def test_long_lists_come_in_pages(api):
    for number in range(5):
        make(api, "network", name=f"n{number}", project_id="a")
    found, query = [], {"limit": "2"}
    while query:
        answer = api.get("/network/v2.0/networks", params=query, **as_("member@a")).json()
        found += [one["name"] for one in answer["networks"]]
        forward = [link["href"] for link in answer.get("networks_links", []) if link["rel"] == "next"]
        query = dict(pair.split("=") for pair in forward[0].partition("?")[2].split("&")) if forward else None
    assert sorted(found) == ["default", *(f"n{number}" for number in range(5))]


def test_refusals_are_neutron_s(api):
    for path, status in (("subnets/nowhere", 404), ("nothing", 404), ("subnets?nonsense=1", 400)):
        refused = api.get(f"/network/v2.0/{path}", **as_("admin@ops"))
        assert refused.status_code == status
        assert refused.json()["NeutronError"].keys() == {"type", "message", "detail"}
    assert api.post("/network/v2.0/subnets", json={}, **as_("admin@ops")).status_code == 405, "it is to be read"


def test_what_there_is_none_of_is_an_empty_list(api):
    for path in ("security-groups", "floatingips"):
        assert listed(api, path, name="x") == []
    assert {"sorting", "pagination"} <= {one["alias"] for one in listed(api, "extensions")}
    (version,) = api.get("/network").json()["versions"]
    assert version["links"][0]["href"] == "http://127.0.0.1:9876/network/v2.0/"
