# SPDX-License-Identifier: Apache-2.0
"""Pages as somebody would type them: their console blocks, and a shell to type them into."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from textwrap import dedent

BLOCK = re.compile(r"^ *```console\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
END = "end-of-command"
Step = tuple[str, list[str]]


def steps(page: Path) -> list[Step]:
    """(command, lines that it should print) of every console block, in order."""
    found: list[Step] = []
    for block in BLOCK.findall(page.read_text(encoding="utf-8")):
        for line in dedent(block).splitlines():
            if line.startswith("$ "):
                found.append((line[2:], []))
            else:
                found[-1][1].append(line)
    return found


def as_printed(expected: Iterable[str], printed: Iterable[str]) -> bool:
    """Whether the lines of `expected` are in `printed` in order; … is anything, a line … any lines."""
    left = iter(printed)
    for line in expected:
        if line == "…":
            continue
        words = [re.escape(" ".join(part.split())) for part in line.split("…")]
        if not any(re.search(".*".join(words), " ".join(text.split())) for text in left):
            return False
    return True


class Shell:
    """A bash that remembers variables and jobs from one command to the next, in a home of its own."""

    def __init__(self, environment: Mapping[str, str], home: Path, *front: Path) -> None:
        """`front`: what stands before all else on its PATH."""
        path = os.pathsep.join(map(str, [*front, Path(sys.executable).parent, os.environ["PATH"]]))
        self._bash = subprocess.Popen(
            [shutil.which("bash") or "bash", "--norc", "-m"],
            env={**environment, "HOME": str(home), "PATH": path, "COLUMNS": "120"},
            cwd=home,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, command: str) -> tuple[int, list[str]]:
        """Exit status and lines."""
        self._bash.stdin.write(f"{command}\nprintf '\\n%s %s\\n' {END} $?\n")
        self._bash.stdin.flush()
        lines: list[str] = []
        for line in self._bash.stdout:
            if line.startswith(END):
                return int(line.split()[1]), lines[:-1] if lines[-1:] == [""] else lines
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
