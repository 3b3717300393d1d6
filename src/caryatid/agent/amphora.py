# SPDX-License-Identifier: Apache-2.0
"""One amphora as the agent holds it in memory."""

import asyncio
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from caryatid.agent.files import Files, Record
from caryatid.agent.namespace import Namespace, find
from caryatid.agent.process import Process, look, started_at
from caryatid.wire.agent import AmphoraState, Configuration, Secrets, Server, Stale
from caryatid.wire.heartbeat import Role
from caryatid.wire.network import Plug

if TYPE_CHECKING:
    from caryatid.agent.datagrams import Datagrams
    from caryatid.agent.keepalived import Keepalived

FAILED_ATTEMPTS = 3
FAILED_S = 2.0


class Amphora:
    """Its record, its server table, its process. Whoever changes any of them holds `lock`."""

    def __init__(self, record: Record, files: Files) -> None:
        self.record = record
        self.files = files
        self.servers: dict[tuple[str, str], Server] = {}
        """The table in effect, by (backend, name)."""
        self.leaving: set[tuple[str, str]] = set()
        """Removed servers that still had connections: in maintenance until a later sweep or reload takes them away."""
        self.keyed = False
        """Its configuration names keys."""
        self.wanting = False
        """Some of them are not here any more; whoever has them shall send them."""
        self.wanted = False
        """Its configuration has a frontend, so a process must live."""
        self.process: Process | None = None
        self.worker = 0
        self.epoch = ""
        """Names the worker whose counters `show stat` gives; changes when they restart at zero."""
        self.restarts = 0
        """Unexpected deaths that we have seen."""
        self.attempt = 0
        self.reviving = False
        self.down_at = 0.0
        """When its process died, or was found dead, on the monotonic clock."""
        self.newest = record.order
        """The highest (fence, generation) that was ever asked for, also if it still waits for the lock."""
        self.gone = False
        self.space: Namespace | None = None
        """Where its processes run; None: in the host's own network."""
        self.keepalived: Keepalived | None = None
        """Only in a namespace."""
        self.datagrams: Datagrams | None = None
        """Only in a namespace."""
        self.lock = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def id(self) -> str:
        return self.record.amphora_id

    @property
    def healthy(self) -> bool:
        """It does what its configuration asks for."""
        return self.process is not None or not self.wanted

    @property
    def failed(self) -> bool:
        """It is not to be had again here, as far as can be told: it should be replaced elsewhere."""
        long = time.monotonic() - self.down_at >= FAILED_S
        return self.reviving and not self.healthy and not self.wanting and (long or self.attempt >= FAILED_ATTEMPTS)

    @property
    def role(self) -> Role | None:
        """Its part in its pair now; None: it is not one of a pair."""
        return self.keepalived.role if self.keepalived else None

    def note(self, record: Record) -> None:
        """Remember this, also after a crash."""
        self.record = record
        self.files.save_record(record, durable=True)

    def prefix(self) -> list[str]:
        """What to put before a command so that it runs in its network, with no more open files than it needs."""
        if self.space is None:
            return []
        files = [find("prlimit") or "prlimit", f"--nofile={self.files.open_files()}", "--"] if self.files.uid else []
        return [*self.space.spawn_prefix(), *files]

    def note_worker(self, pid: int) -> None:
        """Remember whose counters count from now on."""
        seen = look(pid)
        self.worker = pid
        self.epoch = f"{seen.start if seen else 0}.{pid}"

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something in the background for as long as the amphora is here."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def close(self) -> None:
        """Let go of the process without touching it."""
        self.gone = True
        for task in list(self._tasks):
            task.cancel()
        if self.process:
            self.process.release()
            self.process = None
        if self.keepalived:
            self.keepalived.close()
        if self.datagrams:
            self.datagrams.close()

    def state(self) -> dict[str, Any]:
        """Members of AmphoraState."""
        record = self.record
        return AmphoraState(
            amphora_id=record.amphora_id,
            loadbalancer_id=record.loadbalancer_id,
            hash=record.hash,
            base_hash=record.base_hash,
            generation=record.generation,
            fence=record.fence,
            running=self.healthy,
            pid=self.process.pid if self.process else None,
            started_at=started_at(self.process.start) if self.process else None,
        ).model_dump()


@asynccontextmanager
async def in_turn(amphora: Amphora, wanted: Configuration | Plug | Secrets) -> AsyncIterator[Stale | None]:
    """The amphora's lock is held. Or there is a refusal: something newer has been asked for, before, or while this
    waited for the lock. So of those that wait, only the one with the highest (fence, generation) is obeyed."""
    order = wanted.fence, wanted.generation
    if order < amphora.newest:
        yield stale(amphora.id, amphora.newest)
        return
    amphora.newest = order
    async with amphora.lock:
        late = order < amphora.newest or amphora.gone
        yield stale(amphora.id, amphora.newest) if late else None


def stale(amphora_id: str, newest: tuple[int, int]) -> Stale:
    fence, generation = newest
    said = f"Amphora {amphora_id} was asked for generation {generation} with fence {fence} before."
    return Stale(reason=said, fence=fence)
