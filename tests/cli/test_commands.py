# SPDX-License-Identifier: Apache-2.0
"""The verbs against a whole installation: what a user types, and what is there afterwards."""

import json
from uuid import uuid4

import pytest
import yaml


@pytest.fixture
def lb(shell, name):
    """Name of a load balancer."""
    shell.done("lb", "create", name, "--wait")
    return name


@pytest.fixture
def pool(shell, lb):
    """Name of a pool (the same as its load balancer's)."""
    shell.done("pool", "create", lb, "--lb", lb, "--protocol", "HTTP", "--lb-algorithm", "ROUND_ROBIN")
    return lb


def test_a_load_balancer_without_a_subnet_gets_an_address_of_default(shell, lb):
    shown = shell.json("lb", "show", lb)
    subnet = shell.json("subnet", "show", "default")
    assert shown["vip_subnet_id"] == subnet["id"]
    assert shown["vip_address"].startswith("127.100.")


def test_waiting_ends_when_the_change_is_in_effect(shell, lb):
    assert shell.json("lb", "show", lb)["provisioning_status"] == "ACTIVE"
    changed = shell.json("lb", "set", lb, "--description", "d", "--wait")
    assert (changed["description"], changed["provisioning_status"]) == ("d", "ACTIVE")


def test_waiting_shows_what_is_done(shell, name):
    assert "build amphora" in shell.done("lb", "create", name, "--wait").stderr


def test_what_set_does_not_name_stays(shell, lb):
    shell.done("lb", "set", lb, "--description", "d", "--tag", "b", "--tag", "a")
    shell.done("lb", "set", lb, "--disable")
    shown = shell.json("lb", "show", lb)
    assert (shown["description"], shown["tags"], shown["admin_state_up"]) == ("d", ["a", "b"], False)


def test_unset_puts_back_the_default(shell, lb):
    shell.done("lb", "set", lb, "--description", "d", "--tag", "a", "--disable")
    shell.done("lb", "unset", lb, "--description", "--tag", "--admin-state-up")
    shown = shell.json("lb", "show", lb)
    assert (shown["description"], shown["tags"], shown["admin_state_up"]) == ("", [], True)


def test_a_change_of_nothing_is_a_usage_error(shell, lb):
    assert shell.run("lb", "set", lb).exit_code == 2
    assert shell.run("lb", "unset", lb).exit_code == 2


def test_names_do_where_ids_are_asked_for(shell, lb, pool):
    listener = shell.json(
        "listener", "create", "--name", lb, "--loadbalancer", lb, "--protocol", "HTTP", "--protocol-port", 80,
        "--default-pool", pool, "--insert-headers", "X-Forwarded-For=true",
    )  # fmt: skip
    assert listener["loadbalancers"] == [{"id": shell.json("lb", "show", lb)["id"]}]
    assert listener["default_pool_id"] == shell.json("pool", "show", pool)["id"]
    assert listener["insert_headers"] == {"X-Forwarded-For": "true"}


def test_a_pool_is_put_behind_a_listener_by_name(shell, lb, name):
    shell.done("listener", "create", lb, "--lb", lb, "--protocol", "HTTP", "--protocol-port", 81)
    shell.done("pool", "create", f"{name}p", "--listener", lb, "--protocol", "HTTP", "--lb-algorithm", "ROUND_ROBIN")
    listener = shell.json("listener", "show", lb)
    assert listener["default_pool_id"] == shell.json("pool", "show", f"{name}p")["id"]


def test_a_name_that_two_have_is_refused_with_both(shell, lb):
    other = shell.json("lb", "create", lb)
    result = shell.run("lb", "show", lb)
    assert result.exit_code == 1
    lines = result.stderr.splitlines()
    assert len(lines) == 3
    assert any(other["id"] in line for line in lines[1:])
    assert shell.json("lb", "show", other["id"])["id"] == other["id"]


def test_a_name_that_nothing_has_is_a_failure(shell, name):
    result = shell.run("lb", "show", name)
    assert (result.exit_code, result.stderr) == (1, f"Error: Load Balancer {name} not found.\n")


def test_an_id_that_nothing_has_is_a_failure(shell):
    key = uuid4()
    result = shell.run("pool", "show", key)
    assert (result.exit_code, result.stderr) == (1, f"Error: Pool {key} not found.\n")


def test_a_member_is_called_by_its_address_and_port(shell, pool):
    shell.done("member", "create", "--pool", pool, "--address", "127.0.0.1", "--protocol-port", 8001)
    shell.done("member", "set", "--pool", pool, "127.0.0.1:8001", "--weight", 0)
    assert shell.json("member", "show", "--pool", pool, "127.0.0.1:8001")["weight"] == 0
    shell.done("member", "delete", "--pool", pool, "127.0.0.1:8001", "--wait")
    assert shell.json("member", "list", "--pool", pool) == []


