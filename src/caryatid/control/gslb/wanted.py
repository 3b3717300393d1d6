# SPDX-License-Identifier: Apache-2.0
"""A gslb as it is stored, with what is said of its members → what a decision is made from (plan/gslb.py)."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from caryatid.model.gslb.gslb import GeoRule
from caryatid.model.gslb.member import GslbMember
from caryatid.model.gslb.monitor import GslbMonitor
from caryatid.model.gslb.place import GslbRegion
from caryatid.model.gslb.pool import GslbPool
from caryatid.model.gslb.tree import GslbTree
from caryatid.plan import gslb as plan
from caryatid.store import clock
from caryatid.store.gslb.loadbalancers import Own
from caryatid.store.gslb.votes import Seen

ITSELF = "its own status"
"""Who says how a load balancer is, or a port, in place of a checker's name."""


class Said(NamedTuple):
    """What is said of members, by their ids."""

    votes: Mapping[str, Sequence[Seen]]
    own: Mapping[str, Own]


NOTHING_SAID = Said({}, {})


def gslb_of(tree: GslbTree) -> plan.Gslb:
    """What of it matters for a decision."""
    wanted = tree.gslb
    rules = (*wanted.rules, *(tree.geomap.rules if tree.geomap and wanted.steering_policy == "geo" else ()))
    return plan.Gslb(
        wanted.id,
        wanted.fqdn,
        tuple(wanted.record_types),
        wanted.steering_policy,
        tuple(plan.PoolUse(use.pool_id, use.priority, use.weight) for use in wanted.pools),
        tuple(_rule(rule) for rule in rules),
        wanted.ttl,
        wanted.ttl_degraded,
        wanted.fallback_pool_id,
        wanted.on_all_down,
        wanted.max_answers,
        wanted.hash_prefix_v4,
        wanted.hash_prefix_v6,
        wanted.use_ecs,
        wanted.failback,
        wanted.failback_delay,
        wanted.admin_state_up,
        wanted.updated_at or wanted.created_at,
    )


def pools_of(tree: GslbTree, said: Said, known: dict[str, plan.Pool]) -> dict[str, plan.Pool]:
    """All pools that it uses, with their members and what is said of these. `known`: those that others use, too; it
    grows."""
    monitors: dict[str, plan.Monitor] = {}
    for key, pool in tree.pools.items():
        if key not in known:
            monitors = monitors or {name: monitor_of(monitor) for name, monitor in tree.monitors.items()}
            known[key] = _pool(pool, monitors, [_member(member, said) for member in tree.members.get(key, ())])
    return {key: known[key] for key in tree.pools}


def regions_of(regions: Iterable[GslbRegion]) -> dict[str, plan.Region]:
    """Those that count."""
    return {
        region.id: plan.Region(region.id, region.name, region.latitude, region.longitude)
        for region in regions
        if region.enabled
    }


def _rule(rule: GeoRule) -> plan.Rule:
    return plan.Rule(
        tuple(rule.pool_ids), tuple(rule.cidrs), tuple(rule.countries), tuple(rule.continents), tuple(rule.asns)
    )


def _pool(pool: GslbPool, monitors: Mapping[str, plan.Monitor], members: Sequence[plan.Member]) -> plan.Pool:
    uses = tuple(
        plan.MonitorUse(monitors[use.monitor_id], use.must_be_healthy, use.observe_only)
        for use in pool.monitors
        if use.monitor_id in monitors
    )
    return plan.Pool(
        pool.id,
        pool.name,
        tuple(members),
        uses,
        pool.monitor_policy,
        str(pool.minimum_healthy),
        pool.member_policy,
        pool.shed_percent,
        pool.admin_state_up,
        pool.region_id,
        pool.latitude,
        pool.longitude,
        pool.bias,
    )


def monitor_of(monitor: GslbMonitor) -> plan.Monitor:
    """What of it matters for a decision."""
    return plan.Monitor(
        monitor.id,
        monitor.name,
        monitor.interval,
        monitor.timeout,
        tuple(monitor.regions),
        monitor.quorum.policy,
        monitor.quorum.value or 0,
        monitor.per_region,
        monitor.insufficient_data,
        monitor.admin_state_up,
        monitor.told_s,
    )


def _member(member: GslbMember, said: Said) -> plan.Member:
    votes: dict[str, list[plan.Vote]] = {}
    for seen in said.votes.get(member.id, ()):
        votes.setdefault(seen.monitor_id, []).append(_vote(seen))
    addresses: tuple[str, ...] = (member.address,) if member.address is not None else ()
    own = said.own.get(member.id)
    if own is not None:
        addresses = own.addresses
        if own.word is not None:
            why = "; ".join(filter(None, (own.reason, own.problem)))
            votes[plan.OWN] = [plan.Vote(own.region_id, ITSELF, own.word, own.since, own.confirmed_at, why)]
    return plan.Member(
        member.id,
        member.name,
        addresses,
        (member.hostname or "") if member.type == "hostname" else "",
        member.weight,
        member.priority,
        member.backup,
        member.serve_mode,
        member.admin_state_up,
        clock.epoch_s(member.drain_until) if member.drain_until is not None else None,
        member.updated_at or member.created_at,
        votes,
        own.good_s if own is not None and own.word is not None else None,
    )


def _vote(seen: Seen) -> plan.Vote:
    word: plan.Word = "UP" if seen.word == "UP" else "DOWN" if seen.word == "DOWN" else "UNKNOWN"
    return plan.Vote(seen.region_id, seen.checker, word, seen.since, seen.confirmed_at, seen.reason, seen.rtt_ms)
