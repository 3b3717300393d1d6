# SPDX-License-Identifier: Apache-2.0
"""Where amphorae go."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caryatid.plan.placement import ROLES, AmphoraView, HostView, Placement, SpareView, Wanted, place, reach, wanted

SINGLE = Wanted()
PAIR = Wanted("ACTIVE_STANDBY")
APART = Wanted("ACTIVE_STANDBY", apart=True)


def host(name: str, used: int = 0, capacity: int = 10, is_open: bool = True, **labels: str) -> HostView:
    return HostView(name, open=is_open, capacity=capacity, used=used, labels=labels)


def test_a_new_load_balancer_goes_to_the_least_used_host() -> None:
    assert place(SINGLE, [host("a", 3), host("b", 1), host("c", 2)], []) == Placement(build=(("b", "STANDALONE"),))


def test_use_is_relative_to_what_a_host_can_carry() -> None:
    hosts = [host("a", 3, capacity=4), host("b", 10, capacity=100)]
    assert place(SINGLE, hosts, []) == Placement(build=(("b", "STANDALONE"),))


def test_a_closed_or_full_host_takes_nobody_new() -> None:
    hosts = [host("a", is_open=False), host("b", 10), host("c", 9)]
    assert place(SINGLE, hosts, []) == Placement(build=(("c", "STANDALONE"),))


@pytest.mark.parametrize(("want", "hosts", "why"), [
    (SINGLE, [], "No host has enrolled"),
    (SINGLE, [host("a", is_open=False)], "drained, lost or revoked"),
    (SINGLE, [host("a", 10), host("b", capacity=0)], "has room"),
    (Wanted(labels={"disk": "ssd"}), [host("a"), host("b", disk="spinning")], "labels disk=ssd"),
    (Wanted(labels={"disk": "ssd"}), [host("a"), host("b", 10, disk="ssd")], "with the labels disk=ssd has room"),
    (Wanted(clash="rack"), [host("a")], "label rack"),
    (APART, [host("a")], "no second host"),
])  # fmt: skip
def test_without_a_place_the_reason_says_what_would_help(want: Wanted, hosts: list[HostView], why: str) -> None:
    assert why in place(want, hosts, []).wanting


def test_an_amphora_stays_where_it_is_though_its_host_is_full_or_closed_or_labelled_otherwise() -> None:
    there = AmphoraView("x", "a", "STANDALONE", "ALLOCATED")
    want = Wanted(labels={"disk": "ssd"})
    assert place(want, [host("a", 10, is_open=False), host("b", disk="ssd")], [there]) == Placement(keep=("x",))


def test_a_pair_is_on_two_hosts() -> None:
    expected = Placement(build=(("b", "MASTER"), ("c", "BACKUP")))
    for want in (PAIR, APART):
        assert place(want, [host("a", 5), host("b", 1), host("c", 3)], []) == expected


def test_a_pair_shares_a_host_where_there_is_no_other() -> None:
    both = Placement(build=(("a", "MASTER"), ("a", "BACKUP")))
    assert place(PAIR, [host("a", 5)], []) == both
    assert place(PAIR, [host("a"), host("b", 10)], []) == both
    assert place(PAIR, [host("a", 9)], []).build == (("a", "MASTER"),)


def test_a_pair_that_must_be_apart_has_one_half_until_there_is_a_second_host() -> None:
    placement = place(APART, [host("a"), host("b", 10)], [])
    assert placement.build == (("a", "MASTER"),)
    assert placement.wanting


def test_a_lost_half_of_a_pair_is_built_apart_from_the_other() -> None:
    amphorae = [AmphoraView("m", "a", "MASTER", "ALLOCATED", "cannot"), AmphoraView("b", "b", "BACKUP", "ALLOCATED")]
    assert place(PAIR, [host("a", 2), host("b", 1)], amphorae) == Placement(
        keep=("b",), build=(("a", "MASTER"),), remove=("m",)
    )


def test_what_a_host_could_not_run_goes_to_another_if_there_is_one() -> None:
    lost = AmphoraView("x", "a", "STANDALONE", "ALLOCATED", "cannot")
    assert place(SINGLE, [host("a", 1), host("b", 5)], [lost]).build == (("b", "STANDALONE"),)
    assert place(SINGLE, [host("a", 1), host("b", 10)], [lost]).build == (("a", "STANDALONE"),)


def test_what_the_topology_has_no_use_for_is_removed() -> None:
    amphorae = [
        AmphoraView("x", "a", "STANDALONE", "ALLOCATED"),
        AmphoraView("y", "b", "STANDALONE", "BOOTING"),
        AmphoraView("z", "b", "BACKUP", "ALLOCATED"),
    ]
    assert place(SINGLE, [host("a")], amphorae) == Placement(keep=("x",), remove=("y", "z"))


def test_what_should_not_stay_goes_once_another_has_a_place() -> None:
    leaving = AmphoraView("x", "a", "STANDALONE", "ALLOCATED", "should not")
    assert place(SINGLE, [host("a", 1, is_open=False), host("b")], [leaving]) == Placement(
        build=(("b", "STANDALONE"),), remove=("x",)
    )


def test_what_should_not_stay_and_finds_no_place_is_kept_with_the_reason() -> None:
    leaving = AmphoraView("x", "a", "STANDALONE", "ALLOCATED", "should not")
    placement = place(SINGLE, [host("a", 1, is_open=False), host("b", 10)], [leaving])
    assert placement.keep == ("x",)
    assert not placement.wanting
    assert [amphora_id for amphora_id, why in placement.stuck if "room" in why] == ["x"]


def test_flavor_and_zone_say_which_host() -> None:
    flavor = {"loadbalancer_topology": "ACTIVE_STANDBY", "anti_affinity": "strict", "host_labels": {"disk": "ssd"}}
    found = wanted(flavor, {"host_labels": {"rack": "r1"}})
    assert found == Wanted("ACTIVE_STANDBY", apart=True, labels={"disk": "ssd", "rack": "r1"})
    assert wanted(flavor, {"host_labels": {"disk": "spinning"}}).clash == "disk"
    assert wanted({}, {}) == SINGLE


LABELS = st.dictionaries(st.sampled_from(["rack", "disk"]), st.sampled_from(["1", "2"]))
HOSTS = st.lists(
    st.builds(HostView, st.sampled_from("abcd"), st.booleans(), st.integers(0, 4), st.integers(0, 5), LABELS),
    unique_by=lambda host: host.id,
)
AMPHORAE = st.lists(
    st.builds(
        AmphoraView,
        st.uuids().map(str),
        st.sampled_from("abcde"),
        st.sampled_from(["STANDALONE", "MASTER", "BACKUP", None]),
        st.sampled_from(["PENDING_CREATE", "BOOTING", "ALLOCATED", "PENDING_DELETE", "ERROR"]),
        st.sampled_from(["may", "should not", "cannot"]),
    ),
    max_size=5,
)


def evacuated(hosts: list[HostView], amphorae: list[AmphoraView]) -> tuple[list[HostView], list[AmphoraView]]:
    """As it is: what should not stay is on hosts that take nobody."""
    left = {amphora.host_id for amphora in amphorae if amphora.stay == "should not"}
    return [replace(host, open=host.open and host.id not in left) for host in hosts], amphorae


FLEETS = st.builds(evacuated, HOSTS, AMPHORAE)
Views = tuple[list[HostView], list[AmphoraView]]
WANTED = st.builds(Wanted, st.sampled_from(list(ROLES)), st.booleans(), LABELS, st.sampled_from(["", "", "rack"]))


@settings(deadline=None)
@given(WANTED, FLEETS)
def test_whatever_there_is_every_role_has_one_amphora_or_a_reason(want: Wanted, fleet: Views) -> None:
    hosts, amphorae = fleet
    placement = place(want, hosts, amphorae)
    roles = {amphora.id: amphora.role for amphora in amphorae}
    held = [*(roles[key] for key in placement.keep), *(role for _, role in placement.build)]
    assert len(held) == len(set(held)), "nobody twice"
    assert set(held) <= set(ROLES[want.topology])
    assert (set(held) == set(ROLES[want.topology])) != bool(placement.wanting)
    assert sorted([*placement.keep, *placement.remove]) == sorted(roles)
    assert {key for key, _ in placement.stuck} <= set(placement.keep)


@settings(deadline=None)
@given(WANTED, FLEETS)
def test_what_is_built_is_on_an_open_host_with_the_labels_and_with_room(want: Wanted, fleet: Views) -> None:
    hosts, amphorae = fleet
    placement = place(want, hosts, amphorae)
    built = [host_id for host_id, _ in placement.build]
    for chosen in (host for host in hosts if host.id in built):
        assert chosen.open
        assert want.labels.items() <= chosen.labels.items()
        assert chosen.used + built.count(chosen.id) <= chosen.capacity


@settings(deadline=None)
@given(FLEETS, LABELS)
def test_a_pair_that_must_be_apart_never_comes_to_share_a_host(fleet: Views, labels: dict[str, str]) -> None:
    hosts, amphorae = fleet
    placement = place(replace(APART, labels=labels), hosts, amphorae)
    where = {amphora.id: amphora.host_id for amphora in amphorae}
    kept = [where[key] for key in placement.keep]
    for host_id, _ in placement.build:
        assert host_id not in kept
    assert len({host_id for host_id, _ in placement.build}) == len(placement.build)


@settings(deadline=None)
@given(WANTED, FLEETS)
def test_what_has_been_placed_stays_placed(want: Wanted, fleet: Views) -> None:
    """To place again when all has been done changes nothing: nothing flaps."""
    hosts, amphorae = fleet
    first = place(want, hosts, amphorae)
    after = [amphora for amphora in amphorae if amphora.id in first.keep]
    after += [AmphoraView(f"new-{role}", host_id, role, "ALLOCATED") for host_id, role in first.build]
    used = {host.id: sum(amphora.host_id == host.id for amphora in after) for host in hosts}
    again = place(want, [replace(host, used=host.used + used[host.id]) for host in hosts], after)
    assert (again.build, again.remove) == ((), ())
    assert sorted(again.keep) == sorted(amphora.id for amphora in after)


def test_a_spare_is_taken_before_another_is_built() -> None:
    hosts = [host("a"), host("b", 5)]
    assert place(SINGLE, hosts, [], [SpareView("s", "b")]) == Placement(take=(("s", "STANDALONE"),))


def test_a_spare_helps_where_its_host_is_full_and_not_where_it_is_closed_or_lacks_what_is_wanted() -> None:
    spare = [SpareView("s", "a")]
    assert place(SINGLE, [host("a", 10)], [], spare).take == (("s", "STANDALONE"),)
    assert place(SINGLE, [host("a", is_open=False)], [], spare).take == ()
    assert place(Wanted(labels={"disk": "ssd"}), [host("a")], [], spare).take == ()
    assert place(Wanted(reaches=frozenset({"uplink default"})), [host("a")], [], spare).take == ()


@pytest.mark.parametrize(("want", "hosts", "take", "build"), [
    (APART, [host("a")], (), ()),
    (APART, [host("a"), host("b")], (), (("b", "BACKUP"),)),
    (PAIR, [host("a"), host("b")], (), (("b", "BACKUP"),)),
    (PAIR, [host("a"), host("b", 10)], (("s", "BACKUP"),), ()),
])  # fmt: skip
def test_a_spare_beside_the_other_of_its_pair_is_taken_only_where_there_is_no_second_host(
    want: Wanted, hosts: list[HostView], take: tuple[object, ...], build: tuple[object, ...]
) -> None:
    other = AmphoraView("x", "a", "MASTER", "ALLOCATED")
    placed = place(want, hosts, [other], [SpareView("s", "a")])
    assert (placed.take, placed.build) == (take, build)


def test_a_pair_takes_spares_of_two_hosts() -> None:
    spares = [SpareView("s", "a"), SpareView("t", "a"), SpareView("u", "b")]
    assert place(APART, [host("a"), host("b")], [], spares).take == (("s", "MASTER"), ("u", "BACKUP"))


def test_an_address_of_a_host_is_reached_by_nobody_else() -> None:
    want = Wanted(reaches=frozenset({reach("host", "192.0.2.5")}))
    there = replace(host("b", 9), reaches=frozenset({reach("host", "192.0.2.5")}))
    assert place(want, [host("a"), there], []) == Placement(build=(("b", "STANDALONE"),))
    assert "has address 192.0.2.5" in place(want, [host("a")], []).wanting
