# SPDX-License-Identifier: Apache-2.0
"""What users ask for is what clients of their load balancers see: real HAProxy, real requests."""

import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from bench import haproxy
from bench.backends import Server, ask
from bench.installation import Installation
from bench.waiting import alive, pause, until

Make = Callable[..., dict]


@pytest.fixture
def make(installation: Installation) -> Iterator[Make]:
    """Makes load balancers that are gone after the test."""
    made: list[str] = []

    def loadbalancer(servers: list[Server], **more: object) -> dict:
        made.append((found := installation.loadbalancer([server.port for server in servers], **more))["id"])
        return found

    yield loadbalancer
    for key in made:
        installation.api.delete(f"/v2/lbaas/loadbalancers/{key}", params={"cascade": True})
    for key in made:
        installation.gone(f"loadbalancers/{key}")


def answers(loadbalancer: dict, count: int = 20, port: int = 8080, **more: str) -> Counter[str]:
    """Who answered how often; what was no 200 by its number."""
    seen: Counter[str] = Counter()
    for _ in range(count):
        status, _, body = ask(loadbalancer["vip_address"], port, **more)
        seen[body if status == 200 else str(status)] += 1
    return seen


def only(installation: Installation, loadbalancer: dict) -> tuple[str, str]:
    """Ids of its only listener and pool."""
    shown = installation.show(f"loadbalancers/{loadbalancer['id']}")
    return shown["listeners"][0]["id"], shown["pools"][0]["id"]


def member_of(installation: Installation, pool_id: str, server: Server) -> str:
    members = installation.get(f"/v2/lbaas/pools/{pool_id}/members")
    path = f"pools/{pool_id}/members"
    return f"{path}/{next(m['id'] for m in members if m['protocol_port'] == server.port)}"


def change_member(installation: Installation, path: str, **change: object) -> None:
    installation.put(path, {"member": change})
    installation.active(path)


def test_traffic_is_shared_among_the_members(make: Make, servers: list[Server]) -> None:
    assert answers(make(servers[:2])) == {"one": 10, "two": 10}


def test_l7_policies_route_by_what_their_rules_say(
    make: Make, servers: list[Server], installation: Installation
) -> None:
    loadbalancer = make(servers[:1])
    listener_id, _ = only(installation, loadbalancer)
    pool = {"protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN", "loadbalancer_id": loadbalancer["id"]}
    other = installation.post("pools", {"pool": pool})["id"]
    member = {"address": installation.member, "protocol_port": servers[1].port}
    installation.post(f"pools/{other}/members", {"member": member})
    policies = (
        ({"action": "REDIRECT_TO_POOL", "redirect_pool_id": other}, {"type": "PATH", "value": "/api"}),
        ({"action": "REJECT"}, {"type": "HEADER", "key": "X-Robot", "compare": "EQUAL_TO", "value": "yes"}),
        ({"action": "REDIRECT_TO_URL", "redirect_url": "http://else.example/"}, {"type": "HOST_NAME", "value": "old"}),
    )
    for wanted, rule in policies:
        policy = installation.post("l7policies", {"l7policy": {**wanted, "listener_id": listener_id}})["id"]
        compare = rule.pop("compare", "STARTS_WITH")
        installation.post(f"l7policies/{policy}/rules", {"rule": {**rule, "compare_type": compare}})
    installation.active(f"loadbalancers/{loadbalancer['id']}")

    assert answers(loadbalancer, 3) == {"one": 3}
    assert answers(loadbalancer, 3, path="/api/things") == {"two": 3}
    assert answers(loadbalancer, 3, headers="X-Robot: yes\r\n") == {"403": 3}
    status, headers, _ = ask(loadbalancer["vip_address"], host="old.example")
    assert (status, "http://else.example/" in headers) == (302, True)


def test_a_client_gets_no_more_than_its_rate_and_a_reload_forgets_nothing(
    make: Make, servers: list[Server], installation: Installation
) -> None:
    loadbalancer = make(servers[:1])
    listener_id, _ = only(installation, loadbalancer)
    limit = {"listener_id": listener_id, "action": "DENY"}
    policy = installation.post("ratelimitpolicies", {"ratelimitpolicy": limit})["id"]
    rule = {"metric": "REQUESTS", "threshold": 3, "interval": 600}
    rule_id = installation.post(f"ratelimitpolicies/{policy}/rules", {"rule": rule})["id"]
    installation.active(f"ratelimitpolicies/{policy}/rules/{rule_id}")
    assert answers(loadbalancer, 5) == {"one": 3, "429": 2}
    pause(11)  # HAProxy 2.6 tells a successor what it knows once it has waited ten seconds itself, for a predecessor
    table = f"show table {listener_id}.source.600"
    path = haproxy.socket_of(installation, loadbalancer["id"])
    before = haproxy.worker(path)
    installation.put(f"listeners/{listener_id}", {"listener": {"timeout_client_data": 30_000}})
    installation.active(f"listeners/{listener_id}")
    assert haproxy.worker(path) != before, "this change needs a reload"
    until(lambda: "http_req_rate(600000)=3" in haproxy.call(path, table), "the new process has been told", 20)
    assert answers(loadbalancer, 1) == {"429": 1}
    installation.delete(f"ratelimitpolicies/{policy}")
    installation.gone(f"ratelimitpolicies/{policy}")
    assert answers(loadbalancer, 5) == {"one": 5}