def test_members_are_replaced_from_a_file(shell, pool, tmp_path):
    shell.done("member", "create", "--pool", pool, "--address", "127.0.0.1", "--protocol-port", 80)
    file = tmp_path / "members.yaml"
    file.write_text(yaml.safe_dump([{"address": f"127.0.1.{number}", "protocol_port": 80} for number in (1, 2)]))
    shell.done("member", "replace", "--pool", pool, file, "--wait")
    assert {one["address"] for one in shell.json("member", "list", "--pool", pool)} == {"127.0.1.1", "127.0.1.2"}
    more = json.dumps({"members": [{"address": "127.0.1.3", "protocol_port": 80}]})
    shell.done("member", "replace", "--pool", pool, "-", "--additive", "--wait", given=more)
    assert len(shell.json("member", "list", "--pool", pool)) == 3


@pytest.mark.parametrize("content", ["{", "a: [", "7", '{"members": 7}'])
def test_a_file_that_has_no_members_is_refused(shell, pool, content):
    result = shell.run("member", "replace", "--pool", pool, "-", given=content)
    assert (result.exit_code, result.stderr.count("Error: ")) == (1, 1)


def test_every_fault_has_its_line(shell, lb):
    result = shell.run(
        "listener", "create", "--lb", lb, "--protocol", "HTTP", "--protocol-port", 0, "--connection-limit", -9
    )
    assert result.exit_code == 1
    assert [line.startswith("Error: ") for line in result.stderr.splitlines()] == [True, True]


def test_dry_run_prints_the_request_and_sends_nothing(shell, name):
    shown = shell.done("lb", "create", name, "--dry-run", "--wait").stdout
    method, url = shown.splitlines()[0].split()
    assert (method, url) == ("POST", f"{shell.url}/v2/lbaas/loadbalancers")
    assert json.loads(shown.partition("\n")[2])["loadbalancer"]["name"] == name
    assert shell.json("lb", "list", "--filter", f"name={name}") == []


def test_lists_are_filtered_sorted_and_cut(shell, pool):
    for name, port in (("3", 80), ("1", 90), ("2", 90)):
        address = ("--address", f"127.0.0.{name}", "--protocol-port", port)
        shell.done("member", "create", name, "--pool", pool, *address)
    listed = shell.json("member", "list", "--pool", pool, "--sort", "name:desc", "--columns", "name")
    assert listed == [{"name": "3"}, {"name": "2"}, {"name": "1"}]
    assert len(shell.json("member", "list", "--pool", pool, "--limit", 2)) == 2
    found = shell.json("member", "list", "--pool", pool, "--filter", "protocol_port=90", "--filter", "name=1")
    assert [one["name"] for one in found] == ["1"]


def test_a_filter_by_reference_takes_a_name(shell, lb, pool):
    assert [one["name"] for one in shell.json("pool", "list", "--filter", f"loadbalancer_id={lb}")] == [pool]


def test_a_list_longer_than_a_page_is_shown_whole(shell, pool):
    members = [{"address": f"127.2.{number // 250}.{number % 250 + 1}", "protocol_port": 80} for number in range(1005)]
    shell.done("member", "replace", "--pool", pool, "-", "--wait", given=json.dumps(members))
    shown = shell.done("member", "list", "--pool", pool, "-o", "value", "--columns", "address").stdout.split()
    assert set(shown) == {member["address"] for member in members}
    assert len(shown) == 1005


def test_several_are_deleted_and_every_failure_is_said(shell, lb, pool, name):
    other = shell.json("lb", "create", "--name", f"{name}2")["id"]
    result = shell.run("lb", "delete", lb, other, "--wait")
    assert result.exit_code == 1
    assert "has children" in result.stderr
    shell.done("lb", "delete", lb, "--cascade", "--wait")
    left = {one["id"] for one in shell.json("lb", "list")}
    assert other not in left


def test_nothing_is_deleted_if_a_name_is_wrong(shell, lb):
    assert shell.run("lb", "delete", lb, "nobody").exit_code == 1
    assert shell.json("lb", "show", lb)["provisioning_status"] == "ACTIVE"


def test_a_monitor_keeps_its_own_timeout(shell, pool):
    monitor = shell.json(
        "healthmonitor", "create", "--pool", pool, "--type", "HTTP", "--delay", 5, "--timeout", 3, "--max-retries", 2,
        "--http-version", "1.1", "--wait", "--wait-timeout", 60,
    )  # fmt: skip
    assert (monitor["timeout"], monitor["http_version"]) == (3, 1.1)


