# SPDX-License-Identifier: Apache-2.0
"""What rate limits may stand on which listener. Pure."""

from collections.abc import Iterator

from caryatid.errors import Fault

from .flavor import Capabilities
from .listener import HTTP_PROTOCOLS
from .ratelimit import HTTP_ONLY, RateLimitPolicy, RateLimitRule
from .resource import Row
from .tree import ListenerNode, RateLimitNode, Tree


def policy_faults(tree: Tree, row: RateLimitPolicy, policies_max: int, rules_max: int) -> Iterator[Fault]:
    """What is wrong with a policy in `tree`."""
    node = tree.listener(row.listener_id)
    if node is None:
        yield Fault(f"Listener {row.listener_id} not found.", "listener_id", 404)
        return
    protocol = node.listener.protocol
    if protocol == "PROMETHEUS":
        yield Fault("Protocol PROMETHEUS listeners cannot have child objects.", "listener_id")
    elif row.action in HTTP_ONLY and protocol not in HTTP_PROTOCOLS:
        yield Fault(
            f"Validation failure: {row.action} answers a request, and {protocol} listeners read none: REJECT or "
            "SILENT_DROP is what they can do.",
            "action",
        )
    place = _place(node, row.id)
    if place is not None and place >= policies_max:
        yield Fault(f"Too many rate limit policies on listener {row.listener_id}", "listener_id", 409)
    if place is not None and len(node.rate_limits[place].rules) > rules_max:
        yield _too_many_rules(row.id)


def rule_faults(tree: Tree, row: RateLimitRule, rules_max: int) -> Iterator[Fault]:
    """What is wrong with a rule in `tree`."""
    found = _around(tree, row)
    if found is None:
        yield Fault(f"RateLimitPolicy {row.ratelimitpolicy_id} not found.", "ratelimitpolicy_id", 404)
        return
    listener, policy = found
    protocol = listener.listener.protocol
    if row.metric in HTTP_ONLY and protocol not in (*HTTP_PROTOCOLS, "PROMETHEUS"):
        yield Fault(
            f"Validation failure: {row.metric} cannot be counted on {protocol} listeners, where no requests are read.",
            "metric",
        )
    if len(policy.rules) > rules_max and policy.rules[-1].id == row.id:
        yield _too_many_rules(policy.policy.id)


def beyond(tree: Tree, row: Row, can: Capabilities) -> Iterator[tuple[str, str, str]]:
    """Attribute, word and description of each thing that is asked of `row` beyond what is declared."""
    match row:
        case RateLimitPolicy():
            node = tree.listener(row.listener_id)
            if node and node.listener.protocol not in (*can.rate_limit_protocols, "PROMETHEUS"):
                yield "listener_id", "rate_limit_protocols", f"rate limits on {node.listener.protocol} listeners"
            if row.action not in can.rate_limit_actions:
                yield "action", row.action, f"rate limits of action {row.action}"
        case RateLimitRule() if row.metric not in can.rate_limit_metrics:
            yield "metric", row.metric, f"rate limits of metric {row.metric}"
        case RateLimitRule():
            yield from _windows_beyond(tree, row, can.rate_limit_windows)
        case _:
            return


def _windows_beyond(tree: Tree, row: RateLimitRule, windows_max: int) -> Iterator[tuple[str, str, str]]:
    found = _around(tree, row)
    siblings = [rule for node in found[0].rate_limits for rule in node.rules if rule.id != row.id] if found else []
    others = {rule.window for rule in siblings}
    if len({*others, row.window}) > max(windows_max, len(others)):
        what = f"more than {windows_max} different intervals on a listener, those of REQUESTS_PER_URL apart"
        yield "interval", "rate_limit_windows", what


def _around(tree: Tree, row: RateLimitRule) -> tuple[ListenerNode, RateLimitNode] | None:
    """The listener and the policy that the rule belongs to."""
    for listener in tree.listeners:
        for policy in listener.rate_limits:
            if policy.policy.id == row.ratelimitpolicy_id:
                return listener, policy
    return None


def _place(node: ListenerNode, key: str) -> int | None:
    return next((place for place, limit in enumerate(node.rate_limits) if limit.policy.id == key), None)


def _too_many_rules(key: str) -> Fault:
    return Fault(f"Too many rules on rate limit policy {key}", "rules", 409)
