# SPDX-License-Identifier: Apache-2.0
"""A real Ganeti in trouble while load balancers are made: it is said with what helps, costs time alone, and nothing is
made twice."""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from bench.waiting import until
from tests.ganeti.site import WITHIN_S, GanetiSite, ganeti_site

CROWD = 8


@pytest.fixture(scope="module")
def place() -> Iterator[GanetiSite]:
    with ganeti_site() as made:
        yield made


def said(place: GanetiSite, root: Mapping[str, Any], words: str) -> bool:
    """A job of the load balancer names it: in its log, or as what it waits for."""
    return any(words in text for text in place.told(root))


def test_many_at_once_serve_and_none_is_made_twice(place):
    roots = [place.ask(f"crowd-{number}") for number in range(CROWD)]
    roots = [place.served(root) for root in roots]
    until(lambda: place.whole(*roots), "there are their machines and no others", WITHIN_S, 0.2)
    place.remove(*roots)
    until(place.whole, "nothing is left", WITHIN_S, 0.2)


def test_a_rapi_that_dies_while_machines_are_made_costs_time_alone(place):
    roots = [place.ask(f"early-{number}") for number in range(2)]
    place.cluster.kill("rapi")
    roots += [place.ask(f"late-{number}") for number in range(2)]
    until(lambda: place.shown()["operating_status"] == "ERROR", "it is known to be away", WITHIN_S, 0.1)
    assert place.shown()["status_reason"]
    place.cluster.daemon("start", "rapi")
    roots = [place.served(root) for root in roots]
    until(lambda: place.whole(*roots), "there are their machines and no others", WITHIN_S, 0.2)
    assert place.shown()["operating_status"] == "ONLINE"
    place.remove(*roots)


def test_a_drained_queue_is_said_with_its_remedy_and_goes_on(place):
    place.cluster.drain()
    try:
        root = place.ask("drained")
        until(lambda: said(place, root, "gnt-cluster queue undrain"), "its job says what helps", WITHIN_S, 0.2)
    finally:
        place.cluster.undrain()
    place.served(root)
    place.remove(root)


def test_a_machine_that_fits_nowhere_is_said_with_its_remedy(place):
    flavor = place.flavor("vast", {"machine": {"memory_mib": 1 << 20}})
    root = place.ask("vast", flavor)
    until(lambda: said(place, root, "memory"), "its job says what is missing", WITHIN_S, 0.2)
    assert not place.instances()
    place.remove(root)
