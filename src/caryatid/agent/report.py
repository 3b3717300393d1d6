# SPDX-License-Identifier: Apache-2.0
"""Tells the health service what the amphorae look like: changes at once, counters when they move, all of it in turns.

HAProxy logs each change of a server's state to a socket of ours; that wakes a reading of its statistics.
"""

import asyncio
import contextlib
import random
import socket
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import structlog

from caryatid.agent import runtime
from caryatid.agent.amphora import Amphora
from caryatid.agent.host import Agent
from caryatid.wire.heartbeat import (
    AmphoraMessage,
    Header,
    HostMessage,
    Listener,
    MemberStatus,
    Message,
    Pool,
    is_question,
    pack,
)

DEBOUNCE_S = 0.02
AGAIN_S = 0.2
LOG_BYTES_MAX = 2048
LOG_LINES_A_WAKE = 256
READING_TIMEOUT_S = 3.0
AGAIN_DATAGRAMS_MAX = 4
BURST_DATAGRAMS = 16
BURST_PAUSE_S = 0.003
FIRST_WITHIN_S = 1.0
BEAT_S = 2.0
"""So often the host says that it lives; who has not heard of it asks it to tell everything."""
QUESTION_S = 1.0
QUESTION_BYTES_MAX = 64
TOLD_A_SECOND = 200
"""Amphorae of which snapshots are made when all are asked for."""
MEMBER_STATUS: dict[str, MemberStatus] = {
    "UP": "UP",
    "DOWN": "DOWN",
    "NOLB": "DRAIN",
    "DRAIN": "DRAIN",
    "MAINT": "MAINT",
    "no check": "no check",
}
Target = tuple[socket.AddressFamily, tuple[str, int]]

log = structlog.get_logger()


@dataclass(frozen=True)
class Reading:
    """What one amphora's HAProxy said."""

    epoch: str
    running: bool
    at: int
    listeners: dict[str, Listener] = field(default_factory=dict)
    pools: dict[str, Pool] = field(default_factory=dict)


def interpret(rows: Iterable[runtime.Row]) -> tuple[dict[str, Listener], dict[str, Pool]]:
    """Read `show stat`: frontends are listeners, backends `<pool id>:<listener id>` are pools, servers are members."""
    listeners: dict[str, Listener] = {}
    pools: dict[str, Pool] = {}
    for row in rows:
        if row.kind == runtime.FRONTEND:
            full = 0 < row.sessions_max <= row.sessions
            counters = (row.bytes_in, row.bytes_out, row.sessions, row.sessions_total, row.request_errors)
            listeners[row.proxy] = ("FULL" if full else "OPEN", *counters)
        elif row.kind == runtime.BACKEND:
            members = pools[row.proxy][1] if row.proxy in pools else {}
            pools[row.proxy] = ("UP" if row.status.startswith("UP") else "DOWN", members)
        elif row.kind == runtime.SERVER:
            members = pools.setdefault(row.proxy, ("DOWN", {}))[1]
            members[row.name] = _member_status(row.status)
    return listeners, pools


def _member_status(status: str) -> MemberStatus:
    """`UP 1/3` is a server about to go down; `MAINT (via …)` one that follows another."""
    return MEMBER_STATUS.get(status) or MEMBER_STATUS.get(status.partition(" ")[0], "DOWN")


