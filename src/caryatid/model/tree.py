# SPDX-License-Identifier: Apache-2.0
"""A load balancer and all below it, linked: what is checked, rendered and handed to drivers.

Detached from the database: whoever has a tree cannot write to it (seed 003).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .bundle import Bundle, Purpose
from .healthmonitor import HealthMonitor
from .l7 import L7Policy, L7Rule
from .listener import Listener
from .loadbalancer import LoadBalancer, Vip
from .member import Member
from .pool import Pool
from .ratelimit import RateLimitPolicy, RateLimitRule
from .resource import Row


@dataclass(frozen=True, slots=True)
class PoolNode:
    """A pool, who is in it and what checks them."""

    pool: Pool
    members: tuple[Member, ...] = ()
    healthmonitor: HealthMonitor | None = None


@dataclass(frozen=True, slots=True)
class PolicyNode:
    """An L7 policy, its rules, and the pool it sends to."""

    policy: L7Policy
    rules: tuple[L7Rule, ...] = ()
    redirect_pool: PoolNode | None = None

    @property
    def rules_up(self) -> tuple[L7Rule, ...]:
        """The rules that count; none of a policy that does not."""
        return tuple(rule for rule in self.rules if self.policy.admin_state_up and rule.admin_state_up)


@dataclass(frozen=True, slots=True)
class RateLimitNode:
    """A rate limit policy and its rules."""

    policy: RateLimitPolicy
    rules: tuple[RateLimitRule, ...] = ()

    @property
    def rules_up(self) -> tuple[RateLimitRule, ...]:
        """The rules that count; none of a policy that does not."""
        return tuple(rule for rule in self.rules if self.policy.admin_state_up and rule.admin_state_up)


@dataclass(frozen=True, slots=True)
class ListenerNode:
    """A listener, its default pool, its L7 policies in order of position, and its rate limits."""

    listener: Listener
    default_pool: PoolNode | None = None
    l7policies: tuple[PolicyNode, ...] = ()
    rate_limits: tuple[RateLimitNode, ...] = ()

    @property
    def pools(self) -> tuple[PoolNode, ...]:
        """Every pool it sends to, the default one first, each once."""
        found = {}
        for node in (self.default_pool, *(policy.redirect_pool for policy in self.l7policies)):
            if node is not None:
                found[node.pool.id] = node
        return tuple(found.values())


@dataclass(frozen=True, slots=True)
class Tree:
    """A load balancer and all below it. Rows that are being deleted are not in it, but for those in `leaving`."""

    loadbalancer: LoadBalancer
    listeners: tuple[ListenerNode, ...] = ()
    pools: tuple[PoolNode, ...] = ()
    leaving: tuple[Listener, ...] = ()
    """Listeners that are being deleted."""
    generation: int = 0
    deleted: bool = False
    """The load balancer itself is being deleted."""
    flavor: Mapping[str, Any] = field(default_factory=dict)
    """What its flavor says (`loadbalancer_topology`, …)."""
    zone: Mapping[str, Any] = field(default_factory=dict)
    """What its availability zone says."""
    bundles: Mapping[tuple[str, Purpose], Bundle] = field(default_factory=dict, repr=False)
    """What its container references stand for, by reference and purpose."""

    @property
    def vips(self) -> tuple[Vip, ...]:
        return self.loadbalancer.vips

    @property
    def policies(self) -> Iterator[PolicyNode]:
        for node in self.listeners:
            yield from node.l7policies

    @property
    def rate_limits(self) -> Iterator[RateLimitNode]:
        for node in self.listeners:
            yield from node.rate_limits

    def pool(self, pool_id: str | None) -> PoolNode | None:
        return next((node for node in self.pools if node.pool.id == pool_id), None)

    def listener(self, listener_id: str | None) -> ListenerNode | None:
        return next((node for node in self.listeners if node.listener.id == listener_id), None)

    def listeners_of(self, pool_id: str) -> tuple[ListenerNode, ...]:
        """The listeners that send to the pool, by default or by an L7 policy."""
        return tuple(node for node in self.listeners if any(p.pool.id == pool_id for p in node.pools))


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of a tree, not yet linked."""

    listeners: Sequence[Listener] = ()
    pools: Sequence[Pool] = ()
    members: Sequence[Member] = ()
    healthmonitors: Sequence[HealthMonitor] = ()
    l7policies: Sequence[L7Policy] = ()
    l7rules: Sequence[L7Rule] = ()
    rate_limit_policies: Sequence[RateLimitPolicy] = ()
    rate_limit_rules: Sequence[RateLimitRule] = ()

    def with_row(self, row: Row) -> "Rows":
        """The same with `row` added, or put in place of the row with its id."""
        return self.with_rows([row])

    def with_rows(self, rows: Sequence[Row]) -> "Rows":
        """The same with `rows`, all of one kind, added or put in place of those with their ids."""
        name = NAMES.get(type(rows[0])) if rows else None
        if name is None:
            return self
        values = {key: getattr(self, key) for key in NAMES.values()}
        ids = {row.id for row in rows}
        values[name] = (*(other for other in values[name] if other.id not in ids), *rows)
        return Rows(**values)


NAMES: dict[type[Row], str] = {
    Listener: "listeners",
    Pool: "pools",
    Member: "members",
    HealthMonitor: "healthmonitors",
    L7Policy: "l7policies",
    L7Rule: "l7rules",
    RateLimitPolicy: "rate_limit_policies",
    RateLimitRule: "rate_limit_rules",
}


def link(loadbalancer: LoadBalancer, rows: Rows, **rest: Any) -> Tree:
    """The tree of `loadbalancer` out of the rows below it; `rest` are Tree's further fields."""
    members = _group(rows.members, "pool_id")
    monitors = {monitor.pool_id: monitor for monitor in rows.healthmonitors}
    pools = {
        pool.id: PoolNode(pool, tuple(members.get(pool.id, ())), monitors.get(pool.id))
        for pool in sorted(rows.pools, key=_age)
    }
    rules = _group(sorted(rows.l7rules, key=_age), "l7policy_id")
    policies = _group(sorted(rows.l7policies, key=lambda policy: (policy.position, *_age(policy))), "listener_id")
    limits = _rate_limits(rows)
    listeners = tuple(
        ListenerNode(
            listener,
            pools.get(listener.default_pool_id or ""),
            tuple(
                PolicyNode(policy, tuple(rules.get(policy.id, ())), pools.get(policy.redirect_pool_id or ""))
                for policy in policies.get(listener.id, ())
            ),
            tuple(limits.get(listener.id, ())),
        )
        for listener in sorted(rows.listeners, key=_age)
    )
    return Tree(loadbalancer, listeners, tuple(pools.values()), **rest)


def _rate_limits(rows: Rows) -> dict[str, list[RateLimitNode]]:
    """By listener."""
    rules = _group(sorted(rows.rate_limit_rules, key=_age), "ratelimitpolicy_id")
    found: dict[str, list[RateLimitNode]] = {}
    for policy in sorted(rows.rate_limit_policies, key=_age):
        found.setdefault(policy.listener_id, []).append(RateLimitNode(policy, tuple(rules.get(policy.id, ()))))
    return found


def _age(row: Any) -> tuple[str, str]:
    return row.created_at, row.id


def _group(rows: Iterable[Any], by: str) -> dict[str, list[Any]]:
    groups: dict[str, list[Any]] = {}
    for row in rows:
        groups.setdefault(getattr(row, by), []).append(row)
    return groups
