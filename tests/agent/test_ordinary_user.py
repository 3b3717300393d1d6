# SPDX-License-Identifier: Apache-2.0
"""Everything works for an ordinary user too: the same tests, run by nobody."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
AS_NOBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs", "--bounding-set=-all"]


@pytest.mark.skipif(os.getuid() != 0, reason="all tests here are run by an ordinary user already")
def test_amphorae_start_reload_die_and_are_adopted_without_privileges(tmp_path):
    files = [str(HERE / name) for name in ("test_supervisor.py", "test_install.py", "test_ports.py")]
    files += [str(HERE / name) for name in ("test_keys.py", "test_exchange.py")]
    chosen = "killed_worker or adopts or reload_drops or without_a_reload or lowest or reboot"
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": "/nonexistent",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
    }
    said = subprocess.run(
        [*AS_NOBODY, sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", chosen, *files],
        capture_output=True,
        text=True,
        env=environment,
        cwd=HERE.parent.parent,
        timeout=60,
        check=False,
    )
    if "Permission denied" in said.stderr and "test session starts" not in said.stdout:
        pytest.skip("an ordinary user cannot read this environment")
    assert said.returncode == 0, said.stdout[-3000:] + said.stderr[-2000:]
    assert " passed" in said.stdout
    assert " failed" not in said.stdout
