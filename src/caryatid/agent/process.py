# SPDX-License-Identifier: Apache-2.0
"""Processes that outlive us: started in their own session, told apart by pid and start time, watched by pidfd."""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
PROC = Path("/proc")
STAT_START = 19
"""Where the start time is among the fields of /proc/<pid>/stat that follow the command's name (proc(5))."""


@dataclass(frozen=True)
class Seen:
    """A line of the process table."""

    pid: int
    parent: int
    session: int
    start: int
    """Clock ticks after boot; with the pid it names one process for ever."""
    command: tuple[str, ...]


def look(pid: int) -> Seen | None:
    """The living process with this pid; None if there is none or it is only waiting to be reaped."""
    try:
        fields = (PROC / str(pid) / "stat").read_bytes().rpartition(b")")[2].split()
        command = (PROC / str(pid) / "cmdline").read_bytes().decode(errors="replace").rstrip("\0").split("\0")
    except OSError:
        return None
    if len(fields) <= STAT_START or fields[0] in (b"Z", b"X"):
        return None
    return Seen(pid, int(fields[1]), int(fields[3]), int(fields[STAT_START]), tuple(command))


def table() -> Iterator[Seen]:
    """All living processes that we may see. Reads /proc once: some milliseconds."""
    for entry in os.scandir(PROC):
        if entry.name.isdigit() and (seen := look(int(entry.name))) and seen.command != ("",):
            yield seen


def started_at(start_ticks: int) -> float:
    """Start time in seconds since the epoch."""
    now_since_boot = time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.time() - now_since_boot + start_ticks / TICKS_A_SECOND


class Process:
    """One living process, ours or adopted. `dead` is set, and `on_death` called, as soon as it ends."""

    def __init__(self, pid: int, on_death: Callable[["Process"], None]) -> None:
        """Raises ProcessLookupError if there is none with this pid."""
        self._descriptor = os.pidfd_open(pid)
        seen = look(pid)
        self.pid = pid
        self.start = seen.start if seen else 0
        self.since = time.monotonic()
        """When we first saw it, on the monotonic clock."""
        self.dead = asyncio.Event()
        self.status: int | None = None
        """What it ended with, if it ended by itself and was started by this agent; 128 and more: another's signal."""
        self._on_death = on_death
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._descriptor, self._ended)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal; it cannot reach another process that got the same pid."""
        with contextlib.suppress(ProcessLookupError, OSError):
            signal.pidfd_send_signal(self._descriptor, number)

    def release(self) -> None:
        """Stop watching it."""
        if self._descriptor >= 0:
            self._loop.remove_reader(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = -1

    def _ended(self) -> None:
        self.release()
        with contextlib.suppress(ChildProcessError):
            found = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG)
            if found is not None and found.si_code == os.CLD_EXITED:
                self.status = found.si_status
        self.dead.set()
        self._on_death(self)


def spawn(command: list[str], output: Path) -> int:
    """Start a program in a session of its own, appending what it says to a file; return its pid. Raises OSError."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    return os.posix_spawn(
        command[0],
        command,
        {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"},
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(output), flags, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
        setsigmask=[],
        setsigdef=[signal.SIGPIPE, signal.SIGINT, signal.SIGTERM],
    )


def members(session: int, argument: str) -> list[Seen]:
    """Processes of a session that have this argument: after its leader's death the number alone could be another's."""
    return [seen for seen in table() if seen.session == session and argument in seen.command]
