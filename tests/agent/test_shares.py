# SPDX-License-Identifier: Apache-2.0
"""What the maps of a ruleset hold, by who is there, who works and who is wanted."""

import pytest

from caryatid.agent.shares import serving, shares, takers, update
from caryatid.wire.datagrams import Datagrams, Listener, Member, Pool, Share

NUMBERS = {"a": 1, "b": 2, "c": 3, "six": 4}
NOBODY: frozenset[str] = frozenset()


def member(key, address="192.0.2.20", *, weight=1, enabled=True, backup=False):
    return Member(key, address, 53, weight, enabled, backup, address, 53)


def pool(*members):
    shared = [Share(4, "slots4-p", "places4-p"), Share(6, "slots6-p", "places6-p")]
    return Pool(id="p", shares=shared, members=list(members))


def wanted(*members):
    listeners = [
        Listener(id=f"l{port}", pool="p" if port != 55 else "", mark=port << 15, bytes_in="i", bytes_out="o", flows="f")
        for port in (53, 54, 55)
    ]
    return Datagrams(table="t", refused="r", slots=64, member_bits=15, listeners=listeners, pools=[pool(*members)])


@pytest.mark.parametrize(("members", "down", "fit"), [
    ((member("a"), member("b", weight=7)), NOBODY, {"a": 1, "b": 7}),
    ((member("a"), member("b", weight=0)), NOBODY, {"a": 1}),
    ((member("a"), member("b", enabled=False)), NOBODY, {"a": 1}),
    ((member("a"), member("b")), {"a"}, {"b": 1}),
    ((member("a"), member("b", backup=True)), NOBODY, {"a": 1}),
    ((member("a"), member("b", backup=True), member("c", backup=True)), {"a"}, {"b": 1, "c": 1}),
    ((member("a", weight=0), member("b", backup=True)), NOBODY, {"b": 1}),
    ((member("a"), member("six", "2001:db8::20")), NOBODY, {"a": 1}),
    ((member("a"),), {"a"}, {}),
])  # fmt: skip
def test_new_flows_go_to_who_works_is_enabled_and_has_a_weight_and_to_backups_if_nobody_else_does(members, down, fit):
    assert serving(pool(*members), 4, frozenset(down)) == fit


def test_each_family_has_members_of_its_own():
    maps = shares(wanted(member("a"), member("six", "2001:db8::20")), NUMBERS, NOBODY)
    assert maps["places4-p"] == {1: "192.0.2.20 . 53"}
    assert maps["places6-p"] == {4: "2001:db8::20 . 53"}
    assert set(maps["slots4-p"].values()) == {"1"}
    assert set(maps["slots6-p"].values()) == {"4"}
    assert sorted(maps["slots4-p"]) == list(range(64))


def test_flows_are_left_to_who_drains_and_to_nobody_who_is_down_or_disabled():
    members = member("a", weight=0), member("b", enabled=False), member("c")
    assert takers(wanted(*members), NUMBERS, frozenset({"c"})) == {(53 << 15, 1), (54 << 15, 1)}


def test_what_is_alike_is_left_alone_and_what_is_not_known_is_written_whole():
    maps = shares(wanted(member("a")), NUMBERS, NOBODY)
    assert update("t", maps, maps) == ""
    assert update("t", None, {"m": {1: "2"}}) == "flush map inet t m\nadd element inet t m { 1 : 2 }\n"
    assert update("t", {}, {"m": {}}) == "flush map inet t m\n"


def test_only_the_difference_is_written():
    said = update("t", {"m": {1: "a", 2: "b", 3: "c"}}, {"m": {1: "a", 2: "x", 4: "d"}})
    assert said == "delete element inet t m { 2, 3 }\nadd element inet t m { 2 : x, 4 : d }\n"
