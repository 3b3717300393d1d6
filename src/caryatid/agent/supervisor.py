# SPDX-License-Identifier: Apache-2.0
"""Keeps each amphora's HAProxy alive: starts, reloads, stops, adopts, and starts again what died."""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import structlog

from caryatid import metrics
from caryatid.agent import runtime
from caryatid.agent.amphora import FAILED_ATTEMPTS, FAILED_S, Amphora
from caryatid.agent.process import Process, Seen, members, spawn

START_DEADLINE_S = 15.0
RELOAD_DEADLINE_S = 15.0
STOP_DEADLINE_S = 2.0
KILLED = 128
"""A master ends with this and more when it, or its worker, was ended by a signal: no word on the configuration."""
POLL_FIRST_S = 0.002
POLL_LAST_S = 0.05
BACKOFF_S = (0.0, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0)
LIVED_LONG_S = 10.0

log = structlog.get_logger()


@dataclass(frozen=True)
class Failure:
    """HAProxy did not do it."""

    said: str
    """What it wrote meanwhile."""
    refused: bool
    """It said no, as opposed to not being ready in time."""


class Supervisor:
    """Watches the HAProxies of one host. The callbacks are called on the event loop.

    `changed(amphora)`: a process died or lives again. `before_reload(amphora)`: its counters are about to restart.
    """

    def __init__(
        self, haproxy: str, changed: Callable[[Amphora], None], before_reload: Callable[[Amphora], Awaitable[None]]
    ) -> None:
        self._haproxy = haproxy
        self._changed = changed
        self._before_reload = before_reload

    # -- wanted by install

    async def start(self, amphora: Amphora) -> Failure | None:
        """Start HAProxy with the stored configuration and wait until it serves. The caller holds the lock."""
        files = amphora.files
        if files.arrange_keys():
            self._miss_keys(amphora)
            return Failure("Keys that the configuration names are not in memory.", refused=False)
        amphora.wanting = False
        for socket in (files.stats_socket, files.master_socket):
            socket.unlink(missing_ok=True)
        files.server_state.write_text(f"1\n{runtime.STATE_HEADER}\n")
        files.trim_output()
        offset = files.output_size()
        command = [*amphora.prefix(), self._haproxy, "-W"]
        command += ["-S", f"{files.master_socket},mode,600", "-f", str(files.configuration)]
        try:
            process = self._watch(amphora, spawn(command, files.output))
        except OSError as error:
            return Failure(f"{self._haproxy} cannot be started: {error.strerror}", refused=False)
        worker = await self._serving(amphora, process, START_DEADLINE_S, lambda _: True)
        if worker is None or process.dead.is_set():
            refused = process.dead.is_set() and process.status is not None and process.status < KILLED
            await self._end(amphora, process)
            return Failure(files.output_since(offset), refused)
        amphora.process = process
        amphora.note_worker(worker)
        files.give_made()
        amphora.record = amphora.record.model_copy(update={"pid": process.pid, "pid_start": process.start})
        files.save_record(amphora.record, durable=False)
        self._changed(amphora)
        return None

    def _miss_keys(self, amphora: Amphora) -> None:
        """They were in memory alone. That they are gone is told at once, and again as long as it is so."""
        if not amphora.wanting:
            amphora.wanting = True
            log.warning("keys are not in memory", amphora=amphora.id)
            self._changed(amphora)

    def look_after_keys(self, amphora: Amphora) -> None:
        """Its names stand for what they should, and nothing else is kept. The caller holds the lock."""
        if amphora.files.arrange_keys():
            self._miss_keys(amphora)
        else:
            amphora.files.prune_keys()

    async def reload(self, amphora: Amphora) -> Failure | None:
        """Make HAProxy read the stored configuration anew, without losing connections. The caller holds the lock."""
        process, files = amphora.process, amphora.files
        if process is None:
            return Failure("no process", refused=False)
        await self._before_reload(amphora)
        files.trim_output()
        offset = files.output_size()
        try:
            before = await runtime.processes(files.master_socket, runtime.CALL_TIMEOUT_S)
        except runtime.RuntimeUnavailable as error:
            return Failure(str(error), refused=False)
        process.signal(signal.SIGUSR2)
        try:
            async with asyncio.timeout(RELOAD_DEADLINE_S):
                good = await _reloaded(amphora, process, before)
        except TimeoutError:
            return Failure(files.output_since(offset), refused=False)
        if not good:
            return Failure(files.output_since(offset), refused=not process.dead.is_set())
        worker = await self._serving(amphora, process, RELOAD_DEADLINE_S, lambda pid: pid not in before.workers)
        if worker is None:
            return Failure(files.output_since(offset), refused=False)
        amphora.note_worker(worker)
        files.give_made()
        return None

    async def stop(self, amphora: Amphora) -> None:
        """Afterwards no process of the amphora is left. The caller holds the lock."""
        process, amphora.process, amphora.worker = amphora.process, None, 0
        if process is not None:
            await self._end(amphora, process)
        elif amphora.record.pid:
            await end_session(amphora.record.pid, amphora.files.configuration)

    async def end_orphans(self, amphora: Amphora, master: int, *, softly: bool = True) -> None:
        """End the workers of a dead master, which otherwise would go on serving what was wanted then."""
        alive = amphora.process.pid if amphora.process else 0
        if master and master != alive:
            await end_session(master, amphora.files.configuration, softly=softly)

    # -- death and life

    async def adopt(self, amphora: Amphora, found: list[Seen]) -> None:
        """Take over what runs of an earlier agent; start what should run and does not; end what should not."""
        files, record = amphora.files, amphora.record
        masters = [seen for seen in found if seen.session == seen.pid]
        masters.sort(key=lambda seen: (seen.pid, seen.start) == (record.pid, record.pid_start), reverse=True)
        async with amphora.lock:
            amphora.wanted = files.has_frontend()
            if masters and amphora.wanted and await self._take(amphora, masters[0]):
                if (masters[0].pid, masters[0].start) != (record.pid, record.pid_start):
                    update = {"pid": masters[0].pid, "pid_start": masters[0].start, "hash": "", "base_hash": ""}
                    amphora.record = record.model_copy(update=update)
            elif amphora.wanted:
                await self._revive_once(amphora)
            kept = amphora.process.pid if amphora.process else 0
        for session in {seen.session for seen in found} - {kept}:
            await end_session(session, files.configuration, softly=kept != 0)
        self._changed(amphora)
        if not amphora.healthy:
            amphora.spawn(self._revive(amphora))

    async def _take(self, amphora: Amphora, master: Seen) -> bool:
        """Adopt one master if its worker answers."""
        try:
            process = self._watch(amphora, master.pid)
        except OSError:
            return False
        worker = await self._serving(amphora, process, STOP_DEADLINE_S, lambda _: True)
        if worker is None or process.dead.is_set():
            await self._end(amphora, process)
            return False
        amphora.process = process
        amphora.note_worker(worker)
        log.info("adopted", amphora=amphora.id, pid=master.pid)
        return True

    def _watch(self, amphora: Amphora, pid: int) -> Process:
        return Process(pid, lambda process: self._died(amphora, process))

    def _died(self, amphora: Amphora, process: Process) -> None:
        """Nobody here asked it to end: whoever does takes it from its amphora first."""
        if amphora.process is not process or amphora.gone:
            return
        amphora.process = None
        amphora.restarts += 1
        metrics.AGENT_RESTARTS.inc()
        if time.monotonic() - process.since > LIVED_LONG_S:
            amphora.attempt = 0
        log.warning("haproxy died", amphora=amphora.id, pid=process.pid)
        self._changed(amphora)
        if not amphora.reviving:
            amphora.spawn(self._revive(amphora))

    async def _revive(self, amphora: Amphora) -> None:
        """Start again after a death, with capped back-off, until it lives. That it has failed is told at once."""
        amphora.reviving = True
        amphora.down_at = time.monotonic()
        telling = asyncio.get_running_loop().call_later(FAILED_S, self._changed, amphora)
        try:
            while not amphora.healthy and not amphora.gone:
                await asyncio.sleep(BACKOFF_S[min(amphora.attempt, len(BACKOFF_S) - 1)])
                async with amphora.lock:
                    if amphora.healthy or amphora.gone:
                        return
                    amphora.attempt += 1
                    await self._revive_once(amphora)
                if amphora.attempt == FAILED_ATTEMPTS and not amphora.gone:
                    self._changed(amphora)
        finally:
            telling.cancel()
            amphora.reviving = False

    async def _revive_once(self, amphora: Amphora) -> None:
        """The stored configuration, or else the last good one. What an old master left ends after that: hitless."""
        files, orphaned = amphora.files, amphora.record.pid
        failure = await self.start(amphora)
        if amphora.wanting:  # what the old master left serves meanwhile
            return
        other = files.good.exists() and not files.good.samefile(files.configuration)
        if failure is not None and failure.refused and other:
            files.configuration.unlink()
            files.configuration.hardlink_to(files.good)
            amphora.record = amphora.record.model_copy(update={"hash": "", "base_hash": ""})
            failure = await self.start(amphora)
        if failure is not None:
            log.error("haproxy does not start", amphora=amphora.id, said=failure.said[-1000:])
        await self.end_orphans(amphora, orphaned, softly=failure is None)

    async def _serving(
        self, amphora: Amphora, process: Process, deadline_s: float, expected: Callable[[int], bool]
    ) -> int | None:
        """Wait for an expected worker to answer; its pid, or None when the master died or time is up."""
        pause = POLL_FIRST_S
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(deadline_s):
                while not process.dead.is_set():
                    with contextlib.suppress(runtime.RuntimeUnavailable):
                        information = await runtime.information(amphora.files.stats_socket, 1.0)
                        worker = int(information.get("Pid", 0))
                        if worker and expected(worker) and information.get("Stopping") == "0":
                            return worker
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(pause):
                            await process.dead.wait()
                    pause = min(pause * 1.3, POLL_LAST_S)
        return None

    async def _end(self, amphora: Amphora, process: Process) -> None:
        if amphora.process is process:
            amphora.process = None
        process.signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(STOP_DEADLINE_S):
                await process.dead.wait()
        except TimeoutError:
            await end_session(process.pid, amphora.files.configuration)
        process.release()


