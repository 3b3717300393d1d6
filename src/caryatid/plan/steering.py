# SPDX-License-Identifier: Apache-2.0
"""What a name is answered with: a gslb, its pools and what is remembered → answers, statuses, reasons (gslb.md §6.3).

    what there is (plan/gslb.py) ──votes.py──▶ checks ──standing.py──▶ members ──pools.py──▶ pools that are well
        ──tiers.py──▶ pools in force, or what on_all_down says ──choices.py, latency.py──▶ Answers of each record type

The result is a function of what is handed in; the order of votes and members is of no account. Nobody who is draining,
disabled, of weight 0, or in a disabled pool is ever answered with. What is remembered is JSON
(`memory.document()`, `Memory.read`), and the very same object if nothing has changed.

    decide(gslb, pools, regions, memory, look) → Decision
    digest(answers) → str                the same for the same answers, always
    needed(answers) → policies           that a DNS driver must be able to do

An engine that finds `Decision.unagreed` asks `plan/guard.py`, and decides again with those in `Look.held`.
`plan/explaining.py` says what a client would be told.
"""

from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from typing import NamedTuple

import orjson

from caryatid.model.gslb.answers import Answers, Choice, Clients, Variant
from caryatid.model.gslb.gslb import RecordType
from caryatid.model.gslb.words import GslbStatus, SteeringPolicy

from .choices import Pools, Way, by_rule, choice
from .gslb import Gslb, Member, MemberMemory, Memory, Pool, Region
from .latency import ANYWHERE, fastest, rtts
from .pools import FINE, OWNERS_WILL, PoolState, answerable, muster
from .proximity import Place, place_of
from .standing import Health, checks_of, earliest, stand
from .tiers import ONE_POOL, How, Served, first, resort
from .votes import Look

WHY_MAX = 20
"""Sentences about what is not well."""


class Decision(NamedTuple):
    answers: Mapping[RecordType, Answers]
    """One for each record type, also where there is nothing to answer: the name exists (NODATA)."""
    status: GslbStatus
    pools: Mapping[str, GslbStatus]
    members: Mapping[str, Health]
    why: tuple[str, ...]
    """Sentences: what is in force, then whatever is not well."""
    memory: Memory
    again_at: float | None
    """When time alone may change something; that votes expire is not in it (each member's `expires_at`)."""
    unagreed: frozenset[str]
    """Members that go out of answers, or would, without agreeing evidence."""


def decide(
    gslb: Gslb, pools: Mapping[str, Pool], regions: Mapping[str, Region], memory: Memory, look: Look
) -> Decision:
    """What the name is answered with at that moment. `pools`: all that it, its rules or its fallback name; `regions`:
    those that are enabled."""
    healths = _healths(pools, regions, memory, look)
    states = {pool.id: muster(pool, healths, gslb.record_types) for pool in pools.values()}
    since = _since(states, memory, look)
    served = first(gslb, states, since, memory, look.now)
    if served.how == "nothing":
        served = _in_need(gslb, states, healths, memory, look)
    pins, rows = _fastest(gslb, served, regions, memory)
    hurt = any(state.hurt for state in states.values())
    ttl = gslb.ttl_degraded if hurt and gslb.ttl_degraded is not None else gslb.ttl
    shown = served if gslb.enabled else served._replace(policy="failover", pools=())
    rules = _rules(gslb, states)
    return Decision(
        _answers(gslb, shown, rules, rows if gslb.enabled else (), regions, ttl),
        _status(gslb, states, served, hurt=hurt, elsewhere=any(rules)),
        {pool_id: state.status for pool_id, state in states.items()},
        healths,
        tuple(_why(gslb, states, served, healths, regions)),
        _remembered(gslb, _memories(healths, memory), since, served, pins, memory),
        earliest([served.again_at, *[health.again_at for health in healths.values()]]),
        frozenset([member_id for member_id, health in healths.items() if health.unagreed]),
    )


def digest(answers: Answers) -> str:
    """The same for the same answers, in whatever process and version."""
    return blake2b(orjson.dumps(answers), digest_size=16).hexdigest()


def needed(answers: Answers) -> frozenset[SteeringPolicy]:
    """The policies that a DNS driver must be able to do to say this; none: an RRset says it."""
    found: set[SteeringPolicy] = set()
    for each in (answers.default, *(variant.choice for variant in answers.variants)):
        if each.way != "all":
            found.add(WAYS[each.way])
        elif len(each.candidates) > each.count:
            found.add("multivalue")
    found.update("latency" if variant.clients.near else "geo" for variant in answers.variants)
    return frozenset(found)


