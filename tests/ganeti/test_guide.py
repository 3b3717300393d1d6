# SPDX-License-Identifier: Apache-2.0
"""The guide for sites that run Ganeti, typed as it stands: `#` on the node, `$` where controllers are."""

import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.site import run
from tests.ganeti.site import REPOSITORY, GanetiSite
from tests.shell import BLOCK, Shell, as_printed

GUIDE = REPOSITORY / "docs" / "guides" / "ganeti.md"
GATEWAY = "10.99.1.1/24"
"""Of the guide's network: here, as the controllers' router."""
FILES = ("rapi-password", "rapi.crt")
"""What the guide has somebody bring from the node."""
PROGRAM = "/opt/caryatid/bin/caryatid"
"""Where the guide has it."""
PROMPT = re.compile(r"(?P<prompt>[$#]) (?P<command>.*)")


def steps() -> Iterator[tuple[str, str, list[str]]]:
    """(prompt, command, lines that it should print), in the order of the page."""
    found: list[tuple[str, str, list[str]]] = []
    for block in BLOCK.findall(GUIDE.read_text()):
        for line in block.splitlines():
            if said := PROMPT.fullmatch(line):
                found.append((said["prompt"], said["command"], []))
            else:
                found[-1][2].append(line)
    return iter(found)


@pytest.fixture
def place() -> Iterator[GanetiSite]:
    """A Ganeti, and controllers that have not heard of it."""
    with GanetiSite() as made:
        run("ip", "addr", "add", GATEWAY, "dev", "ganeti")
        yield made


@pytest.fixture
def home(place: GanetiSite) -> Iterator[Path]:
    """With the state of the installation where it is by default, so that its operator needs no token."""
    made = Path(tempfile.mkdtemp(prefix="cb", dir="/tmp"))
    (made / ".local" / "state").mkdir(parents=True)
    (made / ".local" / "state" / "caryatid").symlink_to(place.made.directory)
    yield made
    shutil.rmtree(made)


def test_the_guide_works_as_it_stands(place, home):
    shell = Shell({**place.made.environment, "CARYATID_URL": place.made.url, "CARYATID_LOG_FORMAT": "text"}, home)
    try:
        for prompt, command, expected in steps():
            typed = command.replace(PROGRAM, str(Path(sys.executable).with_name("caryatid")))
            lines = on_node(place, home, typed) if prompt == "#" else in_shell(shell, typed)
            assert as_printed(expected, lines), (command, lines, place.report())
    finally:
        shell.close()


def on_node(place: GanetiSite, home: Path, command: str) -> list[str]:
    """What it says; what it leaves for the controllers is there then."""
    lines = place.cluster.run("bash", "-c", f"cd {REPOSITORY} && {command}").splitlines()
    for name in FILES:
        if f"/root/{name}" in command:
            (home / name).touch(0o600)
            (home / name).write_text(place.cluster.run("cat", f"/root/{name}"))
    return lines


def in_shell(shell: Shell, command: str) -> list[str]:
    status, lines = shell.run(command)
    assert status == 0, (command, lines)
    return lines
