# SPDX-License-Identifier: Apache-2.0
"""What a request costs the API, with noop drivers on SQLite: CPU of its process, and the median time to the answer."""

import asyncio
import itertools
import time
from collections.abc import Iterator
from typing import Any

import httpx2

from bench.figures import Figure, median
from bench.installation import Installation, installation
from bench.waiting import cpu_s, until

SEEDERS = 8
SIZES = (100, 1000, 5000)
QUICK = (100, 1000)


def run(*, quick: bool) -> Iterator[Figure]:
    with installation(noop=True, CARYATID_LOG_LEVEL="warning") as made:
        seeded: list[str] = []
        for size in QUICK if quick else SIZES:
            began = time.monotonic()
            seeded += seed(made, size - len(seeded))
            settle(made)
            print(f"  {size} load balancers after {time.monotonic() - began:.1f} s", flush=True)
            yield from measure(made, seeded, size, 200 if quick else 1000)


def measure(made: Installation, ids: list[str], size: int, count: int) -> Iterator[Figure]:
    probe = Probe(made)
    one = f"/v2/lbaas/loadbalancers/{ids[0]}"
    limits = {100: 0.8, 5000: 1.0}
    yield from probe.get(f"GET one load balancer, of {size}", one, count, 0.35)
    yield from probe.get(f"GET list limit=20, of {size}", "/v2/lbaas/loadbalancers?limit=20", count, limits.get(size))
    if size >= 1000:
        yield from probe.get(f"GET list of 1,000, of {size}", "/v2/lbaas/loadbalancers?limit=1000", count // 10, 10)
    yield from probe.get(f"GET status tree (2 listeners, 2 pools, 10 members), of {size}", f"{one}/status", count, 0.8)
    yield from probe.post(f"POST load balancer, of {size}", count // 2, 2)


class Probe:
    """Asks one thing after another, over one connection."""

    def __init__(self, made: Installation) -> None:
        self._made = made
        self._subnet_id = made.subnet_id()
        self._names = itertools.count()

    def get(self, name: str, path: str, count: int, limit_ms: float | None) -> Iterator[Figure]:
        yield from self._figures(name, count, limit_ms, lambda: ("GET", path, None))

    def post(self, name: str, count: int, limit_ms: float) -> Iterator[Figure]:
        def one() -> tuple[str, str, Any]:
            body = {"name": f"posted-{next(self._names)}", "vip_subnet_id": self._subnet_id}
            return "POST", "/v2/lbaas/loadbalancers", {"loadbalancer": body}

        made: list[str] = []
        yield from self._figures(name, count, limit_ms, one, made)
        for key in made:
            self._made.delete(f"loadbalancers/{key}")
        settle(self._made)

    def _figures(
        self, name: str, count: int, limit_ms: float | None, one: Any, made: list[str] | None = None
    ) -> Iterator[Figure]:
        times = []
        with httpx2.Client(base_url=self._made.url, timeout=60) as client:
            for _ in range(20):
                self._ask(client, one(), made)
            pid = self._made.services()["api"]
            before = cpu_s(pid)
            for _ in range(count):
                began = time.perf_counter()
                self._ask(client, one(), made)
                times.append((time.perf_counter() - began) * 1000)
            used_ms = (cpu_s(pid) - before) * 1000 / count
        yield Figure(
            f"{name}: CPU", used_ms, "ms", limit_ms, note=f"p50 {median(times):.2f} ms to the answer, n={count}"
        )

    def _ask(self, client: httpx2.Client, what: tuple[str, str, Any], made: list[str] | None) -> None:
        verb, path, body = what
        answer = client.request(verb, path, json=body)
        assert answer.status_code in {200, 201}, (verb, path, answer.status_code, answer.text)
        if made is not None:
            made.append(answer.json()["loadbalancer"]["id"])


def seed(made: Installation, count: int) -> list[str]:
    """So many load balancers of 2 listeners, 2 pools and 10 members each, made in one call each, several at a time."""
    subnet_id = made.subnet_id()

    async def create() -> list[str]:
        numbers, ids = iter(range(count)), []
        async with httpx2.AsyncClient(base_url=made.url, timeout=60) as client:

            async def seeder() -> None:
                for number in numbers:
                    body = {"loadbalancer": _full(subnet_id, number)}
                    answer = await client.post("/v2/lbaas/loadbalancers", json=body)
                    assert answer.status_code == 201, answer.text
                    ids.append(answer.json()["loadbalancer"]["id"])

            await asyncio.gather(*(seeder() for _ in range(SEEDERS)))
        return ids

    return asyncio.run(create())


def _full(subnet_id: str, number: int) -> dict[str, Any]:
    members = [{"address": f"192.0.2.{i + 1}", "protocol_port": 80} for i in range(5)]
    listeners = [
        {
            "name": f"listener-{port}",
            "protocol": "HTTP",
            "protocol_port": port,
            "default_pool": {
                "name": f"pool-{port}",
                "protocol": "HTTP",
                "lb_algorithm": "ROUND_ROBIN",
                "members": members,
            },
        }
        for port in (80, 81)
    ]
    return {"name": f"seeded-{number}", "vip_subnet_id": subnet_id, "listeners": listeners}


def settle(made: Installation, timeout_s: float = 600) -> None:
    """Nothing is pending any more, so that only requests cost something."""
    words = ("PENDING_CREATE", "PENDING_UPDATE", "PENDING_DELETE")

    def quiet() -> bool:
        return not any(
            made.get("/v2/lbaas/loadbalancers", provisioning_status=word, limit=1, fields="id") for word in words
        )

    until(quiet, "nothing is pending", timeout_s, 0.2)