async def _reloaded(amphora: Amphora, process: Process, before: runtime.Processes) -> bool:
    """Wait for the end of a reload: a worker that was not there and no failure, or one failure more."""
    pause = POLL_FIRST_S
    while not process.dead.is_set():
        with contextlib.suppress(runtime.RuntimeUnavailable):
            now = await runtime.processes(amphora.files.master_socket)
            if now.failed > before.failed:
                return False
            if now.failed == 0 and set(now.workers) - set(before.workers):
                return True
        await asyncio.sleep(pause)
        pause = min(pause * 1.3, POLL_LAST_S)
    return False


async def end_session(session: int, configuration: Path, *, softly: bool = False) -> None:
    """End what is left of a dead master's session. Softly: listeners close at once, connections may finish."""
    for seen in await asyncio.to_thread(members, session, str(configuration)):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(seen.pid, signal.SIGUSR1 if softly else signal.SIGKILL)


async def end_found(found: list[Seen]) -> None:
    """End processes that nobody watches: masters end their workers; what is left after the deadline is killed."""
    ended = []
    for seen in found:
        with contextlib.suppress(ProcessLookupError):
            process = Process(seen.pid, lambda _: None)
            if process.start == seen.start:
                ended.append(process)
            else:
                process.release()
    for process in ended:
        process.signal(signal.SIGTERM)
    try:
        async with asyncio.timeout(STOP_DEADLINE_S):
            for process in ended:
                await process.dead.wait()
    except TimeoutError:
        for process in ended:
            process.signal(signal.SIGKILL)
            process.release()


def found_by_configuration(
    amphorae_dir: Path, processes: Iterable[Seen], name: str = "haproxy.cfg"
) -> dict[str, list[Seen]]:
    """Living HAProxies (or what else has a configuration of that name) of this agent's amphorae, by amphora id, from
    their command lines."""
    found: dict[str, list[Seen]] = {}
    for seen in processes:
        for argument in seen.command:
            path = Path(argument)
            if path.name == name and path.parent.parent == amphorae_dir:
                found.setdefault(path.parent.name, []).append(seen)
    return found
