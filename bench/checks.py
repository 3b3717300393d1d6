# SPDX-License-Identifier: Apache-2.0
"""How many HTTP checks a checker makes, keep-alive off: schedule, connection, request, answer, word. Members are one
HAProxy that answers by itself, at as many addresses as there are members."""

import asyncio
import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import uvloop

from bench.figures import Figure
from bench.waiting import pause, pss_bytes
from caryatid import metrics
from caryatid.checker.outcome import Outcome
from caryatid.checker.schedule import Schedule
from caryatid.checker.targets import Targets
from caryatid.checker.trying import Tries
from caryatid.services.process import open_many
from caryatid.wire.checks import SHARES, Check, Wanted, Word

CONFIGURATION = """\
global
    maxconn 8000
    nbthread 1
defaults
    mode http
    timeout connect 5s
    timeout client 5s
    timeout server 5s
    option httpclose
frontend members
    bind 0.0.0.0:{port}
    http-request return status 200 content-type text/plain string ok
"""


def run(*, quick: bool) -> Iterator[Figure]:
    with _members() as port:
        found = _measured(port, checks=20_000, interval_s=10.0, seconds=5.0 if quick else 20.0)
    cost_ms = found["cpu_s"] / found["made"] * 1000
    note = f"{found['made'] / found['seconds']:,.0f}/s made, {found['late']:.0f} late, {found['down']} not up"
    yield Figure("an HTTP check, CPU of the checker", cost_ms, "ms", 0.5, note=f"20,000 targets every 10 s: {note}")
    yield Figure("HTTP checks a core, keep-alive off", 1000 / cost_ms, "/s", 2000, at_least=True)
    yield Figure("memory of a checker with 20,000 targets, PSS", found["pss"] / (1 << 20), "MiB", 400)


def _measured(port: int, **what: float) -> dict[str, float]:
    """A checker of its own process."""
    words = [sys.executable, "-m", "bench.checks", json.dumps({"port": port, **what})]
    done = subprocess.run(words, check=True, capture_output=True, timeout=300)
    return json.loads(done.stdout.splitlines()[-1])


@contextlib.contextmanager
def _members() -> Iterator[int]:
    """The port of an HAProxy that answers at every address of 127.0.0.0/8."""
    with tempfile.TemporaryDirectory() as folder, socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        path = Path(folder) / "haproxy.cfg"
        path.write_text(CONFIGURATION.format(port=port))
        free.close()
        process = subprocess.Popen([shutil.which("haproxy") or "/usr/sbin/haproxy", "-db", "-q", "-f", path])
        try:
            for _ in range(100):
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                    break
                pause(0.05)
            yield port
        finally:
            process.terminate()
            process.wait(10)


class _Bench:
    """What the checker's process measures of itself."""

    def __init__(self) -> None:
        self.made = self.down = 0
        self.tries = Tries(Targets(["127.0.0.0/8"], []))
        self.schedule = Schedule(self.once, self.say, "checker", 2000)

    async def once(self, check: Check) -> Outcome:
        outcome = await self.tries.once(check)
        self.made += 1
        self.down += not outcome.up
        return outcome

    def say(self, check: Check, word: Word, before: Word | None, outcome: Outcome) -> None:
        pass


def _wanted(port: int, checks: int, interval_s: float) -> bytes:
    """As a conductor says it."""
    wanted = [
        Check(
            monitor_id="6e2b6d4e-8f0e-4f0e-9d5c-0d6c1a1c9f00",
            member_id=f"6e2b6d4e-8f0e-4f0e-9d5c-{number:012d}",
            share=number % SHARES,
            version="0123456789abcdef",
            type="http",
            address=f"127.{1 + number // 62_500}.{number // 250 % 250}.{1 + number % 250}",
            port=port,
            interval_s=interval_s,
            timeout_s=interval_s / 2,
            retries=0,
            rise=2,
            fall=3,
            rapid_recheck=True,
            inverted=False,
            parameters={"path": "/health", "host": "www.example.test", "expected_codes": "200-299"},
        )
        for number in range(checks)
    ]
    return Wanted(checks="1", wanted=wanted).model_dump_json().encode()


async def _measure(port: int, checks: int, interval_s: float, seconds: float) -> dict[str, float]:
    bench = _Bench()
    bench.schedule.want(Wanted.model_validate_json(_wanted(port, checks, interval_s)).wanted, range(SHARES))
    await asyncio.sleep(interval_s)
    made, down, cpu, began = bench.made, bench.down, time.process_time(), time.monotonic()
    await asyncio.sleep(seconds)
    found = {
        "checks": checks,
        "made": bench.made - made,
        "down": bench.down - down,
        "cpu_s": time.process_time() - cpu,
        "seconds": time.monotonic() - began,
        "late": metrics.CHECKS_LATE._value.get(),  # noqa: SLF001  what a scrape would show
        "pss": pss_bytes(os.getpid()),
    }
    bench.schedule.close()
    await bench.tries.close()
    return found


if __name__ == "__main__":
    open_many()
    print(json.dumps(uvloop.run(_measure(**json.loads(sys.argv[1])))))
