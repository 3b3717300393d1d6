# SPDX-License-Identifier: Apache-2.0
"""Whole sites in namespaces; one for each module, as it takes long to start."""

from collections.abc import Iterator

import pytest

from bench.backends import Backends
from bench.site import CLIENT, inside, site
from bench.waiting import until
from tests.inside import DEADLINE_S, pytest_pyfunc_call, pytest_runtest_logreport, pytest_runtest_setup
from tests.system.site.town import WITHIN_S, Town

__all__ = ["pytest_pyfunc_call", "pytest_runtest_logreport", "pytest_runtest_setup"]

HERE = "tests/system/site/"
INSIDE_S = 400


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Outside, the first test of a module runs all of it."""
    for item in items:
        if HERE in item.nodeid:
            item.add_marker(pytest.mark.timeout(INSIDE_S if inside() else DEADLINE_S + 60))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Inside: a failure shows what the site says of itself."""
    report = yield
    town = item.funcargs.get("town")
    if isinstance(town, Town) and report.when == "call" and report.failed:
        report.sections.append(("site", town.report()))
    return report


@pytest.fixture(scope="module")
def town() -> Iterator[Town]:
    """Three hosts; a pair, and a single load balancer on each host."""
    with site(3) as made, Backends(CLIENT) as backends:
        town = Town(made, [backends.make("one"), backends.make("two")], made.subnet())
        until(town.speak, "all hosts speak", WITHIN_S)
        town.kept.append(town.make("pair", "active-standby"))
        town.kept += [town.make(f"single-{number}") for number in range(3)]
        yield town


@pytest.fixture
def pair(town: Town):
    return town.kept[0]


@pytest.fixture
def singles(town: Town):
    return town.kept[1:]
