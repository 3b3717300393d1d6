# SPDX-License-Identifier: Apache-2.0
"""Rate limits: what makes sense where, and how much of it there may be."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from caryatid.errors import Refused
from caryatid.model import RATELIMITRULE
from caryatid.model.consequences import ancestors
from caryatid.model.flavor import Capabilities
from caryatid.model.resource import Row
from caryatid.model.rules import Limits, faults, size_faults, unsupported
from caryatid.model.tree import Tree

Grow = Callable[[Any], Tree]
REQUESTS = {"metric": "REQUESTS", "threshold": 10}
KBYTES = {"metric": "KBYTES", "threshold": 10}
GIVEN = {
    "id": "00000000-0000-4000-8000-0000000000aa",
    "ratelimitpolicy_id": "00000000-0000-4000-8000-0000000000ab",
    "project_id": "p",
    "created_at": "2026-11-20T19:05:00.000000",
}
CAN = Capabilities(
    listener_protocols=frozenset({"HTTP", "TCP"}),
    pool_protocols=frozenset(),
    algorithms=frozenset(),
    monitor_types=frozenset(),
    topologies=frozenset(),
    l7_protocols=frozenset(),
    rate_limit_protocols=frozenset({"HTTP", "TCP"}),
    rate_limit_actions=frozenset({"DENY", "REJECT"}),
    rate_limit_metrics=frozenset({"REQUESTS", "REQUESTS_PER_URL", "KBYTES"}),
    rate_limit_windows=2,
    reasons=(("QUEUE", "It never waits."),),
)


def limited(grow: Grow, *limits: Any, protocol: str = "HTTP") -> Tree:
    return grow({"listeners": [{"name": "web", "protocol": protocol, "rate_limits": list(limits)}]})


def found(tree: Tree, row: Row) -> list[tuple[int, str | None]]:
    return [(fault.status, fault.attribute) for fault in faults(tree, row, limits=Limits())]


def beyond(tree: Tree, row: Row, can: Capabilities = CAN) -> list[tuple[int, str | None]]:
    return [(fault.status, fault.attribute) for fault in unsupported(tree, row, can, "amphora")]


@pytest.mark.parametrize(("protocol", "policy", "rule", "wrong"), [
    ("HTTP", "DENY", REQUESTS, []),
    ("TERMINATED_HTTPS", "DENY", REQUESTS, []),
    ("TCP", "REJECT", KBYTES, []),
    ("HTTPS", "SILENT_DROP", KBYTES, []),
    ("TCP", "DENY", KBYTES, [(400, "action")]),
    ("TCP", "REJECT", REQUESTS, [(400, "metric")]),
    ("HTTPS", "REJECT", {**REQUESTS, "metric": "REQUESTS_PER_URL"}, [(400, "metric")]),
    ("PROMETHEUS", "DENY", REQUESTS, [(400, "listener_id")]),
])  # fmt: skip
def test_requests_are_counted_and_answered_where_they_are_read(
    grow: Grow, protocol: str, policy: str, rule: Any, wrong: Any
) -> None:
    certified = {"default_tls_container_ref": "http://x/1"} if protocol == "TERMINATED_HTTPS" else {}
    limits = [{"action": policy, "rules": [rule]}]
    tree = grow({"listeners": [{"name": "web", "protocol": protocol, "rate_limits": limits, **certified}]})
    (node,) = tree.rate_limits
    assert [*found(tree, node.policy), *found(tree, node.rules[0])] == wrong


@pytest.mark.parametrize("wrong", [
    {"threshold": 0}, {"threshold": 4_000_001}, {"interval": 0}, {"interval": 86_401}, {"metric": "CONNECTIONS"},
    {"metric": "REQUESTS_PER_URL", "urls": ["/a?b=c"]}, {"metric": "REQUESTS_PER_URL", "urls": ["a"]},
    {"metric": "REQUESTS_PER_URL", "urls": ["/x"] * 101},
])  # fmt: skip
def test_a_rule_that_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(Refused):
        RATELIMITRULE.new({**REQUESTS, **wrong}, GIVEN)


def test_paths_that_nobody_reads_are_dropped() -> None:
    rule: Any = RATELIMITRULE.new({**REQUESTS, "urls": ["/a"]}, GIVEN)
    assert (rule.urls, rule.interval) == ([], 30)
    assert RATELIMITRULE.new({**REQUESTS, "interval": None, "urls": None}, GIVEN) == rule


def test_policies_and_rules_need_what_they_hang_on(grow: Grow, id_of: Any) -> None:
    tree = limited(grow, {"action": "DENY", "rules": [REQUESTS]})
    (node,) = tree.rate_limits
    gone = id_of("gone")
    assert found(tree, node.policy.model_copy(update={"listener_id": gone})) == [(404, "listener_id")]
    assert found(tree, node.rules[0].model_copy(update={"ratelimitpolicy_id": gone})) == [(404, "ratelimitpolicy_id")]


def test_there_are_so_many_policies_and_rules_and_no_more(grow: Grow) -> None:
    tree = limited(grow, *[{"action": "DENY"}] * 21)
    *_, last_but_one, last = tree.rate_limits
    assert found(tree, last_but_one.policy) == []
    assert found(tree, last.policy) == [(409, "listener_id")]
    tree = limited(grow, {"action": "DENY", "rules": [REQUESTS] * 51})
    (node,) = tree.rate_limits
    assert found(tree, node.rules[-2]) == []
    assert found(tree, node.rules[-1]) == found(tree, node.policy) == [(409, "rules")]


def test_they_count_in_a_fully_populated_create(grow: Grow) -> None:
    tree = limited(grow, {"action": "DENY", "rules": [REQUESTS]})
    assert [fault.status for fault in size_faults(tree, limits=Limits(nested_objects=2))] == [400]
    assert list(size_faults(tree, limits=Limits(nested_objects=3))) == []


def test_what_a_provider_does_not_declare_is_a_501_that_names_the_attribute(grow: Grow) -> None:
    tree = limited(grow, {"action": "QUEUE", "rules": [{**REQUESTS, "metric": "PACKETS"}]})
    (node,) = tree.rate_limits
    assert beyond(tree, node.policy) == [(501, "action")]
    assert beyond(tree, node.rules[0]) == [(501, "metric")]
    none = replace(CAN, rate_limit_protocols=frozenset())
    assert beyond(tree, node.policy, none) == [(501, "listener_id"), (501, "action")]
    assert [fault.message.endswith("It never waits.") for fault in unsupported(tree, node.policy, CAN, "a")] == [True]


def test_a_listener_is_counted_in_so_many_ways_and_in_those_by_any_number_of_rules(grow: Grow) -> None:
    rules = [REQUESTS, {**REQUESTS, "interval": 5}, KBYTES, {**REQUESTS, "metric": "REQUESTS_PER_URL"}]
    tree = limited(grow, {"action": "DENY", "rules": rules[:2]}, {"action": "DENY", "rules": rules[2:3]})
    assert [beyond(tree, rule) for node in tree.rate_limits for rule in node.rules] == [[], [], []]
    tree = limited(grow, {"action": "DENY", "rules": rules[:2]}, {"action": "DENY", "rules": rules[2:]})
    assert beyond(tree, list(tree.rate_limits)[1].rules[1]) == [(501, "interval")]


def test_what_stands_above_a_rule_shows_that_something_is_on_its_way(grow: Grow, id_of: Any) -> None:
    tree = limited(grow, {"action": "DENY", "rules": [REQUESTS]})
    (node,) = tree.rate_limits
    policy, listener = id_of("ratelimitpolicy", "web", "1"), id_of("listener", "web")
    assert [key for _, key in ancestors(tree, node.rules[0])] == [policy, listener]
    assert [key for _, key in ancestors(tree, node.policy)] == [listener]
