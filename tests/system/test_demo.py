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
def anybody() -> list[str]:
    """Python as an ordinary user runs it. Root's own may be where nobody else may go; then it is the system's."""
    if os.getuid() != 0:
        return [sys.executable]
    user = [shutil.which("setpriv"), "--reuid=nobody", "--regid=nogroup", "--clear-groups"]
    for python in (sys.executable, f"/usr/bin/python{sys.version_info.major}.{sys.version_info.minor}"):
        again = "import subprocess, sys; sys.exit(subprocess.call([sys.executable, '-c', '']))"
        if subprocess.run([*user, python, "-c", again], capture_output=True, check=False).returncode == 0:
            return [*user, python]
    pytest.fail("There is no Python that an ordinary user may run.")


def shown(anybody: list[str], script: str, timeout_s: float) -> str:
    """What it said; it ended by itself, and nothing of it is left."""
    packages = [path for path in sys.path if path.startswith((sys.prefix, str(ROOT)))]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CARYATID_")}
    environment |= {"HOME": "/nonexistent", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": os.pathsep.join(packages)}
    done = subprocess.run(
        [*anybody, ROOT / "examples" / script, "--once"],
        env=environment,
        cwd="/",
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert "You are root" not in said
    assert "nothing is left behind" in said
    place = said.partition("/tmp/caryatid-demo-")[2].split("/")[0].split()[0]
    assert place, said
    assert not Path(f"/tmp/caryatid-demo-{place}").exists()
    assert [words for _, words in processes() if any(place in word for word in words)] == []
    return said


def test_the_demo_shows_both_members_and_leaves_nothing_behind(anybody: list[str]) -> None:
    said = shown(anybody, "demo.py", 110)
    assert "one answered 10, two answered 10" in said
    assert "two answered 20" in said
    assert "load balancer DEGRADED" in said


@pytest.mark.timeout(200)
def test_the_demo_of_two_regions_goes_on_without_one_and_leaves_nothing_behind(anybody: list[str]) -> None:
    said = shown(anybody, "demo_gslb.py", 190)
    both, alone, again = [answered(part) for part in said.split("$ dig ")[1:]]
    assert len(both) == 2
    assert len(alone) == 1
    assert alone < both
    assert again == both


def answered(part: str) -> set[str]:
    """The addresses in what dig said, which stands first."""
    lines = [line.split() for line in part.splitlines()[1:]]
    return {words[-1] for words in lines if words[2:4] == ["IN", "A"]}