WAYS: Mapping[str, SteeringPolicy] = {"weighted": "weighted", "hash": "source_hash", "nearest": "proximity"}


def _healths(pools: Mapping[str, Pool], regions: Mapping[str, Region], memory: Memory, look: Look) -> dict[str, Health]:
    known = memory.members
    healths: dict[str, Health] = {}
    for pool in pools.values():
        checks = checks_of(pool.monitors, pool.monitor_policy, regions)
        for member in pool.members:
            healths[member.id] = stand(member, checks, known.get(member.id), look)
    return healths


def _memories(healths: Mapping[str, Health], memory: Memory) -> Mapping[str, MemberMemory]:
    members = {member_id: health.memory for member_id, health in healths.items()}
    return memory.members if members == memory.members else members


def _since(states: Mapping[str, PoolState], memory: Memory, look: Look) -> Mapping[str, float]:
    """When pools that are well became so."""
    known = memory.pools
    since = {pool_id: known.get(pool_id, look.now) for pool_id, state in states.items() if state.well}
    return known if since == known else since


def _in_need(
    gslb: Gslb, states: Mapping[str, PoolState], healths: Mapping[str, Health], memory: Memory, look: Look
) -> Served:
    """Nothing is well. Those that are up and only held back because they flap are better than what is down."""
    spared = {
        member_id: health if health.well or not health.open else health._replace(well=health.word == "UP")
        for member_id, health in healths.items()
    }
    kept = memory.tier if memory.revision == gslb.revision else ""
    if any(spared[member_id].well and not health.well for member_id, health in healths.items()):
        eased = {pool_id: muster(state.pool, spared, gslb.record_types) for pool_id, state in states.items()}
        served = first(gslb, eased, {}, Memory(), look.now)
        if served.how != "nothing":
            return served._replace(how="held back", key=kept)
    return resort(gslb, states, healths, memory.last)._replace(key=kept)


Rows = Sequence[tuple[str, Pools]]
"""Policy `latency`: for each region the pools from the fastest to the slowest."""


def _fastest(
    gslb: Gslb, served: Served, regions: Mapping[str, Region], memory: Memory
) -> tuple[Mapping[str, str], Rows]:
    if served.policy != "latency" or not served.pools:
        return (memory.fastest if gslb.policy == "latency" else {}), ()
    states = [state for state, _ in served.pools]
    measured = [rtts(state, regions) for state in states]
    seen = [ANYWHERE, *(region_id for region_id in sorted(regions) if any(region_id in found for found in measured))]
    rows = []
    for region_id in seen:
        ranked = fastest(states, measured, region_id, memory.fastest.get(region_id, ""))
        rows.append((region_id, [served.pools[number] for number in ranked]))
    pins = {region_id: ranked[0][0].pool.id for region_id, ranked in rows}
    return (memory.fastest if pins == memory.fastest else pins), rows


def _answers(
    gslb: Gslb, served: Served, rules: Sequence[Pools | None], rows: Rows, regions: Mapping[str, Region], ttl: int
) -> dict[RecordType, Answers]:
    """`rules`: who answers for each, None: whoever answers for everybody else."""
    places = _places(served, regions) if served.policy == "proximity" else {}
    found: dict[RecordType, Answers] = {}
    for rrtype in gslb.record_types:
        way = Way(served.policy, rrtype, gslb.max_answers, places)
        default = choice(way, rows[0][1] if rows else served.pools)
        variants: tuple[Variant, ...] = ()
        if rules:
            geo = way._replace(policy="geo")
            variants = by_rule(gslb.rules, [choice(geo, each) if each else default for each in rules], default)
        elif len(rows) > 1:
            variants = _near(way, rows[1:], regions, default)
        found[rrtype] = Answers(
            gslb.fqdn,
            rrtype,
            ttl,
            default,
            variants,
            gslb.use_ecs,
            gslb.hash_prefix_v4,
            gslb.hash_prefix_v6,
        )
    return found


def _rules(gslb: Gslb, states: Mapping[str, PoolState]) -> list[Pools | None]:
    """For each rule its pools that are well, the first in front."""
    if gslb.policy != "geo" or not gslb.enabled:
        return []
    return [
        [(states[pool_id], 1) for pool_id in rule.pool_ids if pool_id in states and states[pool_id].well] or None
        for rule in gslb.rules
    ]


