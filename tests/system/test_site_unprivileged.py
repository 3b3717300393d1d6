# SPDX-License-Identifier: Apache-2.0
"""A site is made without privileges too: the same tests, where one user id is all there is and nothing is ours."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
TESTS = "tests/system/site/test_reach.py"
CHOSEN = "near and 4 or all_its_vips and single"
UNPRIVILEGED = ["unshare", "--user", "--map-root-user", "--kill-child"]
"""No capability on the machine is left, and no user id but one: amphorae cannot have user ids of their own."""
DEADLINE_S = 400


@pytest.mark.timeout(DEADLINE_S + 60)
@pytest.mark.skipif(os.getuid() != 0, reason="all tests here are run by an ordinary user already")
def test_load_balancers_serve_on_networks_without_privileges():
    said = subprocess.run(
        [*UNPRIVILEGED, sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", CHOSEN, TESTS],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        timeout=DEADLINE_S,
        check=False,
    )
    assert said.returncode == 0, said.stdout[-8000:] + said.stderr[-2000:]
    assert " passed" in said.stdout
