# SPDX-License-Identifier: Apache-2.0
"""Thousands who wait for jobs: when they hear of what was committed, and what others notice of them.

The worker of the installation is kept busy, and its work done here, so that it is known when a change was committed.
"""

import asyncio
import json
import resource
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import httpx2
import uvloop

from bench.figures import Figure, median
from bench.installation import Installation, installation
from bench.waiting import cpu_s, pss_bytes
from caryatid.store import attempts, work
from caryatid.store.claim import Again, Claim, Done
from caryatid.store.database import Database

WAITERS = 5000
JOBS = 200
QUICK_WAITERS = 500
QUICK_JOBS = 50
NEWS_PAUSE_S = 0.1
PROBE_PAUSE_S = 0.005
CONNECTED_AT_ONCE = 200
SLOW_S = "30"
STATUS = "/v1/status"


def run(*, quick: bool, **environment: str) -> Iterator[Figure]:
    waiters, jobs = (QUICK_WAITERS, QUICK_JOBS) if quick else (WAITERS, JOBS)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4 * waiters + 1000), hard))
    busy = {"CARYATID_NOOP_DELAY_S": SLOW_S, "CARYATID_WORKER_THREADS": "1"}
    with installation(noop=True, CARYATID_LOG_LEVEL="warning", **busy, **environment) as made:
        scene = Scene(made, waiters)
        scene.open_jobs(jobs)
        yield from uvloop.run(scene.measure())


