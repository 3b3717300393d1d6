# SPDX-License-Identifier: Apache-2.0
"""Whole installations: one with a real data plane that tests share, one without; and members to balance over."""

from collections.abc import Iterator

import pytest

from bench.backends import Backends, Server
from bench.installation import Installation

HERE = "tests/system/"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whatever is in this folder starts real processes."""
    for item in items:
        if HERE in item.nodeid:
            item.add_marker(pytest.mark.system)


@pytest.fixture(scope="session")
def installation() -> Iterator[Installation]:
    """Up, with HAProxy. Tests leave no load balancer behind, and it in the state in which they found it.

    Counters are told every second, which tests wait for; statuses are told when they change anyway.
    """
    with Installation(environment={"CARYATID_REPORT_INTERVAL_S": "1"}) as made:
        yield made


@pytest.fixture(scope="session")
def noop_installation() -> Iterator[Installation]:
    """Up, without a data plane."""
    with Installation(noop=True) as made:
        yield made


@pytest.fixture
def own_installation() -> Iterator[Installation]:
    """The test's own, not yet started."""
    made = Installation()
    yield made
    made.close()


@pytest.fixture(scope="session")
def backends() -> Iterator[Backends]:
    with Backends() as made:
        yield made


@pytest.fixture
def servers(backends: Backends) -> Iterator[list[Server]]:
    """Three members, which answer with their names."""
    made = [backends.make(name) for name in ("one", "two", "three")]
    yield made
    for server in made:
        server.close()
