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
BACK_OFF_MAX_S = 10.0
STEADY_S = 2.0


class StartError(Exception):
    """A process did not become ready; its log says why."""


@dataclass
class Child:
    """One of the processes, and how often it has had to be started lately."""

    name: str
    process: subprocess.Popen[bytes]
    started: float = field(default_factory=time.monotonic)
    failures: int = 0
    again_at: float = 0.0


def up(state_dir: Path, names: tuple[str, ...], ready: str) -> int:
    """Runs processes `names` until a signal; prints `ready` when all do their work.

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
        for name in names:
            children[name] = _start(name, told)
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


def _start(name: str, told: list[int]) -> Child:
    """The process, ready. Raises StartError when it ends or takes too long."""
    reader, writer = os.pipe()
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "caryatid", name],
            env={**os.environ, READY_FD: str(writer), PARENT: str(os.getpid())},
            pass_fds=[writer],
            start_new_session=True,
        )
    finally:
        os.close(writer)
    with contextlib.closing(os.fdopen(reader, "rb", buffering=0)) as pipe:
        deadline = time.monotonic() + START_S
        while not told and time.monotonic() < deadline:
            if select.select([pipe], [], [], 0.2)[0]:
                if pipe.read(1):
                    return Child(name, process)
                break
    if told:
        return Child(name, process)
    process.terminate()
    raise StartError(f"The process `{name}` did not start; see its log above.")


def _look_after(children: dict[str, Child], told: list[int]) -> None:
    """Whatever ends is started again, later each time it does not last."""
    while not told:
        _wait(children, told)
        for child in list(children.values()):
            if told or child.process.poll() is None:
                continue
            now = time.monotonic()
            if not child.again_at:
                child.failures = 0 if now - child.started > STEADY_S else child.failures + 1
                child.again_at = now + (min(BACK_OFF_MAX_S, 0.2 * 2**child.failures) if child.failures else 0)
                _say(f"Process `{child.name}` ended with {child.process.returncode}.")
            if now >= child.again_at:
                _restart(children, child, told)


def _restart(children: dict[str, Child], child: Child, told: list[int]) -> None:
    try:
        fresh = _start(child.name, told)
    except StartError as error:
        _say(str(error))
        child.failures += 1
        child.again_at = time.monotonic() + min(BACK_OFF_MAX_S, 0.2 * 2**child.failures)
    else:
        fresh.failures = child.failures
        children[child.name] = fresh


def _wait(children: Mapping[str, Child], told: list[int]) -> None:
    """Until a process ends, a signal comes, or a second has passed."""
    descriptors = []
    for child in children.values():
        with contextlib.suppress(ProcessLookupError):
            if child.process.returncode is None:
                descriptors.append(os.pidfd_open(child.process.pid))
    try:
        waiting = any(child.again_at for child in children.values())
        if not told:
            select.select(descriptors, [], [], 0.1 if waiting else 1.0)
    except InterruptedError:
        pass
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def _stop(children: Mapping[str, Child], number: int) -> None:
    """Every process has ended: those that answer first, the data plane last."""
    for child in children.values():
        with contextlib.suppress(ProcessLookupError):
            child.process.send_signal(number if child.name == "agent" else signal.SIGTERM)
    deadline = time.monotonic() + STOP_S
    for child in children.values():
        try:
            child.process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            child.process.kill()
            child.process.wait()


if __name__ == "__main__":
    sys.exit(up(Path(sys.argv[2]), tuple(sys.argv[3].split(",")), sys.argv[4]))