def test_a_rule_keeps_its_own_key(shell, lb):
    shell.done("listener", "create", lb, "--lb", lb, "--protocol", "HTTP", "--protocol-port", 82)
    shell.done("l7policy", "create", lb, "--listener", lb, "--action", "REJECT")
    rule = shell.json(
        "l7rule", "create", "--l7policy", lb, "--type", "HEADER", "--compare-type", "EQUAL_TO", "--key", "X-A",
        "--value", "v",
    )  # fmt: skip
    changed = shell.json("l7rule", "set", "--l7policy", lb, rule["id"], "--key", "X-B")
    assert (changed["key"], changed["value"]) == ("X-B", "v")


def test_a_rate_limit_is_made_of_a_policy_and_rules(shell, lb):
    shell.done("listener", "create", lb, "--lb", lb, "--protocol", "HTTP", "--protocol-port", 83)
    shell.done("ratelimitpolicy", "create", lb, "--listener", lb, "--action", "DENY")
    rule = shell.json(
        "ratelimitrule", "create", "--ratelimitpolicy", lb, "--metric", "REQUESTS_PER_URL", "--threshold", 5,
        "--urls", "/a", "--urls", "/b",
    )  # fmt: skip
    assert (rule["urls"], rule["interval"]) == (["/a", "/b"], 30)
    assert [one["id"] for one in shell.json("ratelimitrule", "list", "--ratelimitpolicy", lb)] == [rule["id"]]


def test_quotas_belong_to_projects(shell, name):
    assert shell.json("quota", "set", name, "--pool", 5)["pool"] == 5
    assert shell.json("quota", "show", name)["pool"] == 5
    assert [one["project_id"] for one in shell.json("quota", "list") if one["project_id"] == name] == [name]
    assert shell.json("quota", "unset", name, "--pool")["pool"] == shell.json("quota", "defaults")["pool"]
    shell.done("quota", "delete", name)


def test_the_project_is_whom_it_belongs_to(shell, name):
    assert shell.json("lb", "create", "--project", name)["project_id"] == name


def test_failover_replaces_the_amphora(shell, lb):
    key = shell.json("lb", "show", lb)["id"]
    before = shell.json("amphora", "list", "--filter", f"loadbalancer_id={key}", "--columns", "id")
    shell.done("lb", "failover", lb, "--wait")
    after = shell.json("amphora", "list", "--filter", f"loadbalancer_id={key}", "--columns", "id")
    assert len(after) == len(before) == 1
    assert after != before
    shell.done("amphora", "configure", after[0]["id"], "--wait")


def test_what_operators_offer_is_made_and_found_by_name(shell, name):
    data = '{"loadbalancer_topology": "SINGLE"}'
    shell.done("flavorprofile", "create", name, "--provider-name", "amphora", "--flavor-data", data)
    shell.done("flavor", "create", name, "--flavorprofile", name, "--disable")
    assert shell.json("flavor", "show", name)["enabled"] is False
    shell.done("flavor", "delete", name)
    shell.done("flavorprofile", "delete", name)


def test_providers_say_what_they_can_do(shell):
    assert "amphora" in {one["name"] for one in shell.json("provider", "list")}
    assert "loadbalancer_topology" in {one["name"] for one in shell.json("provider", "capabilities", "amphora")}


def test_networks_subnets_and_ports_are_made(shell, name):
    shell.done("network", "create", name, "--shared")
    shell.done(
        "subnet", "create", name, "--network", name, "--cidr", "127.101.0.0/24", "--attachment", "noop",
        "--allocation-pool", "start=127.101.0.10,end=127.101.0.12",
    )  # fmt: skip
    port = shell.json("port", "create", name, "--subnet", name)
    assert port["ip_address"] in {"127.101.0.10", "127.101.0.11", "127.101.0.12"}
    for kind in ("port", "subnet", "network"):
        shell.done(kind, "delete", name)


def test_statistics_are_shown(shell, lb):
    shell.done("listener", "create", lb, "--lb", lb, "--protocol", "HTTP", "--protocol-port", 83, "--wait")
    for group in ("lb", "listener"):
        assert set(shell.json(group, "stats", lb)) >= {"bytes_in", "bytes_out", "total_connections"}


def test_jobs_are_listed_and_shown_with_their_log(shell, lb):
    key = shell.json("lb", "show", lb)["id"]
    job = shell.json("job", "list", "--filter", f"resource_id={key}", "--filter", "action=create")[0]
    shown = shell.json("job", "show", job["id"])
    assert shown["state"] == "succeeded"
    assert shown["log"]
    shell.done("job", "wait", job["id"])
