# SPDX-License-Identifier: Apache-2.0
"""Which shares of a region's checks go to whom: to all alike, with as few moves as that takes. Pure."""

from collections.abc import Collection, Mapping
from typing import NamedTuple


class Allotment(NamedTuple):
    """What one checker has from now on."""

    kept: frozenset[int]
    freed: frozenset[int]
    """It had these, and somebody else shall."""
    taken: frozenset[int]
    """Nobody had these."""


def allot(shares: int, holders: Mapping[int, str], live: Collection[str], checker: str) -> Allotment:
    """`holders`: who has which, of those that are `live`; what nobody has is not in it. `checker` is live.

    Each looks for itself when it comes: who has more than its part frees what is too much, who has less takes what is
    free; so a second after the last has come all have their parts.
    """
    places = sorted(live)
    part = shares // len(places) + (places.index(checker) < shares % len(places))
    mine = sorted(share for share, holder in holders.items() if holder == checker)
    free = [share for share in range(shares) if share not in holders]
    return Allotment(frozenset(mine[:part]), frozenset(mine[part:]), frozenset(free[: max(0, part - len(mine))]))
