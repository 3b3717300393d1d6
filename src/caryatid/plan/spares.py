# SPDX-License-Identifier: Apache-2.0
"""How many amphorae wait for load balancers, where, and which wait in vain."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from .placement import HostView, Wanted, fitting, spread


@dataclass(frozen=True)
class Pool:
    """What a flavor asks for."""

    flavor_id: str
    number: int
    want: Wanted


@dataclass(frozen=True)
class Spare:
    """An amphora without a load balancer."""

    id: str
    flavor_id: str | None
    host_id: str
    ready: bool
    """It is built."""


@dataclass(frozen=True)
class Balance:
    """What is to be done so that every flavor has its spares."""

    build: tuple[tuple[str, str], ...] = ()
    """(flavor, host) of each that is wanting."""
    remove: tuple[str, ...] = ()
    """Spares that nobody can use: too many, of a flavor that is not offered, or on a host that takes nobody new."""


def balance(pools: Sequence[Pool], spares: Sequence[Spare], hosts: Sequence[HostView], *, most: int) -> Balance:
    """No more than `most` are built; where hosts have no room, fewer. Those that stay are built ones before others,
    then the oldest, `spares` being in the order of their age."""
    keep: set[str] = set()
    build: list[tuple[str, str]] = []
    for pool in pools:
        useful = fitting(pool.want, hosts)
        mine = [one for one in spares if one.flavor_id == pool.flavor_id and one.host_id in useful]
        kept = sorted(mine, key=lambda one: not one.ready)[: pool.number]
        keep |= {one.id for one in kept}
        wanting = min(pool.number - len(kept), most - len(build))
        found = spread(pool.want, _filled(hosts, build), [one.host_id for one in kept], wanting)
        build += [(pool.flavor_id, host_id) for host_id in found]
    return Balance(tuple(build), tuple(one.id for one in spares if one.id not in keep))


def _filled(hosts: Sequence[HostView], build: Sequence[tuple[str, str]]) -> list[HostView]:
    """The hosts, as used as they will be."""
    more = Counter(host_id for _, host_id in build)
    return [replace(host, used=host.used + more[host.id]) for host in hosts]
