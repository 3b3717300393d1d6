# SPDX-License-Identifier: Apache-2.0
"""How many spares there are, and where."""

from hypothesis import given
from hypothesis import strategies as st

from caryatid.plan.placement import HostView, Wanted
from caryatid.plan.spares import Balance, Pool, Spare, balance


def host(name: str, used: int = 0, capacity: int = 10, is_open: bool = True, **labels: str) -> HostView:
    return HostView(name, open=is_open, capacity=capacity, used=used, labels=labels)


def pool(number: int, flavor: str = "f", **labels: str) -> Pool:
    return Pool(flavor, number, Wanted(labels=labels))


def spare(name: str, where: str = "a", flavor: str = "f", is_ready: bool = True) -> Spare:
    return Spare(name, flavor, where, is_ready)


def test_what_is_wanting_is_spread_over_hosts() -> None:
    found = balance([pool(3)], [spare("s", "a")], [host("a"), host("b", 1), host("c", 2)], most=10)
    assert found == Balance(build=(("f", "b"), ("f", "c")))


def test_flavors_do_not_overfill_a_host_together() -> None:
    found = balance([pool(2, "f"), pool(2, "g")], [], [host("a", 7)], most=10)
    assert found.build == (("f", "a"), ("f", "a"), ("g", "a"))


def test_those_that_are_built_stay_before_those_that_are_not_and_the_oldest_before_the_newest() -> None:
    spares = [spare("x", is_ready=False), spare("old"), spare("new")]
    assert balance([pool(1)], spares, [host("a")], most=10).remove == ("x", "new")


def test_a_spare_that_nobody_can_use_goes_and_another_comes() -> None:
    spares = [spare("closed", "a"), spare("plain", "b"), spare("gone", "x"), spare("other", "c", "g")]
    hosts = [host("a", is_open=False, disk="ssd"), host("b"), host("c", disk="ssd")]
    found = balance([pool(1, disk="ssd")], spares, hosts, most=10)
    assert found == Balance((("f", "c"),), ("closed", "plain", "gone", "other"))


@given(
    st.lists(st.integers(0, 9), max_size=3),
    st.lists(st.tuples(st.sampled_from("abcx"), st.integers(0, 3), st.booleans()), max_size=12),
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9), st.booleans()), max_size=3),
    st.integers(0, 5),
)
def test_nobody_has_too_many_and_no_host_more_than_it_may_carry(
    numbers: list[int], there: list[tuple[str, int, bool]], sizes: list[tuple[int, int, bool]], most: int
) -> None:
    pools = [pool(number, str(flavor)) for flavor, number in enumerate(numbers)]
    spares = [spare(str(n), where, str(flavor), done) for n, (where, flavor, done) in enumerate(there)]
    hosts = [host(name, used, room, is_open) for name, (used, room, is_open) in zip("abc", sizes, strict=False)]
    found = balance(pools, spares, hosts, most=most)
    assert len(found.build) <= most
    for one in pools:
        kept = [s for s in spares if s.flavor_id == one.flavor_id and s.id not in found.remove]
        built = [flavor for flavor, _ in found.build if flavor == one.flavor_id]
        assert len(kept) + len(built) <= one.number
    for one_host in hosts:
        new = [where for _, where in found.build if where == one_host.id]
        assert not new or (one_host.open and one_host.used + len(new) <= one_host.capacity)
