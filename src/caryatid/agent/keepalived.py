# SPDX-License-Identifier: Apache-2.0
"""Keeps an amphora's keepalived alive, tells it whether HAProxy serves, and hears from it who of the pair has the VIPs.

The VIPs are on the interfaces only while a living keepalived says MASTER: what a killed one leaves is taken away.
"""

import asyncio
import contextlib
import ipaddress
import os
import re
import signal
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import structlog

from caryatid.agent import verdict
from caryatid.agent.files import Files
from caryatid.agent.namespace import Namespace, NamespaceError
from caryatid.agent.process import Process, Seen, spawn
from caryatid.agent.supervisor import end_found, end_session
from caryatid.places import write_atomically
from caryatid.wire.heartbeat import Role

STOP_DEADLINE_S = 3.0
BACKOFF_S = (0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0)
"""Before a restart. At once would be too soon: a child that has lost its parent first says good-bye to its peer."""
LIVED_LONG_S = 10.0
SETTLED_S = 0.5
"""Keepalived itself takes the VIPs away first; what is still there this long after is not its own."""
FIFO_BYTES_A_WAKE = 1 << 16
SERVES, SERVES_NOT = "0\n", "-254\n"
"""What the track file adds to the priority; -254 takes the amphora out of the running at once."""
VIP = re.compile(r"^\s+(?P<address>[0-9A-Fa-f.:]+)/\d+ dev (?P<interface>\w+)$", re.MULTILINE)
EVENT = re.compile(rb'^INSTANCE "vips" (?P<state>[A-Z]+)\b', re.MULTILINE)
ROLES: dict[bytes, Role] = {b"MASTER": "MASTER", b"BACKUP": "BACKUP", b"FAULT": "FAULT", b"STOP": "FAULT"}

log = structlog.get_logger()


