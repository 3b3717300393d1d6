# SPDX-License-Identifier: Apache-2.0
"""Whether a gslb's pool is well, and which of its members answer for it (facts: gslb.md §6.3).

muster(pool, healths, types) → PoolState
"""

from collections.abc import Collection, Mapping, Sequence
from operator import attrgetter
from typing import NamedTuple

from caryatid.model.gslb.gslb import RecordType
from caryatid.model.gslb.words import GslbStatus

from .gslb import Member, Pool
from .standing import Health


class PoolState(NamedTuple):
    """How a pool stands."""

    pool: Pool
    status: GslbStatus
    well: bool
    """Enough of it is, and has something to answer with."""
    members: tuple[Member, ...] = ()
    """That answer for it, by priority; whoever has nothing of the types that are asked for is not among them."""
    hurt: bool = False
    """A member of it is down."""
    backed: bool = False
    """Backups have come in."""


BY_PRIORITY = attrgetter("priority", "id")
"""Orders members the same way whatever the order in which they came."""


def contents(member: Member, rrtype: RecordType) -> tuple[str, ...]:
    """What of the member a question of that type is answered with."""
    if rrtype == "CNAME":
        return (f"{member.hostname.rstrip('.').lower()}.",) if member.hostname else ()
    addresses, six = member.addresses, rrtype == "AAAA"
    if len(addresses) == 1:
        return addresses if (":" in addresses[0]) == six else ()
    return tuple([address for address in addresses if (":" in address) == six])


def answerable(member: Member, types: Sequence[RecordType]) -> bool:
    """It has something of these types."""
    if len(types) == 2:  # noqa: PLR2004 - A and AAAA: CNAME stands alone
        return bool(member.addresses)
    return bool(contents(member, types[0]))


def least(minimum: str, of: int) -> int:
    """`minimum_healthy`, of so many: a part is rounded up."""
    return -(-int(minimum[:-1]) * of // 100) if minimum.endswith("%") else int(minimum)


def muster(pool: Pool, healths: Mapping[str, Health], types: Sequence[RecordType]) -> PoolState:
    """How the pool stands, its members being so."""
    if not pool.enabled:
        return PoolState(pool, "DISABLED", False)
    first: list[Member] = []
    backups: list[Member] = []
    statuses: list[GslbStatus] = []
    wanted = 0
    for member in pool.members:
        health = healths[member.id]
        status = health.status
        statuses.append(status)
        if not member.backup and status not in OWNERS_WILL:
            wanted += 1
        if health.well:
            (backups if member.backup else first).append(member)
    minimum = least(pool.minimum_healthy, wanted)
    backed = len(first) < minimum or not first
    if backed:
        first += backups
    well = len(first) >= max(1, minimum)
    hurt = "DOWN" in statuses
    common = _status(statuses, well=well, whole=not backed and len(first) >= wanted)
    serving = [member for member in sorted(first, key=BY_PRIORITY) if answerable(member, types)]
    return PoolState(pool, common, well and bool(serving), tuple(serving), hurt, backed and bool(backups))


OWNERS_WILL = frozenset({"DISABLED", "DRAINING"})
FINE = frozenset({"ONLINE", "NO_MONITOR"})


def _status(statuses: Sequence[GslbStatus], *, well: bool, whole: bool) -> GslbStatus:
    if whole and statuses.count("ONLINE") == len(statuses):
        return "ONLINE"
    kinds = set(statuses) - OWNERS_WILL
    if not kinds:
        return "DOWN" if not statuses else "DRAINING" if "DRAINING" in statuses else "DISABLED"
    if kinds == {"UNKNOWN"}:
        return "UNKNOWN"
    if not well:
        return "DOWN"
    if whole and kinds <= FINE:
        return "ONLINE" if "ONLINE" in kinds else "NO_MONITOR"
    return "DEGRADED"


def relaxed(
    state: PoolState, healths: Mapping[str, Health], types: Sequence[RecordType], fit: Collection[str]
) -> PoolState:
    """The pool with those members of `fit` whose owner lets them be answered with, well or not."""
    members = [
        member
        for member in state.pool.members
        if member.id in fit and healths[member.id].open and answerable(member, types)
    ]
    members = members if state.pool.enabled else []
    return state._replace(well=bool(members), members=tuple(sorted(members, key=BY_PRIORITY)))
