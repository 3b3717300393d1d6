# SPDX-License-Identifier: Apache-2.0
"""Tests with a real Ganeti (tests/ganeti/cluster.py): each module in namespaces of its own, with one of its own."""

import os
import subprocess
from collections.abc import Iterator
from functools import cache

import pytest

from bench.site import apart
from tests import inside
from tests.ganeti.cluster import RealCluster
from tests.inside import DEADLINE_S, pytest_pyfunc_call, pytest_runtest_logreport

__all__ = ["pytest_pyfunc_call", "pytest_runtest_logreport"]

HERE = ("tests/ganeti/", "tests/wire/rapi/real/")
INSIDE_S = 400


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Outside, the first test of a module runs all of it."""
    for item in items:
        if item.nodeid.startswith(HERE):
            item.add_marker(pytest.mark.timeout(INSIDE_S if inside.inside() else DEADLINE_S + 60))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Function) -> None:
    if os.geteuid():
        pytest.skip("Ganeti's daemons run as users of their own: run these tests as root.")
    if not _possible():
        pytest.skip("This environment cannot make network namespaces: run the tests with CAP_SYS_ADMIN.")
    inside.pytest_runtest_setup(item)


@cache
def _possible() -> bool:
    return inside.inside() or subprocess.run([*apart(), "true"], check=False, capture_output=True).returncode == 0


@pytest.fixture(scope="session")
def ganeti(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealCluster]:
    """A Ganeti that runs; of this module only. What a test makes there it names so that others do not mind."""
    with RealCluster(tmp_path_factory.mktemp("ganeti")) as cluster:
        yield cluster