class Keepalived:
    """The keepalived of one amphora. `told()` is called on the event loop when `role` has changed."""

    def __init__(self, files: Files, namespace: Namespace, program: str, told: Callable[[], None]) -> None:
        self.role: Role | None = None
        """None: it is not one of a pair."""
        self._files = files
        self._namespace = namespace
        self._program = program
        self._told = told
        self._process: Process | None = None
        self._speaker: Process | None = None
        """Its child, which speaks VRRP and has the VIPs. If that dies alone, its parent starts another."""
        self._fifo = -1
        self._heard = b""
        self._attempt = 0
        self._lock = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()

    async def apply(self, text: str, *, serving: bool) -> str:
        """Afterwards keepalived runs with this; with nothing (""): it does not, and no VIP is left.

        Returns what it says against it; then the last good one goes on. Raises OSError, NamespaceError.
        """
        files = self._files
        async with self._lock:
            if not text:
                if self._process or files.keepalived.exists():
                    await self._stop()
                return ""
            text = files.render_paths(text)
            if text != _read(files.keepalived):
                write_atomically(files.keepalived_candidate, text.encode(), durable=False)
                if said := await self._refused(files.keepalived_candidate):
                    return said
                files.keepalived_candidate.replace(files.keepalived)
                if self._process:
                    self._process.signal(signal.SIGHUP)
            if self._process is None:
                self.serve(serving=serving)
                await self._start()
        return ""

    def serve(self, *, serving: bool) -> None:
        """Tell it whether HAProxy serves. It looks as soon as the file has been written."""
        word = SERVES if serving else SERVES_NOT
        if _read(self._files.serving) != word:
            with contextlib.suppress(FileNotFoundError):  # the amphora is gone
                self._files.serving.write_text(word)

    async def adopt(self, found: list[Seen], *, serving: bool) -> None:
        """Take over what runs of an earlier agent; start what should run and does not; end what should not."""
        wanted = self._files.keepalived.exists()
        parents = [seen for seen in found if seen.session == seen.pid] if wanted else []
        async with self._lock:
            await end_found([seen for seen in found if seen.session not in {one.pid for one in parents[:1]}])
            if not wanted:
                return
            self.serve(serving=serving)
            try:
                if not parents or not await self._take(parents[0].pid):
                    await self._start()
            except (OSError, NamespaceError) as error:
                log.exception("keepalived does not start", run=str(self._files.run), error=str(error))
                self._spawn(self._revive())

    async def stop(self) -> None:
        """Afterwards it does not run, no VIP is left, and the peer knows."""
        async with self._lock:
            await self._stop()

    def close(self) -> None:
        """Let go of it without touching it."""
        for task in list(self._tasks):
            task.cancel()
        self._deafen()
        for process in (self._process, self._speaker):
            if process:
                process.release()
        self._process = self._speaker = None

    # -- death and life

    async def _start(self) -> None:
        files = self._files
        for leftover in (files.keepalived_pid, files.vrrp_pid):
            leftover.unlink(missing_ok=True)
        await self._clear()
        self._listen()
        command = [self._program, "--dont-fork", "--vrrp", "--log-console", "--no-syslog"]
        command += ["--use-file", str(files.keepalived)]
        command += ["--pid", str(files.keepalived_pid), "--vrrp_pid", str(files.vrrp_pid)]
        self._process = Process(spawn([*self._namespace.spawn_prefix(), *command], files.keepalived_output), self._died)

    async def _take(self, pid: int) -> bool:
        """Adopt a living one. What it said meanwhile is old: where the VIPs are says it all."""
        self._listen()
        try:
            self._process = Process(pid, self._died)
        except ProcessLookupError:
            return False
        self._attend_speaker()
        os.set_blocking(self._fifo, False)
        with contextlib.suppress(BlockingIOError):
            while os.read(self._fifo, FIFO_BYTES_A_WAKE):
                pass
        role = await asyncio.to_thread(self._seen)
        self._become(self.role or role)
        log.info("keepalived adopted", run=str(self._files.run), pid=pid, role=self.role)
        return True

    def _died(self, process: Process) -> None:
        if self._process is not process:
            return
        self._process = None
        self._attempt = 0 if time.monotonic() - process.since > LIVED_LONG_S else self._attempt
        log.warning("keepalived died", run=str(self._files.run), pid=process.pid)
        self._become("FAULT")
        self._spawn(self._revive(process.pid))

    def _speaker_died(self, process: Process) -> None:
        if self._speaker is process:
            self._speaker = None
            self._spawn(self._clear())

    async def _revive(self, orphaned: int = 0) -> None:
        """Start again after a death, with capped back-off, until it lives."""
        await self._clear()
        while self._process is None:
            await asyncio.sleep(BACKOFF_S[min(self._attempt, len(BACKOFF_S) - 1)])
            self._attempt += 1
            async with self._lock:
                if self._process is not None or not self._files.keepalived.exists():
                    return
                if orphaned:
                    await end_session(orphaned, self._files.keepalived)
                try:
                    await self._start()
                except (OSError, NamespaceError) as error:
                    log.warning("keepalived does not start", run=str(self._files.run), error=str(error))

    async def _stop(self) -> None:
        process, self._process = self._process, None
        if process:
            process.signal(signal.SIGTERM)
            try:
                async with asyncio.timeout(STOP_DEADLINE_S):
                    await process.dead.wait()
            except TimeoutError:
                await end_session(process.pid, self._files.keepalived)
            process.release()
        await self._clear()
        self._deafen()
        self._files.keepalived.unlink(missing_ok=True)
        self._become(None)

    # -- the VIPs

    def _vips(self) -> list[tuple[str, str]]:
        """(interface, address) of each, the first one first, as the stored configuration has them."""
        found = VIP.finditer(_read(self._files.keepalived))
        return [(match["interface"], str(ipaddress.ip_address(match["address"]))) for match in found]

    def _seen(self) -> Role:
        """What it must be, from where the first VIP is."""
        if any(self._namespace.holds(interface, address) for interface, address in self._vips()[:1]):
            return "MASTER"
        return "BACKUP" if _read(self._files.serving) == SERVES else "FAULT"

    async def _clear(self) -> None:
        """No VIP is on an interface. A living keepalived would notice, and stand for election anew."""
        try:
            await asyncio.to_thread(self._drop)
        except (OSError, NamespaceError) as error:
            log.warning("VIPs may be left", run=str(self._files.run), error=str(error))

    def _drop(self) -> None:
        vips = self._vips()
        for interface in dict.fromkeys(interface for interface, _ in vips):
            self._namespace.drop(interface, [address for where, address in vips if where == interface])

    # -- what it says

    def _listen(self) -> None:
        """Both ends of the FIFO are ours too, so that it does not end with keepalived."""
        if self._fifo < 0:
            with contextlib.suppress(FileExistsError):
                os.mkfifo(self._files.vrrp_fifo, 0o600)
            self._fifo = os.open(self._files.vrrp_fifo, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
            self._loop.add_reader(self._fifo, self._hear)

    def _deafen(self) -> None:
        if self._fifo >= 0:
            self._loop.remove_reader(self._fifo)
            os.close(self._fifo)
            self._fifo = -1

    def _hear(self) -> None:
        """The last whole line counts; what is before it is past."""
        with contextlib.suppress(BlockingIOError):
            self._heard += os.read(self._fifo, FIFO_BYTES_A_WAKE)
        whole, _, self._heard = self._heard.rpartition(b"\n")
        states = [ROLES[match["state"]] for match in EVENT.finditer(whole) if match["state"] in ROLES]
        if states and self._process:
            self._attend_speaker()
            self._become(states[-1])

    def _attend_speaker(self) -> None:
        """It goes before all that is not real-time: on a busy host a word that is late is a takeover for nothing.
        (keepalived's own settings for that kill it when it reloads: 2.2.7 then cannot raise its limit of time again.)
        """
        if self._speaker is None:
            with contextlib.suppress(OSError, ValueError):
                self._speaker = Process(int(self._files.vrrp_pid.read_text()), self._speaker_died)
                os.sched_setscheduler(self._speaker.pid, os.SCHED_RR, os.sched_param(1))

    def _become(self, role: Role | None) -> None:
        if role == self.role:
            return
        self.role = role
        log.info("role", run=str(self._files.run), role=role)
        if role in ("BACKUP", "FAULT"):
            self._spawn(self._settle(role))
        self._told()

    async def _settle(self, role: Role) -> None:
        """Who does not have the VIPs does not have them."""
        await asyncio.sleep(SETTLED_S)
        if self.role == role:
            await self._clear()

    async def _refused(self, configuration: Path) -> str:
        """What keepalived says against a configuration; empty if it takes it."""
        words = [*self._namespace.spawn_prefix(), self._program, "--config-test", "--use-file", str(configuration)]
        try:
            return await verdict.against(*words)
        except TimeoutError:
            return "keepalived did not check its configuration in time."

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _read(path: Path) -> str:
    """Empty if there is no such file."""
    try:
        return path.read_text()
    except OSError:
        return ""
