# SPDX-License-Identifier: Apache-2.0
"""What it costs the API to tell how all load balancers are: read anew, from memory, and to those who know already."""

import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing

import httpx2

from bench.api import seed, settle
from bench.figures import Figure, median
from bench.installation import Installation, installation
from bench.waiting import cpu_s

PATH = "/v1/status"
SIZE = 1000
WARM = 20


def run(*, quick: bool) -> Iterator[Figure]:
    count = 200 if quick else 1000
    with installation(noop=True, CARYATID_LOG_LEVEL="warning") as made:
        (first, *_) = seed(made, SIZE)
        settle(made)
        of = f"{PATH} of {SIZE:,}"
        tag, one = made.api.get(PATH).headers["etag"], f"/v2/lbaas/loadbalancers/{first}"
        with closing(sqlite3.connect(made.directory / "caryatid.db", isolation_level=None)) as database:

            def commit() -> None:
                database.execute("INSERT OR REPLACE INTO setting (name, value) VALUES ('bench', x'00')")

            yield from _measure(made, f"{of}, something committed before each", PATH, count // 4, 5.0, before=commit)
            yield from _measure(
                made, f"{of}, not modified, something committed before each", PATH, count // 4, 5.0, tag, commit
            )
        yield from _measure(made, f"{of}, nothing committed since", PATH, count, 5.0)
        yield from _measure(made, f"{of}, not modified", PATH, count, 0.3, tag)
        yield from _measure(made, "GET one load balancer", one, count, 0.35)
        known = made.api.get(one).headers["etag"]
        yield from _measure(made, "GET one load balancer, not modified", one, count, 0.35, known)


def _measure(  # noqa: PLR0913, PLR0917  a measurement has this many parts
    made: Installation,
    name: str,
    path: str,
    count: int,
    limit_ms: float,
    tag: str = "",
    before: Callable[[], None] = lambda: None,
) -> Iterator[Figure]:
    """`before`: what is done before each request."""
    pid, times = made.services()["api"], []
    headers: Mapping[str, str] = {"If-None-Match": tag} if tag else {}
    with httpx2.Client(base_url=made.url, timeout=60) as client:
        for number in range(count + WARM):
            if number == WARM:
                began_s = cpu_s(pid)
            before()
            began = time.perf_counter()
            answer = client.get(path, headers=headers)
            times.append((time.perf_counter() - began) * 1000)
            assert answer.status_code == (304 if tag else 200), answer.text
    used_ms = (cpu_s(pid) - began_s) * 1000 / count
    note = f"p50 {median(times[WARM:]):.2f} ms to the answer, n={count}"
    yield Figure(f"{name}: CPU", used_ms, "ms", limit_ms, note=note)
