# SPDX-License-Identifier: Apache-2.0
"""Names on paper: members whose votes are written as words, "UD-" being UP in the first region, DOWN in the second,
and nothing lately from the third."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from caryatid.model.gslb.answers import Clients
from caryatid.plan.gslb import Gslb, Member, Memory, Monitor, MonitorUse, Pool, PoolUse, Region, Vote
from caryatid.plan.steering import Decision, decide
from caryatid.plan.votes import Look

NOW = 1_800_000_000.0
PLACES = {"eu": (50.1, 8.7), "us": (39.0, -77.5), "ap": (1.35, 103.8), "sa": (-23.5, -46.6), "af": (-26.2, 28.0)}
WORDS = {"U": "UP", "D": "DOWN"}
MONITOR = Monitor("web", "web", interval_s=10, timeout_s=5)
LASTS_S = 35.0
"""For which a vote of that monitor counts."""
LONG_AGO_S = 3600.0


def regions(count: int = 3) -> dict[str, Region]:
    return {name: Region(name, name, *place) for name, place in list(PLACES.items())[:count]}


REGIONS = regions()


def votes(words: str, at: float = NOW, rtt_ms: Iterable[float | None] = ()) -> tuple[Vote, ...]:
    """Of as many regions as there are letters."""
    times = [*rtt_ms, *[None] * len(words)]
    return tuple(
        Vote(name, f"checker-{name}", WORDS.get(word, "UP"), at, at - LONG_AGO_S * (word == "-"), word * 3, rtt)
        for (name, word), rtt in zip(zip(PLACES, words, strict=False), times, strict=False)
        if word != " "
    )


def member(name: str, words: str = "UUU", **given: Any) -> Member:
    """Named by its address, unless others are given."""
    given = {"addresses": (name,), "votes": {MONITOR.id: votes(words)}, **given}
    return Member(name, name, **given)


def pool(name: str, *members: Member | str, **given: Any) -> Pool:
    whole = tuple(each if isinstance(each, Member) else member(each) for each in members)
    return Pool(name, name, whole, **{"monitors": (MonitorUse(MONITOR),), **given})


def gslb(*used: str | PoolUse, **given: Any) -> Gslb:
    """Its pools in that order."""
    uses = tuple(each if isinstance(each, PoolUse) else PoolUse(each, number) for number, each in enumerate(used))
    return Gslb("g", "www.example.test.", uses=uses, **given)


def look(
    wanted: Gslb,
    *pools: Pool,
    memory: Memory | None = None,
    at: Look | float = NOW,
    seen_by: Mapping[str, Region] = REGIONS,
) -> Decision:
    when = at if isinstance(at, Look) else Look(at)
    return decide(wanted, {each.id: each for each in pools}, seen_by, memory or Memory(), when)


def told(decision: Decision, rrtype: str = "A") -> list[str]:
    """All that may be in an answer to whom no rule names."""
    return [candidate.content for candidate in decision.answers[rrtype].default.candidates]


def everything(decision: Decision) -> set[str]:
    """All that may be in any answer."""
    return {
        candidate.content
        for answers in decision.answers.values()
        for choice in (answers.default, *(variant.choice for variant in answers.variants))
        for candidate in choice.candidates
    }


def saying(of: Member, words: str, at: float = NOW) -> Member:
    """The member, of which regions now say so."""
    return replace(of, votes={MONITOR.id: votes(words, at)})


def well(name: str, *addresses: str, **given):
    return pool(name, *addresses, **given)


def down(name: str, *addresses: str, **given):
    return pool(name, *[member(address, "DDD") for address in addresses], **given)


def by_clients(decision: Decision, rrtype: str = "A") -> list[tuple[Clients, list[str]]]:
    variants = decision.answers[rrtype].variants
    return [(each.clients, [candidate.content for candidate in each.choice.candidates]) for each in variants]


def weights(decision: Decision, rrtype: str = "A") -> dict[str, int]:
    return {each.content: each.weight for each in decision.answers[rrtype].default.candidates}
