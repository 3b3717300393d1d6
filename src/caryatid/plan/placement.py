# SPDX-License-Identifier: Apache-2.0
"""Which amphorae a load balancer shall have, and on which hosts."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from caryatid.model.cluster import MachineWish
from caryatid.model.status import AmphoraRole

ROLES: dict[str, tuple[AmphoraRole, ...]] = {
    "SINGLE": ("STANDALONE",),
    "ACTIVE_STANDBY": ("MASTER", "BACKUP"),
}
"""Topology → the amphorae it consists of."""
GONE = frozenset({"PENDING_DELETE", "DELETED", "ERROR"})
"""Statuses of amphorae that no longer count."""
ADDRESS = "address"
"""Beginning of the word for an address that a host must have: see `reach`."""
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
class SpareView:
    """An amphora that is built, and waits for a load balancer of the flavor."""

    id: str
    host_id: str


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
    take: tuple[tuple[str, AmphoraRole], ...] = ()
    """(spare, role) of each that is wanting, and need not be built."""
    remove: tuple[str, ...] = ()
    wanting: str = ""
    """Why a role has nobody, and can have nobody now: a sentence, or nothing."""
    stuck: tuple[tuple[str, str], ...] = ()
    """(amphora, why) of each that should not stay where it is, and must."""


def wanted(flavor: Mapping[str, Any], zone: Mapping[str, Any], reaches: frozenset[str] = frozenset()) -> Wanted:
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


def machine(flavor: Mapping[str, Any], zone: Mapping[str, Any]) -> MachineWish:
    """What the same say about machines that are made for amphorae."""
    size: Mapping[str, int | None] = flavor.get("machine") or {}
    return MachineWish(
        cluster=zone.get("compute_zone") or "",
        vcpus=size.get("vcpus"),
        memory_mib=size.get("memory_mib"),
        disk_mib=size.get("disk_mib"),
        apart=flavor.get("anti_affinity") == "strict",
    )


def reach(attachment: str, what: str = "") -> str:
    """What a host must be able to do for a subnet with this attachment, in a word; empty: every host can. `what`: the
    physical network (uplink), or the address that the host must have (host)."""
    match attachment:
        case "uplink":
            return f"uplink {what}"
        case "host" if what:
            return f"{ADDRESS} {what}"
        case "routed":
            return "routed subnets"
        case _:
            return ""


def place(
    want: Wanted, hosts: Sequence[HostView], amphorae: Sequence[AmphoraView], spares: Sequence[SpareView] = ()
) -> Placement:
    """The amphorae that are wanted: those there are, and for the rest spares or the least used hosts.

    An amphora that may stay does so, on a host that takes nobody new too, and though its host's labels have changed.
    One that should not stay is removed only for another that takes its role. Where a role finds no host, all else is
    done, and amphorae that are on their way out may still be what serves: whoever acts on this leaves them alone.
    """
    failed = frozenset(amphora.host_id for amphora in amphorae if amphora.stay == "cannot")
    placing = _Placing(want, hosts, {host.id: host.used for host in hosts}, list(spares), failed)
    holders = _holders(want, amphorae)
    taken = [holder.host_id for holder in holders.values() if holder.stay == "may"]
    keep = [holder.id for holder in holders.values() if holder.stay == "may"]
    build: list[tuple[str, AmphoraRole]] = []
    take: list[tuple[str, AmphoraRole]] = []
    stuck: list[tuple[str, str]] = []
    wanting = ""
    for role in ROLES[want.topology]:
        holder = holders.get(role)
        if holder is not None and holder.stay == "may":
            continue
        found = placing.find(taken)
        if isinstance(found, SpareView):
            take.append((found.id, role))
            taken.append(found.host_id)
            continue
        if found is not None:
            build.append((found.id, role))
            taken.append(found.id)
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
        take=tuple(take),
        remove=tuple(amphora.id for amphora in amphorae if amphora.id not in keep),
        wanting=wanting,
        stuck=tuple(stuck),
    )


def fitting(want: Wanted, hosts: Sequence[HostView]) -> frozenset[str]:
    """The hosts that are open, and have and reach what is wanted; full or not."""
    return frozenset(host.id for host in _Placing(want, hosts, {}).fitting)


def spread(want: Wanted, hosts: Sequence[HostView], taken: Collection[str], number: int) -> list[str]:
    """Hosts for so many more, or for as many as have room; each alone, as long as one is left that is not `taken`."""
    placing = _Placing(want, hosts, {host.id: host.used for host in hosts})
    given = list(taken)
    for _ in range(number):
        found = placing.find(given)
        if found is None:
            break
        given.append(found.id)
    return given[len(taken) :]


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
    spares: list[SpareView] = field(default_factory=list)
    failed: frozenset[str | None] = frozenset()
    """Hosts that could not run an amphora of this load balancer: taken last."""

    def find(self, taken: Collection[str | None]) -> SpareView | HostView | None:
        """A spare that will do, or else the least used host; apart from those in `taken` if that can be had, or must:
        that goes before what a spare saves."""
        free = [host for host in self.fitting if self.used[host.id] < host.capacity]
        where = {host.id for host in self.fitting}
        spares = [spare for spare in self.spares if spare.host_id in where]
        apart = [host for host in free if host.id not in taken]
        spares_apart = [spare for spare in spares if spare.host_id not in taken]
        if not (spares_apart or apart) and self.want.apart:
            return None
        if found := spares_apart or ([] if apart else spares):
            spare = min(found, key=lambda spare: spare.host_id in self.failed)
            self.spares.remove(spare)
            return spare
        return self._take(apart or free)

    def _take(self, hosts: Sequence[HostView]) -> HostView | None:
        host = min(hosts, key=self._use, default=None)
        if host is not None:
            self.used[host.id] += 1
        return host

    def why(self, taken: Collection[str | None]) -> str:
        """Why `find` has found none, and what would help."""
        if not self.hosts:
            return "No host has enrolled yet that could carry an amphora."
        if not any(host.open for host in self.hosts):
            return f"No host takes new amphorae: all {len(self.hosts)} are drained, lost or revoked. Enrol another."
        if not self._reaching:
            return self._why_none_reaches()
        return self._why_not_those(taken)

    def _why_none_reaches(self) -> str:
        wanted = " and ".join(sorted(self.want.reaches))
        if any(word.startswith(ADDRESS) for word in self.want.reaches):
            return f"No host that takes new amphorae has {wanted}; `caryatid host show` lists a host's addresses."
        return f"No host that takes new amphorae can connect them to {wanted}; see the agents' `agent_uplinks`."

    def _why_not_those(self, taken: Collection[str | None]) -> str:
        labels = ", ".join(f"{name}={value}" for name, value in sorted(self.want.labels.items()))
        if self.want.clash:
            return f"Flavor and availability zone want different values of host label {self.want.clash}."
        if not self.fitting:
            return f"No host that takes new amphorae has the labels {labels}; label one, or enrol another."
        with_labels = f" with the labels {labels}" if labels else ""
        if self.want.apart and all(host.id in taken for host in self.fitting):
            return (
                f"The flavor wants the amphorae of a pair on different hosts (anti_affinity strict), and there is no "
                f"second host{with_labels} that takes new amphorae; enrol or enable another."
            )
        return (
            f"No host{with_labels} has room for another amphora ({len(self.fitting)} would do); raise a capacity, "
            "or enrol another host."
        )

    @property
    def fitting(self) -> list[HostView]:
        if self.want.clash:
            return []
        labels = self.want.labels.items()
        return [host for host in self._reaching if labels <= host.labels.items()]

    @property
    def _reaching(self) -> list[HostView]:
        return [host for host in self.hosts if host.open and self.want.reaches <= host.reaches]

    def _use(self, host: HostView) -> tuple[bool, float, int, str]:
        return host.id in self.failed, self.used[host.id] / host.capacity, self.used[host.id], host.id