def test_a_member_disabled_at_run_time_gets_traffic_after_a_reload_and_its_enablement(
    make: Make, servers: list[Server], installation: Installation
) -> None:
    loadbalancer = make(servers[:2])
    listener_id, pool_id = only(installation, loadbalancer)
    two = member_of(installation, pool_id, servers[1])
    path = haproxy.socket_of(installation, loadbalancer["id"])
    worker = haproxy.worker(path)

    change_member(installation, two, admin_state_up=False)
    assert haproxy.worker(path) == worker, "it was disabled by a reload"
    assert answers(loadbalancer) == {"one": 20}

    installation.put(f"listeners/{listener_id}", {"listener": {"timeout_client_data": 40_000}})
    installation.active(f"listeners/{listener_id}")
    assert haproxy.worker(path) != worker, "this change needs a reload"
    assert answers(loadbalancer) == {"one": 20}

    change_member(installation, two, admin_state_up=True)
    assert answers(loadbalancer) == {"one": 10, "two": 10}


def test_a_member_without_weight_is_drained(make: Make, servers: list[Server], installation: Installation) -> None:
    loadbalancer = make(servers[:2], monitor={"type": "TCP"})
    _, pool_id = only(installation, loadbalancer)
    two = member_of(installation, pool_id, servers[1])
    change_member(installation, two, weight=0)
    assert answers(loadbalancer) == {"one": 20}
    until(lambda: installation.show(two)["operating_status"] == "DRAINING", "it is shown as draining", 15)
    change_member(installation, two, weight=3)
    until(lambda: answers(loadbalancer) == {"one": 5, "two": 15}, "it has three parts in four", 15)


@pytest.mark.parametrize("kind", ["HTTP_COOKIE", "SOURCE_IP"])
def test_who_comes_again_meets_the_same_member(make: Make, servers: list[Server], kind: str) -> None:
    loadbalancer = make(servers, pool={"session_persistence": {"type": kind}})
    _, headers, first = ask(loadbalancer["vip_address"])
    cookie = "".join(
        f"Cookie: {line.partition(':')[2].split(';')[0].strip()}\r\n"
        for line in headers.splitlines()
        if line.lower().startswith("set-cookie:")
    )
    assert bool(cookie) == (kind == "HTTP_COOKIE")
    assert answers(loadbalancer, headers=cookie) == {first: 20}


def test_listeners_of_a_load_balancer_have_pools_of_their_own(
    make: Make, servers: list[Server], installation: Installation
) -> None:
    loadbalancer = make(servers[:1])
    pool = {"protocol": "TCP", "lb_algorithm": "LEAST_CONNECTIONS", "loadbalancer_id": loadbalancer["id"]}
    second = installation.post("pools", {"pool": pool})["id"]
    member = {"address": installation.member, "protocol_port": servers[1].port}
    installation.post(f"pools/{second}/members", {"member": member})
    listener = {"protocol": "TCP", "protocol_port": 8081, "default_pool_id": second}
    made = installation.post("listeners", {"listener": {**listener, "loadbalancer_id": loadbalancer["id"]}})
    installation.active(f"listeners/{made['id']}")
    assert answers(loadbalancer, 3) == {"one": 3}
    assert answers(loadbalancer, 3, port=8081) == {"two": 3}

    installation.delete(f"listeners/{made['id']}")
    installation.gone(f"listeners/{made['id']}")
    assert answers(loadbalancer, 3, port=8081) == {"0": 3}
    assert answers(loadbalancer, 3) == {"one": 3}


def test_a_disabled_listener_takes_no_connections(
    make: Make, servers: list[Server], installation: Installation
) -> None:
    loadbalancer = make(servers[:1])
    listener_id, _ = only(installation, loadbalancer)
    for enabled, seen in ((False, {"0": 3}), (True, {"one": 3})):
        installation.put(f"listeners/{listener_id}", {"listener": {"admin_state_up": enabled}})
        installation.active(f"listeners/{listener_id}")
        assert answers(loadbalancer, 3) == seen


def test_a_deleted_load_balancer_leaves_nothing(make: Make, servers: list[Server], installation: Installation) -> None:
    loadbalancer = make(servers[:1])
    amphora_id = haproxy.amphora_of(installation, loadbalancer["id"])
    process = installation.haproxies()[amphora_id]
    socket_directory = haproxy.socket_of(installation, loadbalancer["id"]).parent
    installation.delete(f"loadbalancers/{loadbalancer['id']}?cascade=true")
    installation.gone(f"loadbalancers/{loadbalancer['id']}")
    assert answers(loadbalancer, 1) == {"0": 1}
    assert not any(alive(pid) for pid in (process.master, *process.workers))
    assert not (installation.amphorae / amphora_id).exists()
    assert not socket_directory.exists()