def _places(served: Served, regions: Mapping[str, Region]) -> dict[str, Place | None]:
    """Where pools are: their own place, else that of their region."""
    return {
        state.pool.id: place_of(state.pool) or place_of(regions.get(state.pool.region_id or ""))
        for state, _ in served.pools
    }


def _near(way: Way, rows: Rows, regions: Mapping[str, Region], default: Choice) -> tuple[Variant, ...]:
    """For clients near each region whatever it finds fastest. Who is as well served by the default needs no mention."""
    placed = [(place, ranked) for region_id, ranked in rows if (place := place_of(regions[region_id])) is not None]
    places = tuple(place for place, _ in placed)
    variants = [Variant(Clients(near=(place, places)), choice(way, ranked)) for place, ranked in placed]
    return tuple(variant for variant in variants if variant.choice != default)


def _status(gslb: Gslb, states: Mapping[str, PoolState], served: Served, *, hurt: bool, elsewhere: bool) -> GslbStatus:
    """`elsewhere`: pools of rules are well."""
    if not gslb.enabled:
        return "DISABLED"
    all_kinds = {state.status for state in states.values()}
    kinds = all_kinds - OWNERS_WILL
    if not kinds and all_kinds:
        return "DRAINING" if "DRAINING" in all_kinds else "DISABLED"
    if served.how in ("fail_open", "last_known") and not elsewhere:
        return "FAIL_OPEN" if hurt else "UNKNOWN"
    if kinds == {"UNKNOWN"}:
        return "UNKNOWN"
    if served.how == "well" and kinds <= FINE:
        return "ONLINE" if "ONLINE" in kinds else "NO_MONITOR"
    return "DOWN" if served.how == "nothing" and not elsewhere else "DEGRADED"


def _remembered(
    gslb: Gslb,
    members: Mapping[str, MemberMemory],
    since: Mapping[str, float],
    served: Served,
    pins: Mapping[str, str],
    memory: Memory,
) -> Memory:
    last = memory.last if gslb.on_all_down == "last_known" else ()
    if gslb.on_all_down == "last_known" and served.how in ("well", "waiting"):
        last = tuple(sorted(member.id for state, _ in served.pools for member in state.members))
    after = Memory(members, since, served.key, gslb.revision, pins, last)
    return memory if after == memory else after


def _why(
    gslb: Gslb,
    states: Mapping[str, PoolState],
    served: Served,
    healths: Mapping[str, Health],
    regions: Mapping[str, Region],
) -> Iterator[str]:
    yield _headline(gslb, served)
    said = [
        f"pool {state.pool.label}, member {member.label}: {_ill(gslb, member, healths[member.id], regions)}"
        for state in states.values()
        for member in state.pool.members
        if healths[member.id].status not in FINE or not answerable(member, gslb.record_types)
    ]
    yield from said[:WHY_MAX]
    if len(said) > WHY_MAX:
        yield f"and {len(said) - WHY_MAX} more"


def _ill(gslb: Gslb, member: Member, health: Health, regions: Mapping[str, Region]) -> str:
    if not answerable(member, gslb.record_types):
        return f"it has nothing that {' or '.join(gslb.record_types)} could answer"
    return health.status if health.status in OWNERS_WILL else f"{health.status}, {health.why(regions)}"


def _headline(gslb: Gslb, served: Served) -> str:
    names = ", ".join([state.pool.label for state, _ in served.pools])
    if gslb.policy in ONE_POOL and served.how in ("well", "waiting"):
        names = served.pools[0][0].pool.label
    if not gslb.enabled:
        return "it is disabled: not answered"
    return f"{gslb.policy}: {HEADLINES[served.how]}{names}"


HEADLINES: Mapping[How, str] = {
    "well": "answered with ",
    "waiting": "a pool that comes first is well again and waits to be gone back to; answered with ",
    "held back": "nothing is well but what comes and goes too often; answered with ",
    "short": "too few are well; answered with those that are up, of ",
    "fail_open": "nothing is well; answered with all there is, as on_all_down says, of ",
    "fallback_pool": "nothing else is well; answered with the fallback pool ",
    "last_known": "nothing is well; answered with what was answered last, of ",
    "fail_closed": "nothing is well; not answered",
    "nothing": "nothing is well, and there is nothing to answer with",
}
