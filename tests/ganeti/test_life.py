# SPDX-License-Identifier: Apache-2.0
"""Load balancers whose amphorae are instances of a real Ganeti: they come, serve, survive, and go, and never twice."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from bench.backends import ask
from bench.waiting import until
from tests.ganeti.site import PORT, WITHIN_S, GanetiSite, answers, ganeti_site, serves

Root = Mapping[str, Any]


@pytest.fixture(scope="module")
def place() -> Iterator[GanetiSite]:
    with ganeti_site() as made:
        yield made


@pytest.fixture
def root(place: GanetiSite) -> Iterator[Root]:
    made = place.make("one")
    yield made
    place.remove(made)


def single(place: GanetiSite, root: Root) -> Mapping[str, Any]:
    [amphora] = place.amphorae(root)
    return amphora


def replaced(place: GanetiSite, root: Root, *gone: str) -> None:
    """Other machines serve, and nothing is left of these."""
    until(lambda: not {one["id"] for one in place.amphorae(root)} & set(gone), "it is replaced", WITHIN_S, 0.2)
    serves(root["vip_address"])
    until(lambda: place.whole(root), "there are its machines and no others", WITHIN_S, 0.2)
    place.served(root)


def test_a_load_balancer_is_an_instance_and_goes_with_it(place):
    root = place.make("whole")
    amphora = single(place, root)
    until(lambda: place.whole(root), "there is its machine and no other", WITHIN_S, 0.2)
    [host] = place.hosts().values()
    assert host["id"] == amphora["compute_id"]
    [machine] = place.status()["machines"]
    assert (machine["amphora_id"], machine["host_id"]) == (amphora["id"], host["id"])
    said = place.told(root)
    assert any(text.endswith("* starting instance...") for text in said)
    assert not any("failed" in text for text in said)
    place.remove(root)
    until(place.whole, "nothing is left", WITHIN_S, 0.2)
    assert not answers(root["vip_address"])
    until(lambda: not list(place.agents.iterdir()), "its agent's folder is gone", WITHIN_S)


def test_a_member_that_is_added_gets_its_share(place, root):
    other = place.backends.make("two")
    pool = root["pools"][0]["id"]
    body = {"address": place.backends.address, "protocol_port": other.port}
    made = place.made.post(f"pools/{pool}/members", {"member": body})
    place.made.active(f"pools/{pool}/members/{made['id']}", WITHIN_S)
    said = Counter(ask(root["vip_address"], PORT)[2] for _ in range(4))
    assert said == {"one": 2, "two": 2}


def test_a_machine_that_crashes_is_replaced(place, root):
    amphora = single(place, root)
    place.crash(amphora["id"])
    replaced(place, root, amphora["id"])


def test_an_instance_that_somebody_removes_is_replaced(place, root):
    amphora = single(place, root)
    place.cluster.remove(place.instance(amphora["id"]))
    replaced(place, root, amphora["id"])


def test_of_a_pair_one_machine_crashes_and_the_other_serves(place):
    root = place.make("pair", "active-standby")
    try:
        until(lambda: place.whole(root), "there are its machines and no others", WITHIN_S, 0.2)
        master = until(
            lambda: next((one["id"] for one in place.amphorae(root) if one["role"] == "MASTER"), None),
            "one of them is the master",
            WITHIN_S,
            0.2,
        )
        place.crash(master)
        replaced(place, root, master)
        assert len(place.amphorae(root)) == 2
    finally:
        place.remove(root)


@pytest.mark.parametrize("act", ["evacuate", "revoke"])
def test_a_machine_whose_host_is_taken_out_is_replaced(place, root, act):
    amphora = single(place, root)
    answer = place.made.api.put(f"/v1/hosts/{amphora['compute_id']}/{act}")
    assert answer.status_code in {200, 202, 204}, answer.text
    replaced(place, root, amphora["id"])
