# SPDX-License-Identifier: Apache-2.0
"""Events: from the commit to those who stream or wait for them, alone and among thousands."""

import asyncio
import json
import resource
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass

import uvloop

from bench.figures import Figure, median, spread
from bench.installation import Installation, installation
from bench.waiting import cpu_s
from caryatid.model.policy import Caller
from caryatid.store import events
from caryatid.store.database import Database

STREAMS = 2000
QUICK_STREAMS = 200
TIMES = 200
QUICK_TIMES = 50
PAUSE_S = 0.02
BURST = 5000
CONNECTED_AT_ONCE = 100
BY = Caller("bench", "p1")
CROWD = "crowd"
"""The project of those who stream beside the one that is measured."""
PATH = "/v1/events"
EVENT = b"\ndata: "


def run(*, quick: bool) -> Iterator[Figure]:
    streams, times = (QUICK_STREAMS, QUICK_TIMES) if quick else (STREAMS, TIMES)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 2 * streams + 1000), hard))
    with installation(noop=True, CARYATID_LOG_LEVEL="warning") as made:
        url = f"sqlite:///{made.directory / 'caryatid.db'}"
        yield from measured(made, url, streams, times)


def measured(made: Installation, url: str, streams: int, times: int) -> list[Figure]:
    """The figures of an installation over its database."""
    with closing(Database(url)) as database:
        return uvloop.run(Scene(made, database, times).measure(streams))


@dataclass
class Scene:
    """An installation, and its database, written to here, so that it is known when."""

    made: Installation
    database: Database
    times: int

    async def measure(self, streams: int) -> list[Figure]:
        alone = await self.streamed()
        waited = await self.waited()
        rate = await self.burst()
        crowd = [one async for one in self.crowd(streams)]
        try:
            among = await self.streamed()
            last, cpu_ms = await self.told_to_all(crowd)
        finally:
            for _, writer in crowd:
                writer.close()
        return [
            Figure("committed → a stream has it, p50", median(alone), "ms", 10, note=spread(alone)),
            Figure(f"the same beside {streams:,} streams of others", median(among), "ms", 10, note=spread(among)),
            Figure("committed → who waits has it, p50", median(waited), "ms", 10, note=spread(waited)),
            Figure(f"committed → the last of {streams:,} streams has it, p50", median(last), "ms", note=spread(last)),
            Figure("CPU of the API, an event to one stream of them", cpu_ms * 1000, "µs"),
            Figure("events written at once, told to one stream", rate, "/s"),
        ]

    async def streamed(self) -> list[float]:
        """Milliseconds from each commit to its event at one stream."""
        reader, writer = await self.stream("bench")
        took = []
        for number in range(self.times):
            committed = await asyncio.to_thread(self.write, "bench", [str(number)])
            await frame(reader)
            took.append((time.perf_counter() - committed) * 1000)
            await asyncio.sleep(PAUSE_S)
        writer.close()
        return took

    async def waited(self) -> list[float]:
        """The same at a request that waits."""
        reader, writer = await self.connected()
        cursor, took = "now", []
        for number in range(self.times + 1):
            ask(writer, f"{PATH}?after={cursor}&wait=10&project_id=bench")
            await asyncio.sleep(PAUSE_S)
            committed = await asyncio.to_thread(self.write, "bench", [str(number)])
            found = json.loads(await body(reader))
            took.append((time.perf_counter() - committed) * 1000)
            cursor = found["cursor"]
        writer.close()
        return took[1:]

    async def burst(self) -> float:
        """Events a second, of many in one transaction."""
        reader, writer = await self.stream("bench")
        committed = await asyncio.to_thread(self.write, "bench", [str(number) for number in range(BURST)])
        told = 0
        while told < BURST:
            told += (await frame(reader)).count(EVENT)
        writer.close()
        return BURST / (time.perf_counter() - committed)

    async def crowd(self, count: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        for start in range(0, count, CONNECTED_AT_ONCE):
            numbers = range(start, min(count, start + CONNECTED_AT_ONCE))
            for one in await asyncio.gather(*(self.stream(CROWD) for _ in numbers)):
                yield one

    async def told_to_all(
        self, crowd: Sequence[tuple[asyncio.StreamReader, asyncio.StreamWriter]]
    ) -> tuple[list[float], float]:
        """Milliseconds until the last has it; of CPU for each."""
        pid, took = self.made.services()["api"], []
        used = cpu_s(pid)
        for number in range(10):
            committed = await asyncio.to_thread(self.write, CROWD, [str(number)])
            await asyncio.gather(*(frame(reader) for reader, _ in crowd))
            took.append((time.perf_counter() - committed) * 1000)
        return took, (cpu_s(pid) - used) * 1000 / len(took) / len(crowd)

    async def stream(self, project_id: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """One that follows the events of a project from now on."""
        reader, writer = await self.connected()
        ask(writer, f"{PATH}?project_id={project_id}", accept="text/event-stream")
        await reader.readuntil(b"\r\n\r\n")
        await chunk(reader)
        await asyncio.sleep(0.1)
        return reader, writer

    async def connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        host, port = self.made.listen.split(":")
        return await asyncio.open_connection(host, int(port))

    def write(self, project_id: str, keys: Sequence[str]) -> float:
        """When it was committed."""
        with self.database.transaction() as tx:
            rows = [events.happened("create", "pool", key, by=BY, project_id=project_id, root_id=None) for key in keys]
            events.append_all(tx, rows)
        return time.perf_counter()


def ask(writer: asyncio.StreamWriter, path: str, accept: str = "application/json") -> None:
    writer.write(f"GET {path} HTTP/1.1\r\nHost: bench\r\nAccept: {accept}\r\n\r\n".encode())


async def body(reader: asyncio.StreamReader) -> bytes:
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    assert head.startswith(b"http/1.1 200"), head
    length = next(line.split(b":")[1] for line in head.split(b"\r\n") if line.startswith(b"content-length"))
    return await reader.readexactly(int(length))


async def chunk(reader: asyncio.StreamReader) -> bytes:
    """One chunk of an answer: an event, or several that came together."""
    size = int(await reader.readline(), 16)
    return (await reader.readexactly(size + 2))[:-2]


async def frame(reader: asyncio.StreamReader) -> bytes:
    """The next chunk with events."""
    while EVENT not in (found := await chunk(reader)):
        pass
    return found
