# SPDX-License-Identifier: Apache-2.0
"""Which pool answers fastest, as measured from each region by the checks of its members.

Measurements come and go a little; a pool gives way only to one that is clearly faster, so that answers stay.
"""

from collections.abc import Container, Mapping, Sequence
from statistics import median

from .gslb import OWN
from .pools import PoolState

CLEARLY = 0.8
CLEARLY_MS = 2.0
"""Faster by a fifth, and by so much."""
ANYWHERE = ""
"""Stands for a region's id where all of them are meant."""


def rtts(state: PoolState, regions: Container[str]) -> dict[str, float]:
    """Milliseconds, by region: the median of its members' best checks; of all regions under `ANYWHERE`."""
    best: dict[str, list[float]] = {}
    for member in state.members:
        seen: dict[str, float] = {}
        for monitor_id, votes in member.votes.items():
            for vote in votes if monitor_id != OWN else ():
                if vote.word == "UP" and vote.rtt_ms is not None and vote.region_id in regions:
                    seen[vote.region_id] = min(vote.rtt_ms, seen.get(vote.region_id, vote.rtt_ms))
        for region_id, rtt_ms in seen.items():
            best.setdefault(region_id, []).append(rtt_ms)
    found = {region_id: median(values) for region_id, values in best.items()}
    return {**found, ANYWHERE: median(found.values())} if found else {}


def fastest(
    pools: Sequence[PoolState], measured: Sequence[Mapping[str, float]], region_id: str, before: str
) -> Sequence[int]:
    """The pools from the fastest to the slowest, as seen from there; those of which nothing is known last."""
    known = [number for number, found in enumerate(measured) if region_id in found]
    ranked = sorted(known, key=lambda number: (measured[number][region_id], number))
    kept = next((number for number in known if pools[number].pool.id == before), None)
    if kept is not None:
        best, now = measured[ranked[0]][region_id], measured[kept][region_id]
        if best > CLEARLY * now or now - best < CLEARLY_MS:
            ranked = [kept, *(number for number in ranked if number != kept)]
    return [*ranked, *(number for number in range(len(pools)) if number not in known)]
