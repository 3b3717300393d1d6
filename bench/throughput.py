# SPDX-License-Identifier: Apache-2.0
"""Throughput through our HAProxy against the same HAProxy with a hand-written minimal configuration: A B A B …

The backend is a third HAProxy that answers by itself; `wrk` sends. The ratio of medians counts; CPU per request is the
steadier figure.
"""

import contextlib
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.backends import ask
from bench.figures import Figure, median, spread
from bench.installation import Installation, installation
from bench.waiting import alive, children, cpu_s, free_port, until

BACKEND = """
global
    nbthread 1
    maxconn 2000
defaults
    mode http
    timeout client 60s
    timeout server 60s
    timeout connect 5s
frontend backend
    bind 127.0.0.1:{port}
    http-request return status 200 content-type text/plain string "one"
"""
BARE = """
global
    maxconn 9000
defaults
    mode http
    timeout client 60s
    timeout server 60s
    timeout connect 5s
frontend in
    bind {address}:8080
    default_backend out
backend out
    server one 127.0.0.1:{port}
"""
CONNECTIONS = 32


@dataclass
class Side:
    """Where it listens, which process works, and what was measured."""

    name: str
    address: str
    worker: int
    rates: list[float]
    cpu_us: list[float]

    def measure(self, seconds: int) -> None:
        before = cpu_s(self.worker)
        rate, requests = wrk(f"http://{self.address}:8080/", seconds)
        self.rates.append(rate)
        self.cpu_us.append((cpu_s(self.worker) - before) * 1e6 / requests)


def run(*, quick: bool) -> Iterator[Figure]:
    if shutil.which("wrk") is None:
        raise SystemExit("`wrk` is needed to measure throughput (Debian: apt-get install wrk).")
    pairs, seconds = (3, 1) if quick else (9, 3)
    with contextlib.ExitStack() as stack:
        made = stack.enter_context(installation())
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cb", dir="/tmp")))
        port = free_port()
        stack.enter_context(haproxy(directory, "backend", BACKEND.format(port=port)))
        ours = _ours(made, port)
        address = ".".join([*ours.address.split(".")[:3], str((int(ours.address.split(".")[3]) + 1) % 250 + 1)])
        bare_worker = stack.enter_context(haproxy(directory, "bare", BARE.format(port=port, address=address)))
        bare = Side("bare", address, bare_worker, [], [])
        for side in (ours, bare):
            until(lambda: ask(side.address)[0] == 200, f"{side.name} serves")  # noqa: B023
            wrk(f"http://{side.address}:8080/", 1)
        for number in range(pairs):
            for side in (ours, bare) if number % 2 else (bare, ours):
                side.measure(seconds)
    ratio = median(ours.rates) / median(bare.rates)
    note = f"{median(ours.rates):,.0f}/s against {median(bare.rates):,.0f}/s; ours {spread(ours.rates, '/s')}"
    yield Figure("throughput against bare HAProxy, ratio of medians", ratio, "", 0.97, at_least=True, note=note)
    note = f"{median(ours.cpu_us):.1f} µs against {median(bare.cpu_us):.1f} µs a request"
    yield Figure("… HAProxy's CPU per request, ratio", median(ours.cpu_us) / median(bare.cpu_us), "", note=note)


def _ours(made: Installation, port: int) -> Side:
    loadbalancer = made.loadbalancer([port])
    worker = next(iter(made.haproxies().values())).workers[0]
    return Side("ours", loadbalancer["vip_address"], worker, [], [])


@contextlib.contextmanager
def haproxy(directory: Path, name: str, text: str) -> Iterator[int]:
    """An HAProxy of our own, as ours are started; its worker."""
    configuration = directory / f"{name}.cfg"
    configuration.write_text(text)
    process = subprocess.Popen(
        ["haproxy", "-W", "-f", configuration],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield until(lambda: children(process.pid), f"{name} runs")[0]
    finally:
        workers = children(process.pid)
        process.terminate()
        process.wait(10)
        until(lambda: not any(map(alive, workers)), f"{name} has ended", 10)


def wrk(url: str, seconds: int, *options: str) -> tuple[float, int]:
    """Requests a second, and how many."""
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", *options, url]
    said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=seconds + 30).stdout
    assert "Non-2xx" not in said, said
    rate, count = re.search(r"Requests/sec:\s+([\d.]+)", said), re.search(r"(\d+) requests in", said)
    assert rate, said
    assert count, said
    return float(rate[1]), int(count[1])
