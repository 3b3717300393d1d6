# SPDX-License-Identifier: Apache-2.0
"""Who has which slot of a pool."""

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from caryatid.agent.slots import assign

SLOTS = 256
MEMBERS = st.dictionaries(st.uuids().map(str), st.integers(0, 256), max_size=12)


def moved(before: list[str], after: list[str]) -> set[tuple[str, str]]:
    return {(old, new) for old, new in zip(before, after, strict=True) if old != new}


@given(MEMBERS)
def test_the_same_members_have_the_same_slots_in_whatever_order_they_are_named(weights):
    assert assign(weights, SLOTS) == assign(dict(reversed(weights.items())), SLOTS)


@given(MEMBERS)
def test_every_slot_has_a_member_that_takes_flows_if_there_is_one(weights):
    owners = assign(weights, SLOTS)
    fit = {member for member, weight in weights.items() if weight}
    assert len(owners) == (SLOTS if fit else 0)
    assert set(owners) <= fit


@given(MEMBERS.filter(lambda weights: sum(map(bool, weights.values())) > 1), st.data())
def test_when_a_member_goes_only_its_slots_change_hands(weights, data):
    gone = data.draw(st.sampled_from(sorted(member for member, weight in weights.items() if weight)))
    rest = {member: weight for member, weight in weights.items() if member != gone}
    assert {old for old, _ in moved(assign(weights, SLOTS), assign(rest, SLOTS))} <= {gone}
    assert {new for _, new in moved(assign(rest, SLOTS), assign(weights, SLOTS))} <= {gone}  # and when it comes


@given(MEMBERS.filter(lambda weights: any(weights.values())), st.data())
def test_when_a_weight_rises_slots_change_hands_only_to_that_member(weights, data):
    member = data.draw(st.sampled_from(sorted(weights)))
    more = {**weights, member: data.draw(st.integers(weights[member], 256))}
    assert {new for _, new in moved(assign(weights, SLOTS), assign(more, SLOTS))} <= {member}
    assert {old for old, _ in moved(assign(more, SLOTS), assign(weights, SLOTS))} <= {member}  # and when it falls


@given(MEMBERS, st.integers(1, 4))
def test_weights_count_by_their_ratios(weights, factor):
    small = {member: weight % 64 for member, weight in weights.items()}
    assert assign(small, SLOTS) == assign({m: w * factor for m, w in small.items()}, SLOTS)


@settings(max_examples=20)
@given(st.lists(st.uuids().map(str), min_size=2, max_size=8, unique=True), st.data())
def test_shares_are_as_the_weights(members, data):
    weights = {member: data.draw(st.integers(1, 4)) for member in members}
    slots = 4096
    counted = Counter(assign(weights, slots))
    for member, weight in weights.items():
        share = weight / sum(weights.values())
        spread = (share * (1 - share) / slots) ** 0.5
        assert abs(counted[member] / slots - share) < 6 * spread
