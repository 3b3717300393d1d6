# SPDX-License-Identifier: Apache-2.0
"""Which member has which slot of a pool: by weighted rendezvous hashing.

For each slot every member draws a number that depends on the two alone, and the best one, as weights go, has it. So
whoever knows the same members comes to the same result, and a slot changes hands only to a member whose weight rises
or from one whose weight falls. (-ln u / w is the time until an event of rate w: of several, the first to happen is
each with a probability that is its part of all weights.)
"""

import hashlib
import struct
from collections.abc import Mapping, Sequence
from math import log

WORD_BYTES = 4
DRAWN_MAX = 1 << 8 * WORD_BYTES
INDEX_BITS = 16


def assign(weights: Mapping[str, int], slots: int) -> list[str]:
    """The member of each slot; empty if none has any weight. At most 65,536 members; takes a millisecond for three."""
    alike: dict[int, list[str]] = {}
    for member, weight in sorted(weights.items()):
        if weight > 0:
            alike.setdefault(weight, []).append(member)
    owners: list[str] = []
    best: list[float] = []
    for weight, members in sorted(alike.items()):
        winners = _highest(members, slots)
        times = [-log((number + 1) / DRAWN_MAX) / weight for number, _ in winners]
        if not owners:
            owners, best = [member for _, member in winners], times
            continue
        for slot, time in enumerate(times):
            if time < best[slot]:
                owners[slot], best[slot] = winners[slot][1], time
    return owners


def _highest(members: Sequence[str], slots: int) -> list[tuple[int, str]]:
    """For each slot the highest number that is drawn, and who has drawn it."""
    drawn = [
        [number << INDEX_BITS | index for number in _draw(member, slots)] for index, member in enumerate(members)
    ]
    highest = map(max, *drawn) if len(drawn) > 1 else iter(drawn[0])
    return [(one >> INDEX_BITS, members[one & (1 << INDEX_BITS) - 1]) for one in highest]


def _draw(member: str, slots: int) -> tuple[int, ...]:
    return struct.unpack(f"<{slots:d}I", hashlib.shake_128(member.encode()).digest(WORD_BYTES * slots))
