# SPDX-License-Identifier: Apache-2.0
"""Tells the health service what the amphorae look like: changes at once, counters when they move, all of it in turns.

HAProxy logs each change of a server's state to a socket of ours; that wakes a reading of its statistics. What is served
without HAProxy is read beside, and told in messages of its own: its counters do not begin anew with HAProxy.
"""

import asyncio
import contextlib
import random
import socket
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import structlog

from caryatid import metrics
from caryatid.agent import runtime
from caryatid.agent.amphora import Amphora
from caryatid.agent.host import Agent
from caryatid.agent.namespace import NamespaceError
from caryatid.agent.reading import Reading, difference, failed_checks, interpret
from caryatid.agent.sender import Sender
from caryatid.wire.heartbeat import AmphoraMessage, HostMessage, Listener, Pool

DEBOUNCE_S = 0.02
AGAIN_S = 0.2
LOG_BYTES_MAX = 2048
LOG_LINES_A_WAKE = 256
READING_TIMEOUT_S = 3.0
AGAIN_DATAGRAMS_MAX = 4
FIRST_WITHIN_S = 1.0
BEAT_S = 1.0
"""So often the host says that it lives, to all; who has not heard of it asks it to tell everything."""
JITTER = 0.1
AWAY_S = 30
"""An agent that is stopped in order is waited for so long: its HAProxies go on, and an upgrade takes a moment."""
QUESTION_S = 1.0
TOLD_A_SECOND = 200
"""Amphorae of which snapshots are made when all are asked for."""

log = structlog.get_logger()


class Watch:
    """What the reporter keeps of one amphora."""

    def __init__(self, amphora: Amphora) -> None:
        self.amphora = amphora
        self.last: Reading | None = None
        self.wake = asyncio.Event()
        self.edge = False
        """Something happened: read now."""
        self.full = True
        """The next message is a snapshot."""
        self.next_full = 0.0
        """On the monotonic clock."""
        self.sent_at = 0
        """`at` of the newest message about a change."""
        self.log: socket.socket | None = None
        self.task: asyncio.Task[None] | None = None

    def rouse(self, *, full: bool = False) -> None:
        """Read soon."""
        self.edge = True
        self.full = self.full or full
        self.wake.set()


