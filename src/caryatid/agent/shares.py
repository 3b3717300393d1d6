# SPDX-License-Identifier: Apache-2.0
"""What the maps of a ruleset for datagrams shall hold, and the difference as a script for nftables. Pure."""

from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from ipaddress import ip_address

from caryatid.agent.slots import assign
from caryatid.wire.datagrams import Datagrams, Member, Pool

Maps = Mapping[str, Mapping[int, str]]
"""Map → key → value, as nft writes it."""


def serving(pool: Pool, version: int, down: AbstractSet[str]) -> dict[str, int]:
    """Members of the family that take new flows, and their weights; backups only if nobody else does."""
    fit = [member for member in pool.members if member.weight and _may(member, version, down)]
    first = [member for member in fit if not member.backup]
    return {member.id: member.weight for member in first or fit}


def shares(wanted: Datagrams, numbers: Mapping[str, int], down: AbstractSet[str]) -> Maps:
    """All maps. `down`: members that do not pass their checks."""
    maps: dict[str, Mapping[int, str]] = {}
    for pool in wanted.pools:
        places = {member.id: f"{member.address} . {member.port:d}" for member in pool.members}
        for version, slots, where in pool.shares:
            fit = serving(pool, version, down)
            maps[where] = {numbers[member]: places[member] for member in fit}
            owners = assign(fit, wanted.slots)
            maps[slots] = {slot: str(numbers[member]) for slot, member in enumerate(owners)}
    return maps


def takers(wanted: Datagrams, numbers: Mapping[str, int], down: AbstractSet[str]) -> set[tuple[int, int]]:
    """(listener's mark, member's number) of those that may keep flows, new or old."""
    pools = {pool.id: pool for pool in wanted.pools}
    return {
        (listener.mark, numbers[member.id])
        for listener in wanted.listeners
        if listener.pool
        for member in pools[listener.pool].members
        if _may(member, ip_address(member.address).version, down)
    }


def update(table: str, old: Maps | None, new: Maps) -> str:
    """What makes the new maps of the old ones, in one transaction; nothing, if they are alike. None: of whatever they
    are."""
    return "".join(f"{line}\n" for name in new for line in _change(f"inet {table} {name}", old, name, new[name]))


def _may(member: Member, version: int, down: AbstractSet[str]) -> bool:
    return member.enabled and member.id not in down and ip_address(member.address).version == version


def _change(where: str, old: Maps | None, name: str, new: Mapping[int, str]) -> Iterator[str]:
    known = old.get(name) if old is not None else None
    if known is None:
        yield f"flush map {where}"
        known = {}
    gone = [str(key) for key, value in known.items() if new.get(key) != value]
    fresh = [f"{key} : {value}" for key, value in new.items() if known.get(key) != value]
    if gone:
        yield f"delete element {where} {{ {', '.join(gone)} }}"
    if fresh:
        yield f"add element {where} {{ {', '.join(fresh)} }}"
