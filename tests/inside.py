# SPDX-License-Identifier: Apache-2.0
"""Tests in namespaces: a conftest that imports these hooks has its modules run by a process of their own.

That process has left the machine's network, mounts and processes, as root or as anybody in a user namespace: the
machine's own are not touched, and nothing is left when it has ended. Outside no fixture of such tests is made.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from bench.site import INSIDE, apart, inside
from caryatid.agent.namespace import find

__all__ = ["pytest_pyfunc_call", "pytest_runtest_logreport", "pytest_runtest_setup"]

REPOSITORY = Path(__file__).parents[1]
DEADLINE_S = 600
PLUGINS = ["-p", "pytest_timeout", "-p", "no:cacheprovider"]
PROGRAMS = ("unshare", "nsenter", "ip", "nft", "keepalived")
RESULTS = pytest.StashKey[dict[Path, tuple[str, dict[str, str]]]]()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Function) -> None:
    if not inside():
        item.fixturenames = []


def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Outside: what happened to the test inside, where all of its module that were chosen run at once."""
    if inside():
        return None
    known = pyfuncitem.session.stash.setdefault(RESULTS, {})
    if pyfuncitem.path not in known:
        chosen = [item.nodeid for item in pyfuncitem.session.items if item.path == pyfuncitem.path]
        known[pyfuncitem.path] = _run_inside(chosen)
    said, results = known[pyfuncitem.path]
    if problem := results.get(pyfuncitem.nodeid, f"It did not end.\n{said}"):
        pytest.fail(f"inside: {problem}", pytrace=False)
    return True


def _run_inside(chosen: list[str]) -> tuple[str, dict[str, str]]:
    """What the run printed, and for each test that ended what is wrong. A machine without namespaces is at fault."""
    missing = [name for name in PROGRAMS if not find(name)]
    if missing:
        pytest.fail(f"This environment lacks {', '.join(missing)}: run scripts/install-system.", pytrace=False)
    if subprocess.run([*apart(), "true"], check=False).returncode:
        remedy = "run the tests as root with CAP_SYS_ADMIN, or allow user namespaces (user.max_user_namespaces)"
        pytest.fail(f"This environment cannot make network namespaces: {remedy}.", pytrace=False)
    with tempfile.NamedTemporaryFile() as results, tempfile.TemporaryFile("w+") as output:
        try:
            subprocess.run(
                [*apart(), sys.executable, "-m", "pytest", "-q", *PLUGINS, *chosen],
                env={**os.environ, INSIDE: results.name, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
                cwd=REPOSITORY,
                stdout=output,
                stderr=output,
                timeout=DEADLINE_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            output.write(f"\nIt had not ended after {DEADLINE_S} s.")
        lines = [json.loads(line) for line in results]
        output.seek(0)
        said = output.read()[-6000:]
    return said, dict(lines)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Inside: tell the run outside."""
    where = os.environ.get(INSIDE)
    if where and (report.when == "call" or report.failed):
        text = "\n".join([report.longreprtext, *(content for _, content in report.sections)]) if report.failed else ""
        with Path(where).open("a") as file:
            file.write(json.dumps([report.nodeid, text]) + "\n")
