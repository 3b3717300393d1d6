# SPDX-License-Identifier: Apache-2.0
"""What the README tells new users to type works as it stands there."""

import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.installation import Installation
from tests.shell import Shell, steps

ROOT = Path(__file__).parents[2]
ELSEWHERE = ("make test", "make demo", "make install", "make bench", "openstack ")
"""Done by other tests (test_demo.py, test_openstack_clients.py), or by whoever runs this one."""


@pytest.fixture
def shell() -> Iterator[Shell]:
    made = Installation()
    home = Path(tempfile.mkdtemp(prefix="cb", dir="/tmp"))
    (home / ".venv").symlink_to(Path(sys.executable).parents[1])
    opened = Shell({**made.environment, "CARYATID_IDENTITY_DRIVER": "local", "CARYATID_URL": made.url}, home)
    yield opened
    opened.close()
    made.close()
    shutil.rmtree(home, ignore_errors=True)


@pytest.mark.timeout(120)
def test_the_steps_of_the_readme_work_as_they_stand(shell: Shell) -> None:
    said: list[str] = []
    for command, _ in steps(ROOT / "README.md"):
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
