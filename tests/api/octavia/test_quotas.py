# SPDX-License-Identifier: Apache-2.0
"""Quotas (facts: octavia.md §2.11)."""

QUOTAS = "/v2/lbaas/quotas"


def test_defaults_are_shown_for_all_and_for_a_project(api):
    defaults = api.get(f"{QUOTAS}/defaults").json()["quota"]
    assert defaults["project_id"] == "defaults"
    assert set(defaults.values()) == {"defaults", -1}
    assert api.get(f"{QUOTAS}/p1/default").json()["quota"]["tenant_id"] == "p1"


def test_a_project_without_a_quota_has_the_defaults_and_is_not_listed(small_api):
    shown = small_api.get(f"{QUOTAS}/p1").json()["quota"]
    assert (shown["pool"], shown["listener"]) == (1, -1)
    assert small_api.get(QUOTAS).json() == {"quotas": [], "quotas_links": []}


def test_older_names_are_taken_and_both_are_shown(api):
    answer = api.put(f"{QUOTAS}/p1", json={"quota": {"load_balancer": 3, "healthmonitor": 4}})
    assert answer.status_code == 202
    quota = answer.json()["quota"]
    assert quota["loadbalancer"] == quota["load_balancer"] == 3
    assert quota["healthmonitor"] == quota["health_monitor"] == 4
    assert api.get(f"{QUOTAS}/p1").json()["quota"] == quota
    assert api.get(QUOTAS).json()["quotas"] == [quota]


def test_two_names_of_one_limit_must_not_differ(api):
    answer = api.put(f"{QUOTAS}/p1", json={"quota": {"load_balancer": 3, "loadbalancer": 4}})
    assert answer.status_code == 400
    assert api.put(f"{QUOTAS}/p1", json={"quota": {"load_balancer": 3, "loadbalancer": 3}}).status_code == 202


def test_null_means_the_default_again_and_the_rest_stays(small_api):
    small_api.put(f"{QUOTAS}/p1", json={"quota": {"pool": 9, "member": 8}})
    quota = small_api.put(f"{QUOTAS}/p1", json={"quota": {"pool": None}}).json()["quota"]
    assert (quota["pool"], quota["member"]) == (1, 8)


def test_a_reset_quota_stays_listed_with_the_defaults_and_an_unknown_one_is_404(api):
    api.put(f"{QUOTAS}/p1", json={"quota": {"pool": 9}})
    answer = api.delete(f"{QUOTAS}/p1")
    assert (answer.status_code, answer.content) == (202, b"")
    assert [quota["pool"] for quota in api.get(QUOTAS).json()["quotas"]] == [-1]
    assert api.delete(f"{QUOTAS}/p2").status_code == 404


def test_limits_have_limits(api):
    for limit in (-2, 2_000_000_001, "x"):
        assert api.put(f"{QUOTAS}/p1", json={"quota": {"pool": limit}}).status_code == 400
    assert api.put(f"{QUOTAS}/not a project", json={"quota": {"pool": 1}}).status_code == 400
    assert api.get(f"{QUOTAS}/not a project").status_code == 404


def test_quotas_are_paged_by_project(api):
    for project in ("a", "b", "c"):
        api.put(f"{QUOTAS}/{project}", json={"quota": {}})
    page = api.get(f"{QUOTAS}?limit=2").json()
    rest = api.get(page["quotas_links"][0]["href"]).json()
    assert sorted(quota["project_id"] for quota in page["quotas"] + rest["quotas"]) == ["a", "b", "c"]
