# SPDX-License-Identifier: Apache-2.0
"""How long a wish takes to be traffic, on real HAProxy."""

import time
from collections.abc import Iterator
from typing import Any

from bench import haproxy
from bench.backends import Backends, Server, ask
from bench.figures import Figure, median, spread
from bench.installation import Installation, installation, whole
from bench.waiting import until

POLL_S = 0.002


def run(*, quick: bool) -> Iterator[Figure]:
    with Backends() as backends, installation(CARYATID_LOG_LEVEL="info") as made:
        servers = [backends.make(name) for name in ("one", "two", "three")]
        yield from creates(made, servers, 5 if quick else 20)
        yield from burst(made, servers, 40)
        yield from member_added(made, servers, 10 if quick else 30)
        yield from hundred_members(made, servers, 100)
        yield from member_dies(made, servers, 3 if quick else 10)


def creates(made: Installation, servers: list[Server], count: int) -> Iterator[Figure]:
    """LB, listener, pool and two members, in one call and in five; until the first 200 through the VIP."""
    for name, create, limit in (("in one call", _at_once, 300), ("in five calls", _one_by_one, None)):
        times, ids = [], []
        for _ in range(count + 1):
            began = time.perf_counter()
            loadbalancer = create(made, servers)
            until(lambda: ask(loadbalancer["vip_address"])[0] == 200, "the first 200", pause_s=POLL_S)  # noqa: B023
            times.append((time.perf_counter() - began) * 1000)
            ids.append(loadbalancer["id"])
        _remove(made, ids)
        times = times[1:]  # the first opens connections between the processes
        yield Figure(f"create {name} → first 200 through the VIP, p50", median(times), "ms", limit, note=spread(times))


def _at_once(made: Installation, servers: list[Server]) -> dict[str, Any]:
    body = whole(made.subnet_id(), [server.port for server in servers[:2]])
    return dict(made.post("loadbalancers", {"loadbalancer": body}))


def _one_by_one(made: Installation, servers: list[Server]) -> dict[str, Any]:
    """As clients do that know no other way; no wait in between."""
    loadbalancer = made.post("loadbalancers", {"loadbalancer": {"vip_subnet_id": made.subnet_id()}})
    web = {"protocol": "HTTP", "protocol_port": 8080, "loadbalancer_id": loadbalancer["id"]}
    listener = made.post("listeners", {"listener": web})
    app = {"protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN", "listener_id": listener["id"]}
    pool = made.post("pools", {"pool": app})
    for server in servers[:2]:
        _add(made, pool["id"], server)
    return dict(loadbalancer)


def burst(made: Installation, servers: list[Server], count: int) -> Iterator[Figure]:
    """From the first request until all are ACTIVE."""
    began = time.perf_counter()
    ids = [_at_once(made, servers)["id"] for _ in range(count)]
    asked_s = time.perf_counter() - began
    for key in ids:
        made.active(f"loadbalancers/{key}", timeout_s=120, pause_s=POLL_S)
    took_s = time.perf_counter() - began
    served = sum(ask(made.show(f"loadbalancers/{key}")["vip_address"])[0] == 200 for key in ids)
    assert served == count, f"{served} of {count} serve"
    _remove(made, ids)
    note = f"asked for within {asked_s:.2f} s, ACTIVE after {took_s:.2f} s, all serve"
    yield Figure(f"{count} creates in a burst, ACTIVE/s", count / took_s, "/s", 15, at_least=True, note=note)


