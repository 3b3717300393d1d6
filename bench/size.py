# SPDX-License-Identifier: Apache-2.0
"""A pool of 5,000 members: how long it takes to make it, and to change one weight in it."""

import time
from collections.abc import Iterator
from pathlib import Path

from bench import haproxy
from bench.backends import Backends
from bench.figures import Figure, median, spread
from bench.installation import installation
from bench.waiting import until


def run(*, quick: bool) -> Iterator[Figure]:
    count = 500 if quick else 5000
    with Backends() as backends, installation() as made:
        server = backends.make("one")
        loadbalancer = made.loadbalancer([])
        pool_id = loadbalancer["pools"][0]["id"]
        members = [
            {"address": f"127.{number // 250 + 1}.0.{number % 250 + 1}", "protocol_port": server.port}
            for number in range(count)
        ]
        began = time.perf_counter()
        made.put(f"pools/{pool_id}/members", {"members": members})
        accepted_s = time.perf_counter() - began
        made.active(f"pools/{pool_id}", 60, 0.005)
        took_s = time.perf_counter() - began
        path = haproxy.socket_of(made, loadbalancer["id"])
        states = haproxy.server_states(path)
        found = len(states)
        assert found == count, f"{found} servers in HAProxy"
        yield Figure(
            f"pool of {count:,} members: PUT of all → ACTIVE", took_s, "s", 3, note=f"accepted after {accepted_s:.2f} s"
        )

        shown = made.get(f"/v2/lbaas/pools/{pool_id}/members", limit=1)[0]
        times = []
        for number in range(6 if quick else 16):
            weight = 10 + number
            began = time.perf_counter()
            made.put(f"pools/{pool_id}/members/{shown['id']}", {"member": {"weight": weight}})
            until(lambda: _weight(path, states[0].pool, shown["id"]) == weight, "the weight is in effect", 20, 0.001)  # noqa: B023
            times.append((time.perf_counter() - began) * 1000)
            made.active(f"pools/{pool_id}")
        yield Figure("… one weight change → in effect, p50", median(times[1:]), "ms", 100, note=spread(times[1:]))


def _weight(path: Path, backend: str, member_id: str) -> int:
    """HAProxy's own word: `get weight` is quick however many servers there are."""
    return int(haproxy.call(path, f"get weight {backend}/{member_id}").split()[0])
