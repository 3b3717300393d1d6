# SPDX-License-Identifier: Apache-2.0
"""The key sets of the wire, complete (facts: octavia.md §2.16)."""

import pytest

STATUS = "provisioning_status operating_status"
OWNED = "id name admin_state_up project_id tenant_id created_at updated_at tags " + STATUS
TLS = "tls_ciphers tls_versions alpn_protocols"
KEYS = {
    "loadbalancers": (
        f"{OWNED} description vip_address vip_port_id vip_subnet_id vip_network_id vip_sg_ids additional_vips "
        "listeners pools provider flavor_id vip_qos_policy_id availability_zone vip_vnic_type"
    ),
    "listeners": (
        f"{OWNED} {TLS} description protocol protocol_port connection_limit default_tls_container_ref "
        "sni_container_refs default_pool_id l7policies insert_headers loadbalancers timeout_client_data "
        "timeout_member_connect timeout_member_data timeout_tcp_inspect client_ca_tls_container_ref "
        "client_authentication client_crl_container_ref allowed_cidrs hsts_max_age hsts_include_subdomains "
        "hsts_preload rate_limit_policies"
    ),
    "pools": (
        f"{OWNED} {TLS} description protocol lb_algorithm session_persistence loadbalancers listeners "
        "healthmonitor_id members tls_container_ref ca_tls_container_ref crl_container_ref tls_enabled"
    ),
    "members": (f"{OWNED} address protocol_port weight backup subnet_id monitor_address monitor_port vnic_type"),
    "healthmonitors": (
        f"{OWNED} type delay timeout max_retries max_retries_down http_method url_path expected_codes pools "
        "http_version domain_name"
    ),
    "l7policies": (
        f"{OWNED} description action listener_id redirect_pool_id redirect_url redirect_prefix position rules "
        "redirect_http_code"
    ),
    "rules": (
        "id type compare_type key value invert created_at updated_at project_id tenant_id admin_state_up tags "
        "provisioning_status operating_status"
    ),
    "ratelimitpolicies": f"{OWNED} description action listener_id rules",
    "limits": f"{OWNED} metric threshold interval urls",
    "quotas": (
        "project_id tenant_id loadbalancer load_balancer listener member pool healthmonitor health_monitor "
        "l7policy l7rule gslb gslb_pool gslb_member gslb_monitor"
    ),
    "flavors": ("id name description enabled flavor_profile_id"),
    "flavorprofiles": ("id name provider_name flavor_data"),
    "availabilityzones": ("name description enabled availability_zone_profile_id"),
    "availabilityzoneprofiles": ("id name provider_name availability_zone_data"),
    "amphorae": (
        "id loadbalancer_id compute_id lb_network_ip vrrp_ip ha_ip vrrp_port_id ha_port_id cert_expiration "
        "cert_busy role status vrrp_interface vrrp_id vrrp_priority cached_zone created_at updated_at "
        "image_id compute_flavor"
    ),
}
ENVELOPES = {
    "loadbalancers": ("loadbalancer", "loadbalancers", "loadbalancers_links"),
    "listeners": ("listener", "listeners", "listeners_links"),
    "pools": ("pool", "pools", "pools_links"),
    "members": ("member", "members", "members_links"),
    "healthmonitors": ("healthmonitor", "healthmonitors", "healthmonitors_links"),
    "l7policies": ("l7policy", "l7policies", "l7policies_links"),
    "rules": ("rule", "rules", "rules_links"),
    "ratelimitpolicies": ("ratelimitpolicy", "ratelimitpolicies", "ratelimitpolicies_links"),
    "limits": ("rule", "rules", "rules_links"),
    "quotas": ("quota", "quotas", "quotas_links"),
    "flavors": ("flavor", "flavors", "flavors_links"),
    "flavorprofiles": ("flavorprofile", "flavorprofiles", "flavorprofile_links"),
    "availabilityzones": ("availability_zone", "availability_zones", "availability_zones_links"),
    "availabilityzoneprofiles": (
        "availability_zone_profile",
        "availability_zone_profiles",
        "availability_zone_profile_links",
    ),
    "amphorae": ("amphora", "amphorae", "amphorae_links"),
}


def collection(name, ids):
    if name == "members":
        return f"/v2/lbaas/pools/{ids['pools']}/members"
    if name == "rules":
        return f"/v2/lbaas/l7policies/{ids['l7policies']}/rules"
    if name == "limits":
        return f"/v2/lbaas/ratelimitpolicies/{ids['ratelimitpolicies']}/rules"
    return f"/v2/octavia/{name}" if name == "amphorae" else f"/v2/lbaas/{name}"


@pytest.mark.parametrize("name", KEYS)
def test_a_resource_has_these_keys_and_no_other(api, name):
    ids = api.populated()
    api.settle()
    api.put("/v2/lbaas/quotas/p", json={"quota": {}})
    one, many, links = ENVELOPES[name]
    path = collection(name, ids)
    listed = api.get(path).json()
    assert listed.keys() == {many, links}
    found = listed[many][0]
    assert found.keys() == set(KEYS[name].split())
    key = found.get("id") or found.get("name") or found["project_id"]
    assert api.get(f"{path}/{key}").json() == {one: found}


def test_a_pool_without_a_health_monitor_does_not_mention_one(api):
    made = api.loadbalancer()
    pool = api.create("/pools", "pool", loadbalancer_id=made["id"], protocol="HTTP", lb_algorithm="ROUND_ROBIN")
    assert "healthmonitor_id" not in pool
    shown = api.get(f"/v2/lbaas/pools/{pool['id']}").json()["pool"]
    assert "healthmonitor_id" not in shown
    assert shown["listeners"] == []
    assert shown["loadbalancers"] == [{"id": made["id"]}]


def test_references_are_lists_of_ids(api):
    ids = api.populated()
    shown = api.get(f"/v2/lbaas/loadbalancers/{ids['loadbalancers']}").json()["loadbalancer"]
    assert shown["listeners"] == [{"id": ids["listeners"]}]
    assert shown["pools"] == [{"id": ids["pools"]}]
    monitor = api.get(f"/v2/lbaas/healthmonitors/{ids['healthmonitors']}").json()["healthmonitor"]
    assert monitor["pools"] == [{"id": ids["pools"]}]


def test_updated_at_is_null_only_while_the_resource_has_never_been_in_effect(api):
    made = api.loadbalancer()
    path = f"/v2/lbaas/loadbalancers/{made['id']}"
    assert (made["provisioning_status"], made["updated_at"]) == ("PENDING_CREATE", None)
    api.settle()
    shown = api.get(path).json()["loadbalancer"]
    assert shown["provisioning_status"] == "ACTIVE"
    assert shown["updated_at"]
    changed = api.put(path, json={"loadbalancer": {"name": "b"}}).json()["loadbalancer"]
    assert changed["provisioning_status"] == "PENDING_UPDATE"
    assert changed["updated_at"] > shown["updated_at"]