def member_added(made: Installation, servers: list[Server], count: int) -> Iterator[Figure]:
    """From the request until its first answer through the VIP; the worker stays the same."""
    loadbalancer = made.loadbalancer([servers[0].port])
    pool_id = loadbalancer["pools"][0]["id"]
    path = haproxy.socket_of(made, loadbalancer["id"])
    worker, times = haproxy.worker(path), []
    for _ in range(count + 1):
        began = time.perf_counter()
        member = _add(made, pool_id, servers[2])
        while ask(loadbalancer["vip_address"])[2] != servers[2].name:
            assert time.perf_counter() - began < 10, "no traffic on the new member after 10 s"
        times.append((time.perf_counter() - began) * 1000)
        made.delete(f"pools/{pool_id}/members/{member['id']}")
        made.gone(f"pools/{pool_id}/members/{member['id']}")
    times = times[1:]
    reloaded = haproxy.worker(path) != worker
    _remove(made, [loadbalancer["id"]])
    note = f"{spread(times)}; {'A RELOAD' if reloaded else 'no reload'}"
    yield Figure("member added → first traffic on it, p50", median(times), "ms", 50, note=note)
    yield Figure("… reloads meanwhile", float(reloaded), "", 0)


def hundred_members(made: Installation, servers: list[Server], count: int) -> Iterator[Figure]:
    """All accepted, none waited for."""
    loadbalancer = made.loadbalancer([servers[0].port])
    pool_id = loadbalancer["pools"][0]["id"]
    path = haproxy.socket_of(made, loadbalancer["id"])
    workers = {haproxy.worker(path)}
    before = made.log(1 << 24).count('"event": "reconciled"')
    began = time.perf_counter()
    for number in range(count):
        address = f"127.0.{number // 250 + 1}.{number % 250 + 1}"
        body = {"address": address, "protocol_port": servers[0].port}
        made.post(f"pools/{pool_id}/members", {"member": body})
        workers.add(haproxy.worker(path))
    accepted_s = time.perf_counter() - began
    until(lambda: len(haproxy.server_states(path)) == count + 1, "all members are in HAProxy", pause_s=0.01)
    in_effect_s = time.perf_counter() - began
    workers.add(haproxy.worker(path))
    attempts = made.log(1 << 24).count('"event": "reconciled"') - before
    _remove(made, [loadbalancer["id"]])
    note = f"accepted within {accepted_s:.2f} s, in HAProxy after {in_effect_s:.2f} s, in {attempts} pushes"
    yield Figure(f"{count} members one by one, no wait: reloads", len(workers) - 1, "", 1, note=note)


def member_dies(made: Installation, servers: list[Server], count: int) -> Iterator[Figure]:
    """From HAProxy's own verdict until the API says ERROR."""
    loadbalancer = made.loadbalancer([servers[0].port, servers[1].port], monitor={"type": "TCP"})
    pool_id = loadbalancer["pools"][0]["id"]
    path, times = haproxy.socket_of(made, loadbalancer["id"]), []
    member = next(m for m in made.get(f"/v2/lbaas/pools/{pool_id}/members") if m["protocol_port"] == servers[1].port)
    shown = f"pools/{pool_id}/members/{member['id']}"
    for _ in range(count):
        until(lambda: made.show(shown)["operating_status"] == "ONLINE", "the member is ONLINE", 15)
        servers[1].close()
        until(lambda: not _up(path, member["id"]), "HAProxy has seen it", 15, POLL_S)
        began = time.perf_counter()
        until(lambda: made.show(shown)["operating_status"] == "ERROR", "the API shows ERROR", 15, POLL_S)
        times.append((time.perf_counter() - began) * 1000)
        servers[1].open()
    _remove(made, [loadbalancer["id"]])
    name = "member dies → ERROR shown, after HAProxy's own verdict, p50"
    yield Figure(name, median(times), "ms", 1000, note=spread(times))


def _up(path: Any, member_id: str) -> bool:
    return next(state.up for state in haproxy.server_states(path) if state.member == member_id)


def _add(made: Installation, pool_id: str, server: Server) -> dict[str, Any]:
    body = {"address": "127.0.0.1", "protocol_port": server.port}
    return dict(made.post(f"pools/{pool_id}/members", {"member": body}))


def _remove(made: Installation, ids: list[str]) -> None:
    for key in ids:
        made.delete(f"loadbalancers/{key}?cascade=true")
    for key in ids:
        made.gone(f"loadbalancers/{key}")
