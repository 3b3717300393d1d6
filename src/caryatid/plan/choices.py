# SPDX-License-Identifier: Apache-2.0
"""From pools that answer to what name servers are to be told: choices, and who gets which.

choice(way, pools, rrtype, places) → Choice
by_rule(rules, choice_of, default) → variants
"""

from collections.abc import Callable, Mapping, Sequence
from ipaddress import ip_network
from typing import NamedTuple, TypeVar

from caryatid.model.gslb.answers import Candidate, Choice, Clients, Variant
from caryatid.model.gslb.gslb import RecordType
from caryatid.model.gslb.words import SteeringPolicy

from .gslb import Member, Rule
from .pools import PoolState, contents
from .proximity import Place
from .shares import by_pool

T = TypeVar("T", int, str)
Pools = Sequence[tuple[PoolState, int]]
"""Those that answer, in order, with the gslb's weight for each."""


class Way(NamedTuple):
    """How one of several is chosen, and for what."""

    policy: SteeringPolicy
    rrtype: RecordType
    most: int
    """Addresses in one answer."""
    places: Mapping[str, Place | None]
    """Of pools."""


def choice(way: Way, pools: Pools) -> Choice:
    """What all these pools answer together (`failover`, `geo`, `latency`: the first of them)."""
    match way.policy:
        case "multivalue":
            return _all(way, [member for state, _ in pools for member in _first_in(state)])
        case "weighted":
            return _weighted(way, _shed(pools))
        case "source_hash":
            return _hashed(way, pools)
        case "proximity":
            return _nearest(way, pools)
        case _:
            return _first(way, pools)


def _first(way: Way, pools: Pools) -> Choice:
    """As the first pool's member_policy says; what it sheds is the next one's."""
    if not pools:
        return Choice(count=_count(way))
    state = pools[0][0]
    policy = state.pool.member_policy
    if state.pool.shed_percent and len(pools) > 1 and _candidates(way, state.members):
        kept = 100 - state.pool.shed_percent
        return _weighted(way, [(state, kept), (pools[1][0], 100 - kept)])
    if policy == "weighted":
        return _weighted(way, [(state, 1)])
    return _hashed(way, [(state, 1)]) if policy == "source_hash" else _all(way, _first_in(state))


def _first_in(state: PoolState) -> Sequence[Member]:
    """All that answer for the pool; with member_policy `failover` those that come first."""
    if state.pool.member_policy != "failover" or not state.members:
        return state.members
    best = state.members[0].priority
    return [member for member in state.members if member.priority == best]


def _count(way: Way) -> int:
    return 1 if way.rrtype == "CNAME" else way.most


def _candidates(way: Way, members: Sequence[Member]) -> dict[str, None]:
    return {content: None for member in members for content in contents(member, way.rrtype)}


def _all(way: Way, members: Sequence[Member]) -> Choice:
    found = tuple([Candidate(content) for content in _candidates(way, members)])
    if way.rrtype == "CNAME" and way.policy != "multivalue":  # a name stands for one other: the first
        found = found[:1]
    return Choice(found, "all", _count(way))


def _shed(pools: Pools) -> Pools:
    """What a pool sheds is the next one's, of the last one the first one's; what is handed on is not shed again."""
    if len(pools) == 1 or not any(state.pool.shed_percent for state, _ in pools):
        return pools
    weights = [weight * (100 - state.pool.shed_percent) for state, weight in pools]
    for number, (state, weight) in enumerate(pools):
        weights[(number + 1) % len(pools)] += weight * state.pool.shed_percent
    return [(state, weight) for (state, _), weight in zip(pools, weights, strict=True)]


def _weighted(way: Way, pools: Pools) -> Choice:
    """One, by weights of pools, then of members, then evenly among a member's addresses."""
    named = []
    for state, weight in pools:
        members = [(contents(member, way.rrtype), member.weight) for member in _first_in(state) if weight]
        members = [(found, part) for found, part in members if found]
        if members:
            named.append((weight, members))
    weights = by_pool([(w, [(part, len(found)) for found, part in members for _ in found]) for w, members in named])
    merged: dict[str, int] = {}
    for (_, members), parts in zip(named, weights, strict=True):
        each = iter(parts)
        for found, _ in members:
            for content in found:
                merged[content] = merged.get(content, 0) + next(each)
    return Choice(tuple([Candidate(content, weight) for content, weight in merged.items()]), "weighted", 1)


def _hashed(way: Way, pools: Pools) -> Choice:
    """By a member's own weight times its pool's: who comes or goes changes nobody else's, so that clients stay."""
    merged: dict[str, int] = {}
    for state, weight in pools:
        for member in _first_in(state):
            for content in contents(member, way.rrtype) if weight else ():
                merged[content] = max(merged.get(content, 0), weight * member.weight)
    return Choice(tuple([Candidate(content, weight) for content, weight in merged.items()]), "hash", 1)


def _nearest(way: Way, pools: Pools) -> Choice:
    """Pools of which nobody knows where they are answer only if that is so of all."""
    placed = [(state, place) for state, _ in pools if (place := way.places.get(state.pool.id)) is not None]
    if not placed:
        return _all(way, [member for state, _ in pools for member in _first_in(state)])
    found: dict[tuple[str, str], Candidate] = {}
    for state, (north, east) in placed:
        for member in _first_in(state):
            for content in contents(member, way.rrtype):
                candidate = Candidate(content, member.weight, north, east, state.pool.bias)
                found.setdefault((content, state.pool.id), candidate)
    return Choice(tuple(found.values()), "nearest", 1)


def by_rule(rules: Sequence[Rule], choices: Sequence[Choice], default: Choice) -> tuple[Variant, ...]:
    """Who gets the choice of which rule: the most specific network, else autonomous system, country, continent; of
    equals the earlier rule. A thing that an earlier rule has named is not named again."""
    networks: dict[str, int] = {}
    asns: dict[int, int] = {}
    countries: dict[str, int] = {}
    continents: dict[str, int] = {}
    for number, rule in enumerate(rules):
        for cidr in rule.cidrs:
            networks.setdefault(cidr, number)
        for asn in rule.asns:
            asns.setdefault(asn, number)
        for country in rule.countries:
            countries.setdefault(country, number)
        for continent in rule.continents:
            continents.setdefault(continent, number)
    ordered = sorted((_breadth(cidr), number, cidr) for cidr, number in networks.items())
    variants = _runs([(number, cidr) for _, number, cidr in ordered], choices, lambda found: Clients(cidrs=found))
    variants += _runs(_sorted(asns), choices, lambda found: Clients(asns=found))
    variants += _runs(_sorted(countries), choices, lambda found: Clients(countries=found))
    variants += _runs(_sorted(continents), choices, lambda found: Clients(continents=found))
    while variants and variants[-1].choice == default:
        variants.pop()
    return tuple(variants)


def _breadth(cidr: str) -> tuple[int, int]:
    """What sorts the most specific network of a family first."""
    network = ip_network(cidr)
    return network.version, -network.prefixlen


def _sorted(found: Mapping[T, int]) -> list[tuple[int, T]]:
    return sorted((number, thing) for thing, number in found.items())


def _runs(
    found: Sequence[tuple[int, T]], choices: Sequence[Choice], clients: Callable[[tuple[T, ...]], Clients]
) -> list[Variant]:
    """One variant for all that follow each other and get the same choice."""
    runs: list[tuple[Choice, list[T]]] = []
    for number, thing in found:
        if not runs or runs[-1][0] != choices[number]:
            runs.append((choices[number], []))
        runs[-1][1].append(thing)
    return [Variant(clients(tuple(things)), choice) for choice, things in runs]
