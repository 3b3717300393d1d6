# SPDX-License-Identifier: Apache-2.0
"""Waiting with a deadline, free ports, and what /proc says about processes."""

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
PROC = Path("/proc")
TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")


class TooLate(AssertionError):
    """What was waited for did not come."""


def pause(seconds: float) -> None:
    threading.Event().wait(seconds)


def until(what: Callable[[], T], name: str, timeout_s: float = 30, pause_s: float = 0.02) -> T:
    """What `what` gives as soon as it is true. Raises TooLate, naming what was waited for."""
    deadline = time.monotonic() + timeout_s
    while not (found := what()):
        if time.monotonic() > deadline:
            raise TooLate(f"Waited {timeout_s} s in vain until {name}.")
        pause(pause_s)
    return found


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM, address: str = "127.0.0.1") -> int:
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind((address, 0))
        return int(probe.getsockname()[1])


def command_line(pid: int) -> list[str]:
    """The words of its command; none if it is gone, or only waits to be reaped."""
    try:
        return (PROC / str(pid) / "cmdline").read_bytes().decode(errors="replace").rstrip("\0").split("\0")
    except OSError:
        return []


def alive(pid: int) -> bool:
    return any(command_line(pid))


def children(pid: int) -> list[int]:
    """Processes that it started and that still run."""
    found: list[int] = []
    with contextlib.suppress(OSError):
        for task in (PROC / str(pid) / "task").iterdir():
            found += map(int, (task / "children").read_text().split())
    return [child for child in found if alive(child)]


def processes() -> Iterator[tuple[int, list[str]]]:
    """Everything that runs: pid and words of the command."""
    with os.scandir(PROC) as entries:  # closed also when somebody has found what he looked for
        for entry in entries:
            if entry.name.isdigit() and any(words := command_line(int(entry.name))):
                yield int(entry.name), words


def cpu_s(pid: int) -> float:
    """CPU time that it has used in all its threads, in seconds; a tick (10 ms) is the resolution."""
    fields = (PROC / str(pid) / "stat").read_bytes().rpartition(b")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_A_SECOND


def pss_bytes(pid: int) -> int:
    """Its proportional share of memory."""
    for line in (PROC / str(pid) / "smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0
