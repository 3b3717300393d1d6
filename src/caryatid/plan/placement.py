# SPDX-License-Identifier: Apache-2.0
"""Which amphorae a load balancer shall have, and on which hosts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from caryatid.model.status import AmphoraRole

ROLES: dict[str, tuple[AmphoraRole, ...]] = {
    "SINGLE": ("STANDALONE",),
    "ACTIVE_STANDBY": ("MASTER", "BACKUP"),
}
"""Topology → the amphorae it consists of."""
LOST = frozenset({"PENDING_DELETE", "DELETED", "ERROR"})
"""Statuses of amphorae that no longer count."""


@dataclass(frozen=True)
class HostView:
    """A host, as placement sees it. `capacity` and `used` are numbers of amphorae."""

    id: str
    enabled: bool
    capacity: int
    used: int
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class AmphoraView:
    """An amphora that the load balancer has."""

    id: str
    host_id: str | None
    role: AmphoraRole | None
    status: str


@dataclass(frozen=True)
class Placement:
    """What is kept, built and removed; amphorae by their ids."""

    keep: tuple[str, ...] = ()
    build: tuple[tuple[str, AmphoraRole], ...] = ()
    """(host, role) of each that is wanting."""
    remove: tuple[str, ...] = ()


@dataclass(frozen=True)
class NoCapacity:
    """An amphora is wanting, and no host can take it."""

    reason: str


def place(
    topology: str, hosts: Sequence[HostView], amphorae: Sequence[AmphoraView]
) -> Placement | NoCapacity:
    """The amphorae that `topology` needs: those there are, and for the rest the least used hosts.

    An amphora stays where it is while it lives, on a disabled host too; whether its host lives is not asked here.
    Two amphorae of a pair are on different hosts, unless there is but one host that is enabled.
    """
    holders: dict[AmphoraRole, AmphoraView] = {}
    for amphora in amphorae:
        if amphora.status not in LOST and amphora.role in ROLES[topology]:
            holders.setdefault(amphora.role, amphora)
    kept = {amphora.id for amphora in holders.values()}
    taken = {amphora.host_id for amphora in holders.values()}
    build: list[tuple[str, AmphoraRole]] = []
    for role in ROLES[topology]:
        if role not in holders:
            host = _host(hosts, taken, [built for built, _ in build])
            if host is None:
                return NoCapacity(_why(hosts))
            build.append((host.id, role))
            taken.add(host.id)
    return Placement(
        keep=tuple(amphora.id for amphora in amphorae if amphora.id in kept),
        build=tuple(build),
        remove=tuple(amphora.id for amphora in amphorae if amphora.id not in kept),
    )


def _host(hosts: Sequence[HostView], taken: set[str | None], built: Sequence[str]) -> HostView | None:
    enabled = [host for host in hosts if host.enabled]
    apart = [host for host in enabled if host.id not in taken] if len(enabled) > 1 else enabled
    free = [host for host in apart if host.used + built.count(host.id) < host.capacity]
    return min(free, key=lambda host: (host.used / host.capacity, host.used, host.id), default=None)


def _why(hosts: Sequence[HostView]) -> str:
    if not hosts:
        return "No host has enrolled yet that could carry an amphora."
    enabled = [host for host in hosts if host.enabled]
    if not enabled:
        return f"All {len(hosts)} hosts are disabled; enable one, or enrol another."
    return f"No host has room for another amphora ({len(enabled)} enabled); raise a capacity, or enrol another host."
