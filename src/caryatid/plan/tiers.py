# SPDX-License-Identifier: Apache-2.0
"""Which of a gslb's pools are in force: the first that are well, with what failback and `on_all_down` say.

first(gslb, states, memory, now) → Served        the first tier that is well; how is "nothing" if none is
resort(gslb, states, healths, last) → Served     what then
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Literal, NamedTuple

from caryatid.model.gslb.gslb import OnAllDown
from caryatid.model.gslb.words import SteeringPolicy

from .gslb import Gslb, Memory, PoolUse
from .pools import PoolState, relaxed
from .standing import Health

How = Literal["well", "waiting", "held back", "short", "nothing"] | OnAllDown
"""`waiting`: well, and a pool that comes first is well again, but has to wait. `held back`: nothing is well but those
that flap. `short`: too few are up for their pools to be well, and there is nothing better."""
ONE_POOL: frozenset[SteeringPolicy] = frozenset({"failover", "geo"})
"""Policies of which each pool is a tier of its own."""


class Served(NamedTuple):
    """What is answered with."""

    how: How
    policy: SteeringPolicy
    pools: Sequence[tuple[PoolState, int]] = ()
    """In order, with the gslb's weight for each; policies of one pool: the first, and who could take its place."""
    key: str = ""
    """Names the tier."""
    again_at: float | None = None


class _Tier(NamedTuple):
    key: str
    pools: Sequence[tuple[PoolState, int]]

    @property
    def well(self) -> Sequence[tuple[PoolState, int]]:
        return [each for each in self.pools if each[0].well]


def uses(gslb: Gslb) -> Sequence[PoolUse]:
    """Its pools, by priority. Who gives rules alone has the pools of all rules for everybody else: that there is
    nothing for some clients only is what resolvers get wrong."""
    if gslb.uses or gslb.policy != "geo":
        return sorted(gslb.uses, key=lambda use: use.priority)
    named = dict.fromkeys(pool_id for rule in gslb.rules for pool_id in rule.pool_ids)
    return [PoolUse(pool_id) for pool_id in named]


def first(
    gslb: Gslb, states: Mapping[str, PoolState], since: Mapping[str, float], memory: Memory, now: float
) -> Served:
    """The tier in force, or none. `since`: when pools that are well became so."""
    tiers = _tiers(gslb, states)
    wells = [number for number, tier in enumerate(tiers) if tier.well]
    if not wells:
        return Served("nothing", gslb.policy)
    best, again_at = wells[0], None
    kept = memory.tier if memory.revision == gslb.revision else ""
    current = next((number for number in wells if tiers[number].key == kept), best)
    if best < current:
        best, again_at = _back(gslb, tiers, wells[: wells.index(current) + 1], since, now)
    tier = tiers[best]
    pools = [each.pools[0] for each in tiers[best:] if each.well] if gslb.policy in ONE_POOL else tier.well
    return Served("well" if best == wells[0] else "waiting", gslb.policy, pools, tier.key, again_at)


def _used(gslb: Gslb, states: Mapping[str, PoolState]) -> list[PoolUse]:
    """Those that there are, and whose weight is not 0 where weights count."""
    counts = gslb.policy in ("weighted", "source_hash")
    return [use for use in uses(gslb) if use.pool_id in states and (use.weight or not counts)]


def _tiers(gslb: Gslb, states: Mapping[str, PoolState]) -> list[_Tier]:
    used = _used(gslb, states)
    if gslb.policy in ONE_POOL:
        return [_Tier(use.pool_id, [(states[use.pool_id], use.weight)]) for use in used]
    tiers: dict[int, list[tuple[PoolState, int]]] = {}
    for use in used:
        tiers.setdefault(use.priority, []).append((states[use.pool_id], use.weight))
    return [_Tier(str(priority), pools) for priority, pools in tiers.items()]


def _back(
    gslb: Gslb, tiers: Sequence[_Tier], wells: Sequence[int], since: Mapping[str, float], now: float
) -> tuple[int, float | None]:
    """The tier that is gone back to, of those before the current one (the last of `wells`), and when to look again."""
    current = wells[-1]
    if gslb.failback == "manual":
        return current, None
    times: list[float] = []
    for number in wells[:-1]:
        at = min(since.get(state.pool.id, now) for state, _ in tiers[number].well) + gslb.failback_delay
        if at <= now:
            return number, min(times, default=None)
        times.append(at)
    return current, min(times)


def resort(gslb: Gslb, states: Mapping[str, PoolState], healths: Mapping[str, Health], last: Collection[str]) -> Served:
    """What is answered when nothing is well."""
    policy: SteeringPolicy = "multivalue" if gslb.policy in (*ONE_POOL, "latency") else gslb.policy
    if policy != gslb.policy and "CNAME" in gslb.record_types:  # one name, and always the same, as far as can be
        policy = "failover"
    pools = [(states[use.pool_id], use.weight) for use in _used(gslb, states)]
    match gslb.on_all_down:
        case "fail_closed":
            return Served("nothing", policy)
        case "last_known":
            pools = _relaxed(gslb, pools, healths, last)
            return Served("last_known" if pools else "nothing", policy, pools)
        case "fallback_pool":
            fallback = states.get(gslb.fallback_pool_id or "")
            if fallback is not None and fallback.well:
                return Served("fallback_pool", "failover", [(fallback, 1)])
            policy, pools = "failover", [(fallback, 1)] if fallback else []
        case "fail_open":
            pass
    up = _relaxed(gslb, pools, healths, [member for member, health in healths.items() if health.word == "UP"])
    if up:
        return Served("short", policy, up)
    pools = _relaxed(gslb, pools, healths, healths)
    return Served("fail_open" if pools else "nothing", policy, pools)


def _relaxed(
    gslb: Gslb, pools: Sequence[tuple[PoolState, int]], healths: Mapping[str, Health], fit: Collection[str]
) -> list[tuple[PoolState, int]]:
    fit = frozenset(fit)
    states = [(relaxed(state, healths, gslb.record_types, fit), weight) for state, weight in pools]
    return [(state, weight) for state, weight in states if state.well]
