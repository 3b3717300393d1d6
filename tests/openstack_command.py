# SPDX-License-Identifier: Apache-2.0
"""The `openstack` command, started once, reading its commands from standard input, as it does for people who type: a
command of its own would take it two seconds."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from queue import Empty, Queue
from typing import Any, Self

COMMAND = Path(sys.executable).with_name("openstack")
ANSWER_S = 60


class Shell:
    """An `openstack` that waits for commands. `options`: what it is started with. `word`: with which commands begin."""

    def __init__(self, *options: str, word: str = "loadbalancer", **environment: str) -> None:
        self._word = word
        ours = {name: value for name, value in os.environ.items() if not name.startswith("OS_")}
        self._process = subprocess.Popen(
            [COMMAND, *options],
            env={**ours, "PYTHONUNBUFFERED": "1", "TERM": "dumb", "HOME": "/nonexistent", **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._lines: Queue[str] = Queue()
        self._count = 0
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self._process.stdout:
            self._lines.put(line)

    def __enter__(self) -> Self:
        self.run("")  # what it says of its own options, which it takes for commands, is no answer of ours
        return self

    def __exit__(self, *_: object) -> None:
        self._process.stdin.close()
        self._process.wait(ANSWER_S)
        self._process.stdout.close()

    def run(self, command: str) -> str:
        """What it prints."""
        self._count += 1
        end = f"Unknown command ['end-of-{self._count}']"
        self._process.stdin.write(f"{command}\nhelp end-of-{self._count}\n")
        self._process.stdin.flush()
        said = ""
        while end not in said:
            try:
                said += self._lines.get(timeout=ANSWER_S)
            except Empty:
                raise AssertionError(f"{command}: no end of {said!r}") from None
        return said.partition(end)[0].strip()

    def do(self, command: str) -> None:
        """A command that prints nothing when it is well."""
        said = self.run(f"{self._word} {command}")
        assert not said, f"{command}: {said}"

    def tell(self, command: str) -> Any:
        """A command that prints what it did or found."""
        return self.ask(f"{self._word} {command}")

    def ask(self, command: str) -> Any:
        """The same of any of its words."""
        said = self.run(f"{command} -f json")
        try:
            return json.loads(said)
        except ValueError:
            raise AssertionError(f"{command}: {said}") from None