class Reporter:
    """Sends the reports of one agent. `open` connects it to the agent's callbacks; `close` ends it."""

    def __init__(
        self, agent: Agent, key: bytes, targets: list[str], report_interval_s: float, snapshot_interval_s: float
    ) -> None:
        self._agent = agent
        self._interval_s = report_interval_s
        self._snapshot_s = snapshot_interval_s
        self._sender = Sender(key, agent.host_id, agent.boot_id, self._asked)
        self._sender.retarget(targets)
        self._closed = False
        self._at = 0
        self._watches: dict[str, Watch] = {}
        self._asked_at = 0.0
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()

    def open(self) -> None:
        """Start watching and reporting."""
        agent = self._agent
        agent.changed = self._changed
        agent.role_changed = self._recast
        agent.members_changed = self._stirred
        agent.installed = self._installed
        agent.removed = self._removed
        agent.before_reload = self._before_reload
        for amphora in agent.amphorae.values():
            self._watch(amphora)
        self._keep(self._hosts())

    def close(self, away_s: int = AWAY_S) -> None:
        """Stop. The last word is that the host will be heard again within `away_s` seconds; 0: it is not said when."""
        if away_s and not self._closed:
            self._sender.send([HostMessage(host={}, part=(0, 1), away=away_s)], everywhere=True)
        self._closed = True
        for task in list(self._tasks):
            task.cancel()
        for watch in list(self._watches.values()):
            self._unwatch(watch)
        self._sender.close()

    def retarget(self, targets: list[str], report_interval_s: float, snapshot_interval_s: float) -> None:
        """Report elsewhere or at other intervals from now on."""
        self._sender.retarget(targets)
        self._interval_s, self._snapshot_s = report_interval_s, snapshot_interval_s

    def rekey(self, key: bytes) -> None:
        """Sign with this key from now on."""
        self._sender.rekey(key)

    # -- what the agent tells

    def _changed(self, amphora: Amphora) -> None:
        """A process died or lives again: say so at once."""
        watch = self._watch(amphora)
        if not amphora.healthy:
            reading = Reading(amphora.epoch, running=False, at=self._now())
            self._send_edge(watch, self._message(watch, reading, full=False))
            watch.last = None
        watch.rouse(full=True)

    def _recast(self, amphora: Amphora) -> None:
        """It has another part in its pair: say so at once, and no more than that."""
        if not amphora.gone:
            watch = self._watch(amphora)
            reading = Reading(amphora.epoch, running=amphora.healthy, at=self._now())
            self._send_edge(watch, self._message(watch, reading, full=False))

    def _stirred(self, amphora: Amphora) -> None:
        """A member works, or does not any more, and it was not HAProxy that said so."""
        if not amphora.gone:
            self._watch(amphora).rouse()

    def _installed(self, amphora: Amphora) -> None:
        if not amphora.gone:
            self._watch(amphora).rouse(full=True)

    def _removed(self, amphora: Amphora) -> None:
        if watch := self._watches.pop(amphora.id, None):
            self._unwatch(watch)

    async def _before_reload(self, amphora: Amphora) -> None:
        """The counters are about to begin at zero: send how far they came."""
        watch = self._watch(amphora)
        if reading := await self._read(watch):
            self._sender.send([self._message(watch, reading, full=False, listeners=reading.listeners)])

    # -- one amphora

    def _watch(self, amphora: Amphora) -> Watch:
        watch = self._watches.get(amphora.id)
        if watch is None or watch.amphora is not amphora:
            watch = self._watches[amphora.id] = Watch(amphora)
            watch.task = self._keep(self._attend(watch))
        if watch.log is None and amphora.files.run.is_dir():
            self._listen(watch)
        return watch

    def _unwatch(self, watch: Watch) -> None:
        if watch.task:
            watch.task.cancel()
        if watch.log:
            self._loop.remove_reader(watch.log)
            watch.log.close()
            watch.log = None

    def _listen(self, watch: Watch) -> None:
        path = watch.amphora.files.log_socket
        path.unlink(missing_ok=True)
        receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        try:
            receiver.bind(str(path))
            watch.amphora.files.give_to_worker(path)
        except OSError as error:
            receiver.close()
            log.warning("no log socket", amphora=watch.amphora.id, error=str(error))
            return
        watch.log = receiver
        self._loop.add_reader(receiver, self._logged, watch, receiver)

    def _logged(self, watch: Watch, receiver: socket.socket) -> None:
        with contextlib.suppress(BlockingIOError):
            for _ in range(LOG_LINES_A_WAKE):
                receiver.recv(LOG_BYTES_MAX)
        watch.rouse()

    async def _attend(self, watch: Watch) -> None:
        """Read on every event and once an interval; send what is new."""
        watch.next_full = time.monotonic() + self._snapshot_s * random.random()  # noqa: S311 - spreads load
        pause = min(self._interval_s, FIRST_WITHIN_S) * random.random()  # noqa: S311
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await watch.wake.wait()
                    await asyncio.sleep(DEBOUNCE_S)
            edge = watch.edge
            watch.wake.clear()
            watch.edge = False
            try:
                await self._report(watch, edge=edge)
            except Exception:
                log.exception("report failed", amphora=watch.amphora.id)
            pause = self._interval_s * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 - spreads load

    async def _report(self, watch: Watch, *, edge: bool) -> None:
        reading = await self._read(watch)
        if reading is None:
            return
        now = time.monotonic()
        last = watch.last
        if last is None or watch.full or now >= watch.next_full or last.epochs != reading.epochs:
            watch.full = False
            watch.next_full = now + self._snapshot_s
            messages = list(self._snapshot(watch, reading))
        else:
            messages = list(self._news(watch, last, reading))
        watch.last = reading
        if edge and messages:
            self._send_edge(watch, *messages)
        elif messages:
            self._sender.send(messages)

    def _snapshot(self, watch: Watch, reading: Reading) -> Iterator[AmphoraMessage]:
        """All there is to say: together, as they are of the same moment, they are the whole."""
        for one in (reading, reading.beside):
            if one is not None:
                yield self._message(watch, one, full=reading.running, listeners=one.listeners, pools=one.pools)

    def _news(self, watch: Watch, last: Reading, reading: Reading) -> Iterator[AmphoraMessage]:
        for old, new in ((last, reading), (last.beside, reading.beside)):
            listeners, pools = difference(old, new) if old and new else ({}, {})
            if new and (listeners or pools):
                yield self._message(watch, new, full=False, listeners=listeners, pools=pools)

    async def _read(self, watch: Watch) -> Reading | None:
        """None if nothing can be said now; a death is told by the supervisor."""
        reading, datagrams = await self._ask(watch), watch.amphora.datagrams
        if reading is None or datagrams is None:
            return reading
        try:
            beside = await datagrams.read()
        except NamespaceError as error:
            log.warning("datagrams not read", amphora=watch.amphora.id, reason=str(error))
            return None
        return replace(reading, beside=replace(beside, at=reading.at, running=reading.running)) if beside else reading

    async def _ask(self, watch: Watch) -> Reading | None:
        """HAProxy, if there is one."""
        amphora = watch.amphora
        epoch, at = amphora.epoch, self._now()
        if not amphora.wanted:
            return Reading(epoch, running=True, at=at)
        if amphora.process is None:
            return Reading(epoch, running=False, at=at) if not amphora.lock.locked() else None
        try:
            reading = runtime.statistics_of(amphora.files.stats_socket, amphora.worker)
            rows = await asyncio.wait_for(reading, READING_TIMEOUT_S)
        except (runtime.RuntimeUnavailable, TimeoutError):
            return None
        if rows is None or amphora.epoch != epoch:
            return None
        listeners, pools = interpret(rows)
        return Reading(epoch, True, at, listeners, pools, failed_checks(rows))

    # -- the host

    async def _hosts(self) -> None:
        """The host lives, also when nothing else is to be said; and, once an interval, has these amphorae."""
        next_whole = 0.0
        while True:
            whole = time.monotonic() >= next_whole
            records = [amphora.record for amphora in self._agent.amphorae.values()] if whole else []
            down = sum(1 for amphora in self._agent.amphorae.values() if not amphora.healthy)
            metrics.AGENT_AMPHORAE.labels("down").set(down)
            metrics.AGENT_AMPHORAE.labels("running").set(len(self._agent.amphorae) - down)
            entries = {record.amphora_id: (record.hash, record.generation) for record in records}
            self._sender.send([HostMessage(host=entries, part=(0, 1))], everywhere=True)
            if whole:
                next_whole = time.monotonic() + self._interval_s
                self._sender.next_turn()
            await asyncio.sleep(min(BEAT_S, self._interval_s))

    def _asked(self) -> None:
        """Somebody wants to be told everything."""
        now = time.monotonic()
        if now >= self._asked_at + QUESTION_S:
            self._asked_at = now
            for number, watch in enumerate(list(self._watches.values())):
                self._loop.call_later(number / TOLD_A_SECOND, partial(watch.rouse, full=True))

    # -- sending

    def _message(
        self,
        watch: Watch,
        reading: Reading,
        *,
        full: bool,
        listeners: dict[str, Listener] | None = None,
        pools: dict[str, Pool] | None = None,
    ) -> AmphoraMessage:
        record = watch.amphora.record
        message = AmphoraMessage(
            amphora_id=record.amphora_id,
            loadbalancer_id=record.loadbalancer_id,
            generation=record.generation,
            epoch=reading.epoch,
            at=reading.at,
            full=full,
            running=reading.running,
            part=(0, 1),
            listeners=listeners or {},
            pools=pools or {},
        )
        down = (member for _, members in (pools or {}).values() for member, seen in members.items() if seen == "DOWN")
        if checks := {member: reading.checks[member] for member in down if member in reading.checks}:
            message["checks"] = checks
        if watch.amphora.failed and not reading.running:
            message["failed"] = True
        if watch.amphora.wanting:
            message["wanting"] = True
        if watch.amphora.role:
            message["role"] = watch.amphora.role
        return message

    def _send_edge(self, watch: Watch, *messages: AmphoraMessage) -> None:
        """To every target, and once more shortly after if nothing newer was sent meanwhile: datagrams get lost."""
        watch.sent_at = messages[-1]["at"]
        if self._sender.send(messages, everywhere=True) <= AGAIN_DATAGRAMS_MAX:
            self._loop.call_later(AGAIN_S, self._send_again, watch, messages)

    def _send_again(self, watch: Watch, messages: Sequence[AmphoraMessage]) -> None:
        if watch.sent_at == messages[-1]["at"] and not self._closed:
            self._sender.send(messages, everywhere=True)

    def _now(self) -> int:
        """Milliseconds since the epoch, always rising, so that a later reading is known as such."""
        self._at = max(self._at + 1, time.time_ns() // 1_000_000)
        return self._at

    def _keep(self, work: Any) -> asyncio.Task[None]:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
