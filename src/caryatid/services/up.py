# SPDX-License-Identifier: Apache-2.0
"""`caryatid up`: the whole installation on one machine. A parent that starts three processes and looks after them.

SIGINT and `caryatid down` stop everything, data plane included. SIGTERM, and the death of this process, leave traffic
flowing; the next start takes it up.
"""

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from caryatid.services.process import PARENT, READY_FD

PID_FILE = "up.pid"
START_S = 60.0
STOP_S = 20.0
BACK_OFF_MAX_S = 5.0
STEADY_S = 2.0
SERVING = frozenset({"agent", "dns"})
"""Those that end what serves others only when they are told by SIGINT."""


class StartError(Exception):
    """A process did not become ready; its log says why."""


@dataclass
class Child:
    """One of the processes, and how often it has had to be started lately."""

    command: str
    process: subprocess.Popen[bytes]
    pipe: int | None
    """What it says on when it does its work; None once it has, or has ended."""
    failures: int = 0
    again_at: float = 0.0
    """When it is to be started again; 0 while it runs."""
    started: float = field(default_factory=time.monotonic)

    @property
    def name(self) -> str:
        return self.command.split()[0]

    @property
    def late(self) -> bool:
        """It has not become ready in time."""
        return self.pipe is not None and time.monotonic() > self.started + START_S

    def close_pipe(self) -> None:
        """It said that it is ready, or ended."""
        if self.pipe is not None:
            os.close(self.pipe)
        self.pipe = None


def up(state_dir: Path, commands: tuple[str, ...], ready: str) -> int:
    """Runs `caryatid COMMAND` of each of the commands until a signal; prints `ready` when all do their work.

    Returns the exit status: 0, or 1 when one never became ready.
    """
    state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    if (other := running(state_dir)) is not None:
        _say(f"Caryatid is up already in {state_dir} (process {other}); `caryatid down` ends it.")
        return 1
    told: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _frame: told.append(number))
    (state_dir / PID_FILE).write_text(str(os.getpid()))
    children: dict[str, Child] = {}
    try:
        for together in (commands[:1], commands[1:]):  # the first makes what others need to start: keys and a token
            children.update({command: _start(command) for command in together})
            _until_ready(children, told)
        if not told:
            _say(ready)
        _look_after(children, told)
    except StartError as error:
        _say(str(error))
        told.insert(0, signal.SIGINT)
        return 1
    finally:
        _stop(children, told[0] if told else signal.SIGTERM)
        (state_dir / PID_FILE).unlink(missing_ok=True)
    return 0


def down(state_dir: Path, timeout_s: float = STOP_S + 10) -> bool:
    """Everything in `state_dir` is stopped, data plane included. False when nothing was running."""
    pid = running(state_dir)
    if pid is None:
        return False
    os.kill(pid, signal.SIGINT)
    deadline = time.monotonic() + timeout_s
    descriptor = os.pidfd_open(pid) if Path(f"/proc/{pid}").exists() else None
    if descriptor is not None:
        select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))
        os.close(descriptor)
    return True


def running(state_dir: Path) -> int | None:
    """The process of the `caryatid up` that runs on `state_dir`, if one does."""
    try:
        pid = int((state_dir / PID_FILE).read_text())
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (OSError, ValueError):
        return None
    return pid if pid != os.getpid() and b"up" in words else None


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def _start(command: str, failures: int = 0) -> Child:
    reader, writer = os.pipe()
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "caryatid", *command.split()],
            env={**os.environ, READY_FD: str(writer), PARENT: str(os.getpid())},
            pass_fds=[writer],
            start_new_session=True,
        )
    finally:
        os.close(writer)
    return Child(command, process, reader, failures)


def _until_ready(children: Mapping[str, Child], told: list[int]) -> None:
    """Every process does its work, or a signal came. Raises StartError when one ends or takes too long."""
    while not told and any(child.pipe is not None for child in children.values()):
        _wait(children, told)
        for child in children.values():
            if child.late or child.process.poll() is not None:
                raise StartError(f"The process `{child.name}` did not start; see its log above.")


def _look_after(children: dict[str, Child], told: list[int]) -> None:
    """Whatever ends is started again, later each time it does not last; none waits for another."""
    while not told:
        _wait(children, told)
        now = time.monotonic()
        for child in list(children.values()):
            if child.late:
                child.process.kill()
            if told or child.process.poll() is None:
                continue
            if not child.again_at:
                child.close_pipe()
                child.failures = 0 if now - child.started > STEADY_S else child.failures + 1
                child.again_at = now + (min(BACK_OFF_MAX_S, 0.2 * 2**child.failures) if child.failures else 0)
                _say(f"Process `{child.name}` ended with {child.process.returncode}.")
            if now >= child.again_at:
                children[child.command] = _start(child.command, child.failures)


def _wait(children: Mapping[str, Child], told: list[int]) -> None:
    """Until a process ends or becomes ready, a signal comes, one is to be started again, or a second has passed."""
    ends, pipes = [], {child.pipe: child for child in children.values() if child.pipe is not None}
    for child in children.values():
        with contextlib.suppress(ProcessLookupError):
            if child.process.returncode is None:
                ends.append(os.pidfd_open(child.process.pid))
    due = min((child.again_at for child in children.values() if child.again_at), default=float("inf"))
    try:
        if not told:
            timeout = max(0.0, min(1.0, due - time.monotonic()))
            for pipe in set(select.select([*ends, *pipes], [], [], timeout)[0]) & set(pipes):
                if os.read(pipe, 1):  # nothing: it is about to end, which its own descriptor tells
                    pipes[pipe].close_pipe()
    except InterruptedError:
        pass
    finally:
        for descriptor in ends:
            os.close(descriptor)


def _stop(children: Mapping[str, Child], number: int) -> None:
    """Every process has ended: those that answer first, the data plane last."""
    for child in children.values():
        with contextlib.suppress(ProcessLookupError):
            child.process.send_signal(number if child.name in SERVING else signal.SIGTERM)
    deadline = time.monotonic() + STOP_S
    for child in children.values():
        try:
            child.process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            child.process.kill()
            child.process.wait()


if __name__ == "__main__":
    sys.exit(up(Path(sys.argv[2]), tuple(sys.argv[3].split(",")), sys.argv[4]))
