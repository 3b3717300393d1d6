# SPDX-License-Identifier: Apache-2.0
"""What else of a tree changes, or goes, when one row of it does."""

from collections.abc import Iterator, Sequence
from typing import TypeVar

from .healthmonitor import HEALTHMONITOR, HealthMonitor
from .kind import Kind
from .l7 import L7POLICY, L7RULE, L7Policy, L7Rule
from .listener import LISTENER
from .loadbalancer import LOADBALANCER
from .member import MEMBER, Member
from .pool import POOL, Pool
from .ratelimit import RATELIMITPOLICY, RATELIMITRULE, RateLimitPolicy, RateLimitRule
from .resource import Row
from .tree import Tree

R = TypeVar("R", bound=Row)

BELOW: dict[str, tuple[tuple[Kind, str], ...]] = {
    LOADBALANCER.name: (
        (LISTENER, "loadbalancer_id"),
        (POOL, "loadbalancer_id"),
    ),
    LISTENER.name: ((L7POLICY, "listener_id"), (RATELIMITPOLICY, "listener_id")),
    POOL.name: ((MEMBER, "pool_id"), (HEALTHMONITOR, "pool_id")),
    L7POLICY.name: ((L7RULE, "l7policy_id"),),
    RATELIMITPOLICY.name: ((RATELIMITRULE, "ratelimitpolicy_id"),),
}
"""What goes with a row that is deleted: kinds, and the attribute by which they hang on it."""


def replace(row: R, **values: object) -> R:
    """`row` with other values of some attributes, which are known to be right."""
    return row.model_copy(update=values)


def ancestors(tree: Tree, row: Row) -> Iterator[tuple[Kind, str]]:
    """Kind and id of what shows PENDING_UPDATE while `row` is on its way, the load balancer apart."""
    match row:
        case Member() | HealthMonitor():
            yield POOL, row.pool_id
            yield from ((LISTENER, node.listener.id) for node in tree.listeners_of(row.pool_id))
        case Pool():
            yield from ((LISTENER, node.listener.id) for node in tree.listeners_of(row.id))
        case L7Policy() | RateLimitPolicy():
            yield LISTENER, row.listener_id
        case L7Rule():
            for policy in (node.policy for node in tree.policies if node.policy.id == row.l7policy_id):
                yield L7POLICY, policy.id
                yield LISTENER, policy.listener_id
        case RateLimitRule():
            for limit in (node.policy for node in tree.rate_limits if node.policy.id == row.ratelimitpolicy_id):
                yield RATELIMITPOLICY, limit.id
                yield LISTENER, limit.listener_id
        case _:
            return


def changed_by(tree: Tree, row: Row) -> Iterator[tuple[Kind, Row]]:
    """Rows that change because `row`, which is in `tree`, is new or has changed."""
    if isinstance(row, Pool) and row.listener_id:
        node = tree.listener(row.listener_id)
        if node is not None and node.listener.default_pool_id is None:
            yield LISTENER, replace(node.listener, default_pool_id=row.id)
    if isinstance(row, L7Policy):
        yield from _renumbered([policy for policy in _siblings(tree, row) if policy.id != row.id], row)


def changed_without(tree: Tree, row: Row) -> Iterator[tuple[Kind, Row]]:
    """Rows that change because `row`, which is still in `tree`, is being deleted."""
    if isinstance(row, Pool):
        for node in tree.listeners:
            if node.listener.default_pool_id == row.id:
                yield LISTENER, replace(node.listener, default_pool_id=None)
    if isinstance(row, L7Policy):
        yield from _renumbered([policy for policy in _siblings(tree, row) if policy.id != row.id], None)


def _siblings(tree: Tree, row: L7Policy) -> Sequence[L7Policy]:
    node = tree.listener(row.listener_id)
    return [child.policy for child in node.l7policies] if node else []


def _renumbered(others: Sequence[L7Policy], row: L7Policy | None) -> Iterator[tuple[Kind, Row]]:
    """The policies of a listener whose position changes when they are counted from 1, `row` put at its place."""
    order = list(others)
    if row is not None:
        order.insert(row.position - 1, row)
    for position, policy in enumerate(order, start=1):
        if policy.position != position:
            yield L7POLICY, replace(policy, position=position)
