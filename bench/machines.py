# SPDX-License-Identifier: Apache-2.0
"""Agents with state directories of their own, as if each were a machine's: joined to an installation by token.

They share this machine's loopback addresses: each of them can carry any VIP, as machines on one network can.
"""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Self

from bench.installation import Installation
from bench.waiting import command_line, processes, until

ENROL_S = 60.0


class Machine:
    """One agent. It is enrolled while this is entered, and nothing of it is left afterwards."""

    def __init__(self, installation: Installation, name: str, **settings: str) -> None:
        self.name = name
        self.directory = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=installation.directory))
        self._installation = installation
        told = {f"CARYATID_{key.upper()}": value for key, value in settings.items()}
        own = {"CARYATID_STATE_DIR": str(self.directory), "CARYATID_DATABASE": "sqlite:////nowhere/at/all"}
        self._environment = {**installation.environment, **own, **told}
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """The agent runs, and has enrolled if it had not."""
        words = ["agent", "--join", f"https://{self._installation.environment['CARYATID_CONDUCTOR_LISTEN']}"]
        token = self._installation.command("host", "token").stdout
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "caryatid", *words, "--token-file", "-", "--name", self.name],
                env=self._environment,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(token.encode())
            self.process.stdin.close()
        until(lambda: self._ready() or self.process is None, f"{self.name} is enrolled:\n{self.log()}", ENROL_S)

    def _ready(self) -> bool:
        if self.process is not None and self.process.poll() is not None:
            raise AssertionError(f"{self.name} ended:\n{self.log()}")
        return "agent ready" in self.log() and bool(self._found())

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """The agent has ended; after SIGINT its HAProxies have too."""
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait(40)
        self.process = None

    def _found(self) -> list[dict[str, Any]]:
        return list(self._installation.get("/v1/hosts", name=self.name))

    @property
    def host(self) -> dict[str, Any]:
        """As the API shows it."""
        (found,) = self._found()
        return found

    @property
    def id(self) -> str:
        return str(self.host["id"])

    @property
    def log_path(self) -> Path:
        return self.directory / "agent.log"

    def log(self, characters: int = 4000) -> str:
        return self.log_path.read_text(errors="replace")[-characters:] if self.log_path.exists() else ""

    def haproxies(self) -> set[str]:
        """The amphorae that have an HAProxy here."""
        return {
            Path(word).parent.name
            for _, words in processes()
            for word in words
            if Path(word).name == "haproxy.cfg" and Path(word).is_relative_to(self.directory)
        }

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.stop(signal.SIGINT)
        for pid, words in processes():
            if any(str(self.directory) in word for word in words) and any(command_line(pid)):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
