# SPDX-License-Identifier: Apache-2.0
"""When many members go out of answers at once and too few regions agree on it, the fault is held to be ours.

A removal is agreed on if it is DOWN by the quorum of most regions and more than one process, or the word of the load
balancer itself (`Health.unagreed` is the contrary). Those that are not are counted over the whole service: as soon as
more than `percent` of all members would have gone so within `WINDOW_S`, none of them goes, until they are fewer again
(their checks recover, or more regions agree), or an operator lifts the guard. Small services are not guarded: there
two members are already many.

    guard(wanted, recent, kept, total, limits) → Guarded
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import NamedTuple

WINDOW_S = 60.0


@dataclass(frozen=True, slots=True)
class Limits:
    percent: int = 50
    """100: never."""
    members_min: int = 20
    lifted: bool = False
    """By an operator: whoever is to go goes."""


class Guarded(NamedTuple):
    keep: frozenset[str]
    """Members that stay as they are (`Look.held`)."""
    why: str = ""
    """What an operator is to be told; nothing: nobody is kept."""


def guard(
    wanted: Collection[str], recent: Collection[str], kept: Collection[str], total: int, limits: Limits
) -> Guarded:
    """Who of `wanted` (members that would go now without agreeing evidence) is kept.

    `recent`: members that went so within the last `WINDOW_S`; `kept`: those that are kept already, of any gslb;
    `total`: all members of the whole service.
    """
    wanted = frozenset(wanted)
    if not wanted or limits.lifted or total < limits.members_min:
        return Guarded(frozenset())
    gone = len(wanted.union(recent, kept))
    if 100 * gone <= limits.percent * total:
        return Guarded(frozenset())
    return Guarded(
        wanted,
        f"{gone} of {total} members would have gone within {WINDOW_S:.0f} s without enough regions that agree on it "
        f"(at most {limits.percent} %): {len(wanted)} of them stay as they were",
    )