def test_what_was_deleted_while_its_agent_was_dead_is_gone_when_the_agent_is_back(
    make: Make, servers: list[Server], installation: Installation
) -> None:
    loadbalancer = make(servers[:1])
    amphora_id = haproxy.amphora_of(installation, loadbalancer["id"])
    agent = installation.services()["agent"]
    os.kill(agent, signal.SIGKILL)
    installation.delete(f"loadbalancers/{loadbalancer['id']}?cascade=true")
    until(lambda: installation.services().get("agent", agent) != agent, "the agent is back")
    installation.gone(f"loadbalancers/{loadbalancer['id']}", 60)
    until(lambda: amphora_id not in installation.haproxies(), "its HAProxy is gone")
    until(lambda: not (installation.amphorae / amphora_id).exists(), "its files are gone")
    assert answers(loadbalancer, 1) == {"0": 1}


def test_a_name_can_be_used_again_at_once(make: Make, servers: list[Server], installation: Installation) -> None:
    first = make(servers[:1], name="again")
    installation.delete(f"loadbalancers/{first['id']}?cascade=true")
    second = make(servers[1:2], name="again")
    assert first["id"] != second["id"]
    assert answers(second, 3) == {"two": 3}


def test_statistics_grow_and_survive_a_reload(make: Make, servers: list[Server], installation: Installation) -> None:
    loadbalancer = make(servers[:1])
    listener_id, _ = only(installation, loadbalancer)

    def connections(kind: str, key: str) -> int:
        return installation.show(f"{kind}/{key}/stats")["total_connections"]

    def counted() -> int:
        """What is counted when nothing more comes in."""
        seen = connections("listeners", listener_id)
        while (now := pause(3) or connections("listeners", listener_id)) != seen:
            assert now > seen, "counters fell"
            seen = now
        return seen

    answers(loadbalancer, 10)
    until(lambda: connections("listeners", listener_id) == 10, "10 connections are counted", 25, 0.2)
    installation.put(f"listeners/{listener_id}", {"listener": {"timeout_client_data": 30_000}})
    installation.active(f"listeners/{listener_id}")
    assert counted() == 10, "a reload begins anew and nothing is forgotten"
    answers(loadbalancer, 10)
    until(lambda: connections("listeners", listener_id) == 20, "20 connections are counted", 25, 0.2)
    assert connections("loadbalancers", loadbalancer["id"]) == 20
    assert installation.show(f"loadbalancers/{loadbalancer['id']}/stats")["bytes_out"] > 20 * 50
    amphora_id = haproxy.amphora_of(installation, loadbalancer["id"])
    (shown,) = installation.get(f"/v2/octavia/amphorae/{amphora_id}/stats")
    assert (shown["listener_id"], shown["total_connections"]) == (listener_id, 20)


def test_statuses_say_what_works(make: Make, servers: list[Server], installation: Installation) -> None:
    loadbalancer = make(servers[:2], monitor={"type": "HTTP"})
    listener_id, pool_id = only(installation, loadbalancer)
    two = member_of(installation, pool_id, servers[1])

    def seen() -> dict[str, str]:
        paths = {
            "loadbalancer": f"loadbalancers/{loadbalancer['id']}",
            "listener": f"listeners/{listener_id}",
            "pool": f"pools/{pool_id}",
            "member": two,
        }
        return {name: installation.show(path)["operating_status"] for name, path in paths.items()}

    online = dict.fromkeys(("loadbalancer", "listener", "pool", "member"), "ONLINE")
    until(lambda: seen() == online, "all is online", 15)
    servers[1].close()
    hurt = {"loadbalancer": "DEGRADED", "listener": "ONLINE", "pool": "DEGRADED", "member": "ERROR"}
    until(lambda: seen() == hurt, f"one member is down: {hurt}, not {seen()}", 15)
    assert answers(loadbalancer) == {"one": 20}
    servers[0].close()
    until(lambda: seen()["pool"] == "ERROR", "the pool has no member", 15)
    assert answers(loadbalancer, 3) == {"503": 3}
    servers[0].open()
    servers[1].open()
    until(lambda: seen() == online, "all is online again", 15)


def test_connections_outlive_reloads(make: Make, servers: list[Server], installation: Installation) -> None:
    loadbalancer = make(servers[:1])
    listener_id, _ = only(installation, loadbalancer)
    failed = 0
    for number in range(5):
        installation.put(f"listeners/{listener_id}", {"listener": {"timeout_client_data": 20_000 + number}})
        failed += 60 - answers(loadbalancer, 60)["one"]
    assert failed == 0