@dataclass
class Waiting:
    """One connection, kept alive, that waits for a job; and when it heard."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    job_id: str
    since: int = 1
    heard: asyncio.Future[tuple[float, int]] | None = None

    def ask(self) -> None:
        path = f"/v1/jobs/{self.job_id}/wait?since={self.since}&timeout=60"
        self.writer.write(f"GET {path} HTTP/1.1\r\nHost: bench\r\n\r\n".encode())
        self.heard = asyncio.get_running_loop().create_future()
        self.task = asyncio.create_task(self._hear(self.heard))

    async def _hear(self, heard: asyncio.Future[tuple[float, int]]) -> None:
        at, content = await answer(self.reader)
        self.since = int(json.loads(content)["job"]["serial"])
        heard.set_result((at, self.since))


async def answer(reader: asyncio.StreamReader) -> tuple[float, bytes]:
    """When the answer began, and its body. Raises AssertionError unless it is 200."""
    head = await reader.readuntil(b"\r\n\r\n")
    at = time.perf_counter()
    assert head.startswith(b"HTTP/1.1 200"), head
    length = next(line.split(b":")[1] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length"))
    return at, await reader.readexactly(int(length))


@dataclass
class Scene:
    """An installation, those who wait at its API, and the work that they wait for."""

    made: Installation
    count: int
    jobs: dict[str, str] = field(default_factory=dict)
    """Root → its job."""
    waiting: list[Waiting] = field(default_factory=list)

    def open_jobs(self, count: int) -> None:
        subnet_id = self.made.subnet_id()
        for number in range(count):
            body = {"loadbalancer": {"name": f"waited-{number}", "vip_subnet_id": subnet_id}}
            said = self.made.api.post("/v2/lbaas/loadbalancers", json=body)
            assert said.status_code == 201, said.text
            self.jobs[said.json()["loadbalancer"]["id"]] = said.headers["Caryatid-Job"]

    async def measure(self) -> list[Figure]:
        alone = await self.probed(5)
        before, pid = pss_bytes(self.pid), self.pid
        await self.wait_all()
        used = cpu_s(pid)
        parked = await self.probed(10)
        used = (cpu_s(pid) - used) / 10
        grown = (pss_bytes(pid) - before) / self.count / 1024
        told, heard = await self.told()
        crowd, last = await self.crowd()
        count = f"{self.count:,} waiters"
        return [
            Figure(f"{STATUS} p99, nobody waiting", _p99(alone), "ms", note=_note(alone)),
            Figure(f"{STATUS} p99, {count}, no news", _p99(parked), "ms", 50, note=_note(parked)),
            Figure(f"{STATUS} p99, {count}, news {1 / NEWS_PAUSE_S:.0f}/s", _p99(told), "ms", 50, note=_note(told)),
            Figure(f"{STATUS} p99, {count} of one job hear at once", _p99(crowd), "ms", 50, note=_note(crowd)),
            Figure("committed → a waiter has the answer, p50", median(heard), "ms", 10, note=_note(heard)),
            Figure("committed → the last of all has it", last, "ms", note=f"{count} of one job"),
            Figure("memory a waiter, with its connection", grown, "KiB"),
            Figure(f"CPU of the API, {count}, no news but {STATUS}", used * 100, "%"),
        ]

    def database(self) -> Database:
        """The installation's."""
        own = f"sqlite:///{self.made.directory / 'caryatid.db'}"
        return Database(self.made.environment.get("CARYATID_DATABASE", own))

    @property
    def pid(self) -> int:
        return self.made.services()["api"]

    async def wait_all(self) -> None:
        """All wait: the same number for each job that the installation's own worker has not taken."""
        host, port = self.made.listen.split(":")
        job_ids = list(self.jobs.values())[1:]
        for start in range(0, self.count, CONNECTED_AT_ONCE):
            numbers = range(start, min(self.count, start + CONNECTED_AT_ONCE))
            opened = await asyncio.gather(*(asyncio.open_connection(host, int(port)) for _ in numbers))
            for number, (reader, writer) in zip(numbers, opened, strict=True):
                self.waiting.append(Waiting(reader, writer, job_ids[number % len(job_ids)]))
                self.waiting[-1].ask()
        await asyncio.sleep(2)
        assert not any(one.heard and one.heard.done() for one in self.waiting), "some have heard of what was not said"

    def go_away(self) -> None:
        """Nobody waits any more."""
        for one in self.waiting:
            one.task.cancel()
            one.writer.close()
        self.waiting.clear()

    async def told(self) -> tuple[list[float], list[float]]:
        """Attempts begin, go on and end; how long /v1/status took meanwhile, and the news to who waits for it."""
        probing = asyncio.create_task(self.probed(len(self.jobs) * NEWS_PAUSE_S / 2))
        heard: list[float] = []
        by_job: dict[str, list[Waiting]] = {}
        for one in self.waiting:
            by_job.setdefault(one.job_id, []).append(one)
        database = self.database()
        for _ in range(len(self.jobs) // 4):
            claim = await asyncio.to_thread(work.claim, database, "bench")
            assert claim is not None
            theirs = by_job.get(self.jobs[claim.root_id], [])
            for act in (_begin, _say, _again):
                committed = await asyncio.to_thread(act, database, claim)
                for one in theirs:
                    assert one.heard is not None
                    at, _ = await asyncio.wait_for(one.heard, 30)
                    heard.append((at - committed) * 1000)
                    one.ask()
                await asyncio.sleep(NEWS_PAUSE_S)
        database.close()
        return await probing, heard

    async def crowd(self) -> tuple[list[float], float]:
        """All wait for one job, and it ends; how long /v1/status took meanwhile, and until the last had heard."""
        database = self.database()
        claim = await asyncio.to_thread(work.claim, database, "bench")
        assert claim is not None
        self.go_away()
        first, self.jobs = self.jobs, {"": "", claim.root_id: self.jobs[claim.root_id]}
        await asyncio.sleep(2)
        await self.wait_all()
        await asyncio.to_thread(_begin, database, claim)
        await asyncio.gather(*(one.heard for one in self.waiting if one.heard))
        for one in self.waiting:
            one.ask()
        await asyncio.sleep(2)
        probing = asyncio.create_task(self.probed(4))
        await asyncio.sleep(0.5)
        committed = await asyncio.to_thread(_done, database, claim)
        times = await asyncio.gather(*(one.heard for one in self.waiting if one.heard))
        self.jobs = first
        self.go_away()
        database.close()
        return await probing, (max(at for at, _ in times) - committed) * 1000

    async def probed(self, seconds: float) -> list[float]:
        """How long one connection waited for each answer of /v1/status, in milliseconds."""
        found = []
        async with httpx2.AsyncClient(base_url=self.made.url, timeout=60) as client:
            until = time.perf_counter() + seconds
            while time.perf_counter() < until:
                began = time.perf_counter()
                said = await client.get(STATUS)
                assert said.status_code == 200, said.text
                found.append((time.perf_counter() - began) * 1000)
                await asyncio.sleep(PROBE_PAUSE_S)
        return found


def _begin(database: Database, claim: Claim) -> float:
    with database.transaction() as tx:
        attempts.begin(tx, claim, 1)
    return time.perf_counter()


def _say(database: Database, claim: Claim) -> float:
    attempts.write(database, claim, attempts.Said([(time.time(), "configure amphora: done")], 1, 2))
    return time.perf_counter()


def _again(database: Database, claim: Claim) -> float:
    with database.transaction() as tx:
        work.settle(tx, claim, Again("not yet", 1, after_s=3600))
    return time.perf_counter()


def _done(database: Database, claim: Claim) -> float:
    with database.transaction() as tx:
        work.settle(tx, claim, Done(1))
    return time.perf_counter()


def _p99(values: list[float]) -> float:
    return sorted(values)[int(len(values) * 0.99)]


def _note(values: list[float]) -> str:
    return f"p50 {median(values):.1f}, p99 {_p99(values):.1f}, most {max(values):.1f} ms, n={len(values)}"