def difference(old: Reading, new: Reading) -> tuple[dict[str, Listener], dict[str, Pool]]:
    """What is new. A pool carries only the members that changed."""
    listeners = {key: value for key, value in new.listeners.items() if value != old.listeners.get(key)}
    pools: dict[str, Pool] = {}
    for key, (status, members) in new.pools.items():
        was, before = old.pools.get(key, ("", {}))
        changed = {member: seen for member, seen in members.items() if before.get(member) != seen}
        if changed or status != was:
            pools[key] = (status, changed)
    return listeners, pools


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
        self._key = key
        self._interval_s = report_interval_s
        self._snapshot_s = snapshot_interval_s
        self._targets = [_address(target) for target in targets]
        self._closed = False
        self._turn = 0
        self._sequence = 0
        self._at = 0
        self._watches: dict[str, Watch] = {}
        self._sockets: dict[socket.AddressFamily, socket.socket] = {}
        self._asked_at = 0.0
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()

    def open(self) -> None:
        """Start watching and reporting."""
        agent = self._agent
        agent.changed = self._changed
        agent.installed = self._installed
        agent.removed = self._removed
        agent.before_reload = self._before_reload
        for amphora in agent.amphorae.values():
            self._watch(amphora)
        self._keep(self._hosts())

    def close(self) -> None:
        """Stop. Nothing is sent any more."""
        self._closed = True
        for task in list(self._tasks):
            task.cancel()
        for watch in list(self._watches.values()):
            self._unwatch(watch)
        for sender in self._sockets.values():
            self._loop.remove_reader(sender)
            sender.close()
        self._sockets.clear()

    def retarget(self, targets: list[str], report_interval_s: float, snapshot_interval_s: float) -> None:
        """Report elsewhere or at other intervals from now on."""
        self._targets = [_address(target) for target in targets]
        self._interval_s, self._snapshot_s = report_interval_s, snapshot_interval_s

    # -- what the agent tells

    def _changed(self, amphora: Amphora) -> None:
        """A process died or lives again: say so at once."""
        watch = self._watch(amphora)
        if not amphora.healthy:
            reading = Reading(amphora.epoch, running=False, at=self._now())
            self._send_edge(watch, self._message(watch, reading, full=False))
            watch.last = None
        watch.rouse(full=True)

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
            self._send([self._message(watch, reading, full=False, listeners=reading.listeners)])

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
            pause = self._interval_s

    async def _report(self, watch: Watch, *, edge: bool) -> None:
        reading = await self._read(watch)
        if reading is None:
            return
        now = time.monotonic()
        last = watch.last
        if last is None or watch.full or now >= watch.next_full or last.epoch != reading.epoch:
            watch.full = False
            watch.next_full = now + self._snapshot_s
            message = self._message(
                watch, reading, full=reading.running, listeners=reading.listeners, pools=reading.pools
            )
        else:
            listeners, pools = difference(last, reading)
            message = self._message(watch, reading, full=False, listeners=listeners, pools=pools)
            if not listeners and not pools:
                return
        watch.last = reading
        if edge:
            self._send_edge(watch, message)
        else:
            self._send([message])

    async def _read(self, watch: Watch) -> Reading | None:
        """None if nothing can be said now; a death is told by the supervisor."""
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
        return Reading(epoch, True, at, listeners, pools)

    # -- the host

    async def _hosts(self) -> None:
        """The host lives, also when nothing else is to be said; and, once an interval, has these amphorae."""
        next_whole = 0.0
        while True:
            whole = time.monotonic() >= next_whole
            records = [amphora.record for amphora in self._agent.amphorae.values()] if whole else []
            entries = {record.amphora_id: (record.hash, record.generation) for record in records}
            self._send([HostMessage(host=entries, part=(0, 1))])
            if whole:
                next_whole = time.monotonic() + self._interval_s
                self._turn += 1
            await asyncio.sleep(min(BEAT_S, self._interval_s))

    def _heard(self, receiver: socket.socket) -> None:
        """Somebody answers our reports: who has the key may ask for everything."""
        try:
            datagram = receiver.recv(QUESTION_BYTES_MAX)
        except OSError:
            return
        now = time.monotonic()
        if now >= self._asked_at + QUESTION_S and is_question(datagram, self._key, self._agent.boot_id):
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
        return AmphoraMessage(
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

    def _send_edge(self, watch: Watch, message: AmphoraMessage) -> None:
        """To every target, and once more shortly after if nothing newer was sent meanwhile: datagrams get lost."""
        watch.sent_at = message["at"]
        if self._send([message], everywhere=True) <= AGAIN_DATAGRAMS_MAX:
            self._loop.call_later(AGAIN_S, self._send_again, watch, message)

    def _send_again(self, watch: Watch, message: AmphoraMessage) -> None:
        if watch.sent_at == message["at"] and not self._closed:
            self._send([message], everywhere=True)

    def _send(self, messages: list[Message], *, everywhere: bool = False) -> int:
        """Send to the target whose turn it is, or to all; returns the number of datagrams for one."""
        if not self._targets:
            return 0
        count = 0
        targets = self._targets if everywhere else [self._targets[self._turn % len(self._targets)]]
        for target in targets:
            header = Header(self._agent.host_id, self._agent.boot_id, self._sequence)
            datagrams = pack(self._key, header, messages)
            count = len(datagrams)
            self._sequence += count
            self._emit(target, datagrams)
        return count

    def _emit(self, target: Target, datagrams: list[bytes]) -> None:
        """Hand datagrams to the kernel, in bursts: a receiver's buffer holds about ninety, more would be lost."""
        if self._closed:
            return
        family, address = target
        sender = self._sender(family)
        for datagram in datagrams[:BURST_DATAGRAMS]:
            with contextlib.suppress(OSError):
                sender.sendto(datagram, address)
        if rest := datagrams[BURST_DATAGRAMS:]:
            self._loop.call_later(BURST_PAUSE_S, self._emit, target, rest)

    def _sender(self, family: socket.AddressFamily) -> socket.socket:
        if family not in self._sockets:
            sender = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
            self._loop.add_reader(sender, self._heard, sender)
            self._sockets[family] = sender
        return self._sockets[family]

    def _now(self) -> int:
        """Milliseconds since the epoch, always rising, so that a later reading is known as such."""
        self._at = max(self._at + 1, time.time_ns() // 1_000_000)
        return self._at

    def _keep(self, work: Any) -> asyncio.Task[None]:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _address(target: str) -> Target:
    """`ip:port` or `[ip]:port`."""
    host, _, port = target.rpartition(":")
    host = host.strip("[]")
    return (socket.AF_INET6 if ":" in host else socket.AF_INET), (host, int(port))
