# SPDX-License-Identifier: Apache-2.0
"""What it costs to decide what names are answered with: 10,000 gslbs of 3 pools of 4 members, seen from 3 regions."""

import gc
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from bench.figures import Figure, median, spread
from caryatid.model.gslb.words import POLICIES, SteeringPolicy
from caryatid.plan.gslb import Gslb, Member, Memory, Monitor, MonitorUse, Pool, PoolUse, Region, Rule, Vote
from caryatid.plan.steering import Decision, decide, digest
from caryatid.plan.votes import Look

NOW = 1_800_000_000.0
PLACES = {"eu": (50.1, 8.7), "us": (39.0, -77.5), "ap": (1.35, 103.8)}
REGIONS = {name: Region(name, name, north, east) for name, (north, east) in PLACES.items()}
MONITOR = Monitor("monitor", "web", interval_s=1.0, timeout_s=0.5)
ROUNDS = 5


class Name(NamedTuple):
    """A gslb and what belongs to it."""

    gslb: Gslb
    pools: Mapping[str, Pool]
    memory: Memory


def run(*, quick: bool) -> Iterator[Figure]:
    count = 1_000 if quick else 10_000
    names = [_name(number) for number in range(count)]
    look = Look(NOW)
    decisions = [decide(name.gslb, name.pools, REGIONS, name.memory, look) for name in names]
    names = [name._replace(memory=decision.memory) for name, decision in zip(names, decisions, strict=True)]
    gc.freeze()  # what the engine has loaded is not what is measured
    limit = 2.0 * count / 10_000
    yield _figure(f"{count:,} gslbs re-evaluated, nothing has changed", names, decisions, limit)
    changed = [name._replace(pools=_with("DOWN", name.pools)) for name in names]
    yield _figure("… a member of each has just gone down", changed, decisions, limit)
    for policy in POLICIES:
        alike = [name for name in names if name.gslb.policy == policy]
        before = [decision for name, decision in zip(names, decisions, strict=True) if name.gslb.policy == policy]
        cpu_s = _cpu_s(alike, before)
        yield Figure(f"… each of policy {policy}", cpu_s / len(alike) * 1e6, "µs")
    gc.unfreeze()


def _figure(title: str, names: Sequence[Name], before: Sequence[Decision], limit: float) -> Figure:
    rounds = [_cpu_s(names, before) for _ in range(ROUNDS)]
    return Figure(title, median(rounds), "s", limit, note=f"CPU, answers digested; {spread(rounds, 's')}")


def _cpu_s(names: Sequence[Name], before: Sequence[Decision]) -> float:
    """As the engine does it: decide, compare the digests of what is published, remember."""
    look = Look(NOW + 1)
    began = time.process_time()
    for name, was in zip(names, before, strict=True):
        decision = decide(name.gslb, name.pools, REGIONS, name.memory, look)
        for rrtype, answers in decision.answers.items():
            if answers != was.answers[rrtype]:
                digest(answers)
        digest(decision.answers["A"])
        digest(decision.answers["AAAA"])
    return time.process_time() - began


def _name(number: int) -> Name:
    pools = {f"{number}-{region}": _pool(number, region) for region in PLACES}
    policy: SteeringPolicy = list(POLICIES)[number % len(POLICIES)]
    uses = tuple(PoolUse(pool_id, priority) for priority, pool_id in enumerate(pools))
    rules = tuple(Rule((f"{number}-{region}",), countries=(code,)) for region, code in (("us", "US"), ("ap", "SG")))
    if policy not in ("failover", "geo"):
        uses = tuple(replace(use, priority=0) for use in uses)
    gslb = Gslb(f"{number}", f"n{number}.example.", policy=policy, uses=uses, rules=rules if policy == "geo" else ())
    return Name(gslb, pools, Memory())


def _pool(number: int, region: str) -> Pool:
    where = list(PLACES).index(region)
    members = tuple(_member(f"{number}-{region}-{each}", f"10.{where}.{number % 250}.{each}") for each in range(4))
    return Pool(f"{number}-{region}", members=members, monitors=(MonitorUse(MONITOR),), region_id=region)


def _member(member_id: str, address: str) -> Member:
    votes = tuple(Vote(region, f"checker-{region}", "UP", NOW - 60, NOW, "", 10.0 + len(region)) for region in PLACES)
    return Member(member_id, addresses=(address,), votes={MONITOR.id: votes})


def _with(word: str, pools: Mapping[str, Pool]) -> dict[str, Pool]:
    """The first member of the first pool is seen so by all regions."""
    first, *others = pools.values()
    member = first.members[0]
    votes = tuple(replace(vote, word=word, at=NOW, reason="connection refused") for vote in member.votes[MONITOR.id])
    members = (replace(member, votes={MONITOR.id: votes}), *first.members[1:])
    return {pool.id: pool for pool in (replace(first, members=members), *others)}
