# SPDX-License-Identifier: Apache-2.0
"""Which amphorae a load balancer shall have, and on which hosts."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from caryatid.model.status import AmphoraRole

ROLES: dict[str, tuple[AmphoraRole, ...]] = {
    "SINGLE": ("STANDALONE",),
    "ACTIVE_STANDBY": ("MASTER", "BACKUP"),
}
"""Topology → the amphorae it consists of."""
GONE = frozenset({"PENDING_DELETE", "DELETED", "ERROR"})
"""Statuses of amphorae that no longer count."""
Stay = Literal["may", "should not", "cannot"]


@dataclass(frozen=True)
class HostView:
    """A host, as placement sees it. `capacity` and `used` are numbers of amphorae."""

    id: str
    open: bool
    """It takes new amphorae: enabled, and neither lost nor revoked."""
    capacity: int
    used: int
    labels: Mapping[str, str] = field(default_factory=dict)
    reaches: frozenset[str] = frozenset()
    """What it can connect amphorae to: see `reach`."""


@dataclass(frozen=True)
class AmphoraView:
    """An amphora that the load balancer has."""

    id: str
    host_id: str | None
    role: AmphoraRole | None
    status: str
    stay: Stay = "may"
    """`should not`: it works, and is kept until another has been found a place (its host is being evacuated,
    and not open); `cannot`: it is lost, and no longer counts."""


@dataclass(frozen=True)
class Wanted:
    """What a load balancer's flavor and availability zone ask for."""

    topology: str = "SINGLE"
    apart: bool = False
    """Two amphorae of a pair never share a host; else they do where there is no other."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """What a host must have among its labels."""
    clash: str = ""
    """The label of which flavor and zone want different values: no host can have both."""
    reaches: frozenset[str] = frozenset()
    """What the host must be able to connect it to: see `reach`."""


@dataclass(frozen=True)
class Placement:
    """What is kept, built and removed; amphorae by their ids."""

    keep: tuple[str, ...] = ()
    build: tuple[tuple[str, AmphoraRole], ...] = ()
    """(host, role) of each that is wanting."""
    remove: tuple[str, ...] = ()
    wanting: str = ""
    """Why a role has nobody, and can have nobody now: a sentence, or nothing."""
    stuck: tuple[tuple[str, str], ...] = ()
    """(amphora, why) of each that should not stay where it is, and must."""


def wanted(
    flavor: Mapping[str, Any], zone: Mapping[str, Any], reaches: frozenset[str] = frozenset()
) -> Wanted:
    """What the data of a flavor's and of an availability zone's profile say about placement."""
    asked: dict[str, str] = flavor.get("host_labels", {})
    there: dict[str, str] = zone.get("host_labels", {})
    return Wanted(
        topology=flavor.get("loadbalancer_topology", "SINGLE"),
        apart=flavor.get("anti_affinity") == "strict",
        labels={**asked, **there},
        reaches=reaches,
        clash=next((name for name in sorted(asked.keys() & there.keys()) if asked[name] != there[name]), ""),
    )


def reach(attachment: str, physical_network: str = "") -> str:
    """What a host must be able to do for a subnet with this attachment, in a word; empty: every host can."""
    match attachment:
        case "uplink":
            return f"uplink {physical_network}"
        case "routed":
            return "routed subnets"
        case _:
            return ""


def place(want: Wanted, hosts: Sequence[HostView], amphorae: Sequence[AmphoraView]) -> Placement:
    """The amphorae that are wanted: those there are, and for the rest the least used hosts.

    An amphora that may stay does so, on a host that takes nobody new too, and though its host's labels have changed.
    One that should not stay is removed only for another that takes its role. Where a role finds no host, all else is
    done, and amphorae that are on their way out may still be what serves: whoever acts on this leaves them alone.
    """
    placing = _Placing(want, hosts, {host.id: host.used for host in hosts})
    holders = _holders(want, amphorae)
    taken = [holder.host_id for holder in holders.values() if holder.stay == "may"]
    keep = [holder.id for holder in holders.values() if holder.stay == "may"]
    build: list[tuple[str, AmphoraRole]] = []
    stuck: list[tuple[str, str]] = []
    wanting = ""
    for role in ROLES[want.topology]:
        holder = holders.get(role)
        if holder is not None and holder.stay == "may":
            continue
        host = placing.take(taken)
        if host is not None:
            build.append((host.id, role))
            taken.append(host.id)
            continue
        why = placing.why(taken)
        if holder is None:
            wanting = wanting or why
        else:
            stuck.append((holder.id, why))
            keep.append(holder.id)
            taken.append(holder.host_id)
    return Placement(
        keep=tuple(amphora.id for amphora in amphorae if amphora.id in keep),
        build=tuple(build),
        remove=tuple(amphora.id for amphora in amphorae if amphora.id not in keep),
        wanting=wanting,
        stuck=tuple(stuck),
    )


def _holders(want: Wanted, amphorae: Sequence[AmphoraView]) -> dict[AmphoraRole, AmphoraView]:
    """Who has each role; before one that should not stay comes one that may."""
    holders: dict[AmphoraRole, AmphoraView] = {}
    for amphora in amphorae:
        if amphora.status in GONE or amphora.stay == "cannot" or amphora.role not in ROLES[want.topology]:
            continue
        known = holders.get(amphora.role)
        if known is None or (known.stay == "should not" and amphora.stay == "may"):
            holders[amphora.role] = amphora
    return holders


@dataclass
class _Placing:
    """Finds hosts for one load balancer; what it has given out counts as used."""

    want: Wanted
    hosts: Sequence[HostView]
    used: dict[str, int]

    def take(self, taken: Collection[str | None]) -> HostView | None:
        """The least used host that will do, apart from those in `taken` if that can be had, or must."""
        free = [host for host in self._fitting if self.used[host.id] < host.capacity]
        apart = [host for host in free if host.id not in taken]
        host = min(apart or ([] if self.want.apart else free), key=self._use, default=None)
        if host is not None:
            self.used[host.id] += 1
        return host

    def why(self, taken: Collection[str | None]) -> str:
        """Why `take` has found none, and what would help."""
        if not self.hosts:
            return "No host has enrolled yet that could carry an amphora."
        if not any(host.open for host in self.hosts):
            return f"No host takes new amphorae: all {len(self.hosts)} are drained, lost or revoked. Enrol another."
        if not self._reaching:
            networks = " and ".join(sorted(self.want.reaches))
            return f"No host that takes new amphorae can connect them to {networks}; see the agents' `agent_uplinks`."
        return self._why_not_those(taken)

    def _why_not_those(self, taken: Collection[str | None]) -> str:
        labels = ", ".join(f"{name}={value}" for name, value in sorted(self.want.labels.items()))
        if self.want.clash:
            return f"Flavor and availability zone want different values of host label {self.want.clash}."
        if not self._fitting:
            return f"No host that takes new amphorae has the labels {labels}; label one, or enrol another."
        with_labels = f" with the labels {labels}" if labels else ""
        if self.want.apart and all(host.id in taken for host in self._fitting):
            return (
                f"The flavor wants the amphorae of a pair on different hosts (anti_affinity strict), and there is no "
                f"second host{with_labels} that takes new amphorae; enrol or enable another."
            )
        return (
            f"No host{with_labels} has room for another amphora ({len(self._fitting)} would do); raise a capacity, "
            "or enrol another host."
        )

    @property
    def _fitting(self) -> list[HostView]:
        if self.want.clash:
            return []
        labels = self.want.labels.items()
        return [host for host in self._reaching if labels <= host.labels.items()]

    @property
    def _reaching(self) -> list[HostView]:
        return [host for host in self.hosts if host.open and self.want.reaches <= host.reaches]

    def _use(self, host: HostView) -> tuple[float, int, str]:
        return self.used[host.id] / host.capacity, self.used[host.id], host.id
