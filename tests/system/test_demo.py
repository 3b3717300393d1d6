# SPDX-License-Identifier: Apache-2.0
"""The first thing that anybody runs."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bench.waiting import processes

ROOT = Path(__file__).parents[2]


@pytest.fixture
def anybody(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """How to run as an ordinary user."""
    if os.getuid() != 0:
        return []
    return [shutil.which("setpriv"), "--reuid=nobody", "--regid=nogroup", "--clear-groups"]


def test_the_demo_shows_both_members_and_leaves_nothing_behind(anybody: list[str]) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CARYATID_")}
    done = subprocess.run(
        [*anybody, sys.executable, ROOT / "examples" / "demo.py", "--once"],
        env={**environment, "HOME": "/nonexistent", "PYTHONDONTWRITEBYTECODE": "1"},
        cwd="/",
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert "You are root" not in said
    assert "one answered 10, two answered 10" in said
    assert "two answered 20" in said
    assert "load balancer DEGRADED" in said
    assert "nothing is left behind" in said
    place = said.partition("Starting Caryatid in ")[2].split()[0]
    assert place.startswith("/tmp/"), said
    assert not Path(place).exists()
    assert [words for _, words in processes() if any(place in word for word in words)] == []
