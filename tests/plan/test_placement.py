# SPDX-License-Identifier: Apache-2.0
"""Where amphorae go."""

import pytest

from caryatid.plan.placement import AmphoraView, HostView, NoCapacity, Placement, place


def host(name: str, used: int = 0, capacity: int = 10, enabled: bool = True) -> HostView:
    return HostView(name, enabled=enabled, capacity=capacity, used=used)


def test_a_new_load_balancer_goes_to_the_least_used_host() -> None:
    assert place("SINGLE", [host("a", 3), host("b", 1), host("c", 2)], []) == Placement(build=(("b", "STANDALONE"),))


def test_use_is_relative_to_what_a_host_can_carry() -> None:
    assert place("SINGLE", [host("a", 3, capacity=4), host("b", 10, capacity=100)], []) == Placement(
        build=(("b", "STANDALONE"),)
    )


def test_a_disabled_or_full_host_takes_nobody_new() -> None:
    hosts = [host("a", enabled=False), host("b", 10), host("c", 9)]
    assert place("SINGLE", hosts, []) == Placement(build=(("c", "STANDALONE"),))


@pytest.mark.parametrize(("hosts", "why"), [
    ([], "No host has enrolled"),
    ([host("a", enabled=False)], "disabled"),
    ([host("a", 10), host("b", capacity=0)], "No host has room"),
])  # fmt: skip
def test_without_room_the_reason_says_what_would_help(hosts: list[HostView], why: str) -> None:
    placement = place("SINGLE", hosts, [])
    assert isinstance(placement, NoCapacity)
    assert why in placement.reason


def test_an_amphora_stays_where_it_is_though_its_host_is_full_or_disabled() -> None:
    there = AmphoraView("x", "a", "STANDALONE", "ALLOCATED")
    assert place("SINGLE", [host("a", 10, enabled=False), host("b")], [there]) == Placement(keep=("x",))


def test_a_pair_is_on_two_hosts() -> None:
    assert place("ACTIVE_STANDBY", [host("a", 5), host("b", 1), host("c", 3)], []) == Placement(
        build=(("b", "MASTER"), ("c", "BACKUP"))
    )


def test_a_pair_shares_a_host_only_if_there_is_no_other() -> None:
    assert place("ACTIVE_STANDBY", [host("a", 5)], []) == Placement(build=(("a", "MASTER"), ("a", "BACKUP")))
    assert isinstance(place("ACTIVE_STANDBY", [host("a", 9)], []), NoCapacity)
    assert isinstance(place("ACTIVE_STANDBY", [host("a"), host("b", 10)], []), NoCapacity)


def test_a_lost_half_of_a_pair_is_built_apart_from_the_other() -> None:
    amphorae = [AmphoraView("m", "a", "MASTER", "ERROR"), AmphoraView("b", "b", "BACKUP", "ALLOCATED")]
    assert place("ACTIVE_STANDBY", [host("a", 2), host("b", 1)], amphorae) == Placement(
        keep=("b",), build=(("a", "MASTER"),), remove=("m",)
    )


def test_what_the_topology_has_no_use_for_is_removed() -> None:
    amphorae = [
        AmphoraView("x", "a", "STANDALONE", "ALLOCATED"),
        AmphoraView("y", "b", "STANDALONE", "BOOTING"),
        AmphoraView("z", "b", "BACKUP", "ALLOCATED"),
    ]
    assert place("SINGLE", [host("a")], amphorae) == Placement(keep=("x",), remove=("y", "z"))
