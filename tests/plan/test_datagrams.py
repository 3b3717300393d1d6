# SPDX-License-Identifier: Apache-2.0
"""Listeners for datagrams as a ruleset: compared with files that one can read, and accepted by nftables itself.

What becomes of packets: tests/agent/networks/test_datagrams.py.
"""

import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from caryatid.agent.firewall import OBJECT
from caryatid.agent.namespace import find
from caryatid.agent.protocols import ATTEMPT
from caryatid.drivers.amphora.datagrams import told
from caryatid.model.amphora import Amphora, Leg, Placed
from caryatid.model.network import Subnet
from caryatid.model.tree import Tree
from caryatid.plan import datagrams, nftables

GOLDEN = Path(__file__).parent.parent / "golden" / "nftables"
CASES = sorted(path.stem for path in GOLDEN.glob("*.yaml"))
Grow = Callable[[Any], Tree]
CHECKED = ["unshare", "--map-root-user", "--net"]
"""What a program is started with so that it may look at a ruleset, and nobody else is touched."""


def grown(grow: Grow, document: dict[str, Any]) -> Tree:
    tree = grow(document)
    more = [{"subnet_id": tree.loadbalancer.vip_subnet_id, "ip_address": vip} for vip in document.get("more", ())]
    root = tree.loadbalancer.model_validate({**tree.loadbalancer.model_dump(), "additional_vips": more})
    return replace(tree, loadbalancer=root)


def placed(document: dict[str, Any]) -> Placed:
    legs = (Leg(Subnet.model_construct(id=str(vips)), "default", tuple(vips)) for vips in document["legs"])
    return Placed(Amphora.model_construct(id="a"), legs=tuple(legs))


def rendered(grow: Grow, case: str) -> str:
    document = yaml.safe_load((GOLDEN / f"{case}.yaml").read_text())
    return nftables.render(grown(grow, document), placed(document))


def loaded(*texts: str) -> str:
    """What nftables has against these rulesets, one after the other in a new namespace; empty: nothing."""
    script = "\n".join([f'"{find("nft")}" -f - <<"X" || exit 1\n{text}\nX' for text in texts])
    done = subprocess.run([*CHECKED, "sh", "-c", script], capture_output=True, text=True, check=False, timeout=30)
    return done.stderr


@pytest.mark.parametrize("case", CASES)
def test_the_ruleset_is_the_golden_one_and_nftables_takes_it_again_and_again(
    case: str, grow: Grow, request: pytest.FixtureRequest
) -> None:
    text, golden = rendered(grow, case), GOLDEN / f"{case}.nft"
    if request.config.getoption("--update-golden"):
        golden.write_text(text)
    assert text == golden.read_text()
    assert loaded(text, text) == ""


def test_one_ruleset_can_follow_another(grow: Grow) -> None:
    assert loaded(*(rendered(grow, case) for case in CASES)) == ""


@pytest.mark.parametrize("case", CASES)
def test_what_the_agent_is_told_to_fill_and_to_read_is_in_the_ruleset(case: str, grow: Grow) -> None:
    document = yaml.safe_load((GOLDEN / f"{case}.yaml").read_text())
    tree, text = grown(grow, document), rendered(grow, case)
    said = told(tree)
    assert said is not None
    named = {name for kind, name in OBJECT.findall(text) if kind in ("map", "counter")}
    maps = {name for pool in said.pools for share in pool.shares for name in (share.slots, share.places)}
    counters = {name for one in said.listeners for name in (one.bytes_in, one.bytes_out, one.flows)}
    assert named == maps | counters
    assert f"table inet {said.table} {{" in text
    assert f"set {said.refused} {{" in text
    assert all(f"{one.mark:#x} :" in text for one in said.listeners)


def test_listeners_and_protocols_have_marks_of_their_own_that_leave_room_for_members(grow: Grow) -> None:
    document = yaml.safe_load((GOLDEN / "sctp.yaml").read_text())
    said = told(grow(document))
    assert said is not None
    assert len({one.mark for one in said.listeners}) == 2
    assert all(one.mark % (1 << said.member_bits) == 0 and one.mark < 1 << 32 for one in said.listeners)


def test_both_of_a_pair_hash_alike(grow: Grow) -> None:
    document = yaml.safe_load((GOLDEN / "udp.yaml").read_text())
    tree, own = grown(grow, document), placed(document)
    other = replace(own, amphora=Amphora.model_construct(id="b"))
    hashing = [[line for line in nftables.render(tree, one).splitlines() if "jhash" in line] for one in (own, other)]
    assert hashing[0] == hashing[1] != []


@pytest.mark.parametrize(("asked_ms", "kept_s"), [(0, 1), (1500, 1), (50_000, 50), (2_073_600_000, 3600)])
def test_silent_flows_are_kept_as_the_listener_says_within_bounds(grow: Grow, asked_ms: int, kept_s: int) -> None:
    tree = grow({"listeners": [{"name": "dns", "protocol": "UDP", "timeout_client_data": asked_ms}]})
    assert datagrams.idle_s(tree.listeners[0].listener) == kept_s


def test_without_listeners_for_datagrams_nothing_is_tracked_nor_told(grow: Grow) -> None:
    tree = grow({"listeners": [{"name": "web", "protocol": "TCP"}]})
    text = nftables.render(tree, placed({"legs": [["192.0.2.10"]]}))
    assert told(tree) is None
    assert not any(word in text for word in ("ct ", "nat ", "notrack"))


def test_no_text_becomes_a_rule(grow: Grow) -> None:
    document = yaml.safe_load((GOLDEN / "udp.yaml").read_text())
    tree = grown(grow, document)
    evil = tree.loadbalancer.model_copy(update={"vip_address": "192.0.2.10 accept; flush ruleset"})
    with pytest.raises(ValueError, match="does not appear to be"):
        nftables.render(replace(tree, loadbalancer=evil), placed(document))


@pytest.mark.parametrize("protocol", ["udp", "sctp"])
def test_what_an_agent_tries_is_a_ruleset(protocol: str) -> None:
    assert loaded(ATTEMPT.format(protocol=protocol)) == ""
