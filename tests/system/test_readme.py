# SPDX-License-Identifier: Apache-2.0
"""What the README tells new users to type works as it stands there."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.installation import Installation

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```console\n(.*?)^```", re.MULTILINE | re.DOTALL)
ELSEWHERE = ("make test", "make demo", "make install", "make bench", "openstack ")
"""Done by other tests (test_demo.py, test_openstack_clients.py), or by whoever runs this one."""
END = "end-of-command"


def commands(page: Path) -> list[str]:
    return [line[2:] for block in BLOCK.findall(page.read_text()) for line in block.splitlines() if line[:2] == "$ "]


class Shell:
    """A bash that remembers variables and jobs from one command to the next, in a home of its own."""

    def __init__(self, made: Installation, home: Path) -> None:
        environment = {
            **made.environment,
            "HOME": str(home),
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "CARYATID_URL": made.url,
            "COLUMNS": "120",
        }
        (home / ".venv").symlink_to(Path(sys.executable).parents[1])
        self._bash = subprocess.Popen(
            [shutil.which("bash"), "--norc", "-m"],
            env=environment,
            cwd=home,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, command: str) -> tuple[int, list[str]]:
        """Exit status and lines."""
        self._bash.stdin.write(f"{command}\necho {END} $?\n")
        self._bash.stdin.flush()
        lines: list[str] = []
        for line in self._bash.stdout:
            if line.startswith(END):
                return int(line.split()[1]), lines
            lines.append(line.rstrip())
        raise AssertionError(f"bash has ended after {command}: {lines}")

    def until_said(self, words: str) -> None:
        """What runs in the background has said so: the next thing to be typed is typed then."""
        for line in self._bash.stdout:
            if words in line:
                return
        raise AssertionError(f"It never said {words!r}.")

    def close(self) -> None:
        self._bash.stdin.write("kill $(jobs -p) 2> /dev/null; exit\n")
        self._bash.stdin.close()
        self._bash.wait(60)
        self._bash.stdout.close()


@pytest.fixture
def shell() -> Iterator[Shell]:
    made = Installation()
    home = Path(tempfile.mkdtemp(prefix="cb", dir="/tmp"))
    opened = Shell(made, home)
    yield opened
    opened.close()
    made.close()
    shutil.rmtree(home, ignore_errors=True)


@pytest.mark.timeout(120)
def test_the_steps_of_the_readme_work_as_they_stand(shell: Shell) -> None:
    said: list[str] = []
    for command in commands(ROOT / "README.md"):
        if command.startswith(ELSEWHERE):
            continue
        status, lines = shell.run(command)
        assert status == 0, (command, lines)
        said += lines
        if command.endswith(" up &"):
            shell.until_said("Caryatid is up")
    assert "DEGRADED" not in said[-1]
    assert any("web" in line for line in said[-20:]), "`caryatid status` shows the load balancer"
    status, lines = shell.run(".venv/bin/caryatid down")
    assert (status, "Stopped." in lines) == (0, True), lines
