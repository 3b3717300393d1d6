# SPDX-License-Identifier: Apache-2.0
"""Which amphorae an attempt works on: those there are, with rows for those that are wanting."""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from dataclasses import replace as replaced
from typing import cast
from uuid import uuid4

from caryatid.drivers.compute.base import ComputeDriver, own_hosts
from caryatid.model import AMPHORA
from caryatid.model.amphora import Amphora, Leg
from caryatid.model.consequences import replace
from caryatid.model.event import WORKER
from caryatid.model.host import Host
from caryatid.model.status import AmphoraRole
from caryatid.model.tree import Tree
from caryatid.plan import placement
from caryatid.plan.placement import ROLES, AmphoraView, Placement, Stay, Wanted
from caryatid.plan.steps import LEAVING
from caryatid.store import events, observations, rows
from caryatid.store import hosts as host_store
from caryatid.store.database import Tx
from caryatid.store.ganeti import machines

from . import room as rooms
from .ganeti import standing
from .receipt import moment
from .room import Room


@dataclass(frozen=True)
class Fleet:
    """The amphorae that an attempt works on."""

    amphorae: Sequence[Amphora]
    hosts: Mapping[str, Host] = field(default_factory=dict)
    """Hosts that can be spoken to: neither revoked nor lost."""
    wanting: str = ""
    """What could not be had: a sentence, or nothing."""
    stuck: Mapping[str, str] = field(default_factory=dict)
    """Amphora → why it is still where it should not stay."""
    roles: Mapping[str, str] = field(default_factory=dict)
    """Amphora → what VRRP was last seen to make of it."""
    held: str = ""
    """The amphora that is replaced next, when what this attempt does is done."""
    dead: AbstractSet[str] = frozenset()
    """Amphorae whose own machines run no more: nobody there is waited for."""


def gather(tx: Tx, tree: Tree, shared: Sequence[Leg], compute: ComputeDriver) -> Fleet:
    """The amphorae of the load balancer. Rows for those that are wanting are written before anything outside is made
    for them. `shared`: how they are connected. `compute`: whether it makes a machine for each, or they go to hosts that
    have enrolled.

    As long as a role has nobody, amphorae on their way out are left alone: one of them may be what still serves.
    """
    made, root_id = compute.makes_machines, tree.loadbalancer.id
    known = _amphorae(tx, root_id)
    own = standing.of(tx, known, compute)
    amphorae = standing.with_hosts(known, own)
    standing.write_hosts(tx, known, amphorae)
    room = rooms.look(tx, made=made, among={amphora.compute_id for amphora in amphorae if amphora.compute_id})
    fleet = Fleet([], room.believed, dead=standing.dead(own))
    if tree.deleted:
        return replaced(fleet, amphorae=[_leave(tx, amphora) for amphora in amphorae])
    gone = observations.lost_amphorae(tx, root_id) | fleet.dead
    fleet = replaced(fleet, roles=observations.roles(tx, root_id) if len(amphorae) > 1 else {})
    spoken = [a for a in amphorae if a.compute_id in room.believed or not compute.has_agents]
    held = _held([a for a in spoken if a.id not in gone], fleet.roles)
    amphorae = [replace(a, status="ALLOCATED") if a.id == held else a for a in amphorae]
    settled = [amphora for amphora in amphorae if amphora.status not in LEAVING]
    seeking = _Seeking(tree, rooms.wanted(tree.flavor, tree.zone, _reaches(shared), made=made), settled, gone, compute)
    placed = seeking.place(room)
    if placed.build or placed.wanting or placed.stuck:  # look at all hosts and spares, while nobody else is placing
        host_store.lock(tx)
        room = _all(tx, settled, seeking.want, compute)
        placed = seeking.place(room)
    fresh = [*_take(tx, tree, room.spares, placed.take), *_build(tx, tree, placed.build, own=own_hosts(compute))]
    fleet = replaced(fleet, hosts=room.believed, stuck=dict(placed.stuck))
    if placed.wanting:
        kept = [a for a in settled if a.id in placed.keep]
        return replaced(fleet, amphorae=[*kept, *fresh], wanting=placed.wanting)
    kept = [_leave(tx, amphora) if amphora.id in placed.remove else amphora for amphora in amphorae]
    return replaced(fleet, amphorae=[*kept, *fresh], held=held)


def _all(tx: Tx, settled: Sequence[Amphora], want: Wanted, compute: ComputeDriver) -> Room:
    """All hosts and spares; of machines, by their nodes where two may not be on the same."""
    spares = rooms.spares(tx)
    if not own_hosts(compute):
        return rooms.look(tx, made=compute.makes_machines, spares=spares)
    own = standing.of(tx, [*settled, *spares], compute)
    nodes = {key: machine.node for key, machine in own.items() if machine.node} if want.apart else {}
    return rooms.look(tx, made=True, spares=spares, dead=standing.dead(own), nodes=nodes)


@dataclass(frozen=True)
class _Seeking:
    """Places for the amphorae of one load balancer."""

    tree: Tree
    want: Wanted
    settled: Sequence[Amphora]
    gone: AbstractSet[str]
    compute: ComputeDriver

    def place(self, room: Room) -> Placement:
        """Machines that are made are made in a zone: spares are in none."""
        views = [self._view(amphora, room) for amphora in self.settled]
        flavor_id = self.tree.loadbalancer.flavor_id
        zoned = self.compute.makes_machines and "compute_zone" in self.tree.zone
        spares = [] if zoned or flavor_id is None else room.ready(flavor_id)
        return placement.place(self.want, room.hosts, views, spares)

    def _view(self, amphora: Amphora, room: Room) -> AmphoraView:
        stay: Stay = "may"
        host = room.believed.get(amphora.compute_id or "")
        if amphora.id in self.gone or (host is None and self._needs_host(amphora)):
            stay = "cannot"
        elif host is not None and self.compute.has_agents and host.duty == "EVACUATING":
            stay = "should not"
        return AmphoraView(amphora.id, room.where(amphora), amphora.role, amphora.status, stay)

    def _needs_host(self, amphora: Amphora) -> bool:
        """Not before its own machine's agent has enrolled."""
        unbuilt = own_hosts(self.compute) and amphora.compute_id in (None, amphora.id)
        return self.compute.has_agents and not unbuilt


def _held(reachable: Sequence[Amphora], roles: Mapping[str, str]) -> str:
    """Of a pair that is to be replaced whole, the one that has the VIPs: it goes on until the other is replaced."""
    leaving = [a for a in reachable if a.status == "PENDING_DELETE" and a.role in ROLES["ACTIVE_STANDBY"]]
    if len(leaving) < len(ROLES["ACTIVE_STANDBY"]) or any(a.status == "ALLOCATED" for a in reachable):
        return ""
    return max(leaving, key=lambda a: (roles.get(a.id) == "MASTER", a.role == "MASTER", a.id)).id


def _amphorae(tx: Tx, root_id: str) -> list[Amphora]:
    return [cast(Amphora, AMPHORA.load(document)) for document in rows.find(tx, AMPHORA, loadbalancer_id=root_id)]


def _reaches(shared: Sequence[Leg]) -> frozenset[str]:
    found = {
        placement.reach(leg.subnet.attachment, what)
        for leg in shared
        for what in (leg.vips if leg.subnet.attachment == "host" else (leg.physical_network,))
    }
    return frozenset(found - {""})


def _take(tx: Tx, tree: Tree, spares: Sequence[Amphora], take: Sequence[tuple[str, AmphoraRole]]) -> list[Amphora]:
    """These spares are the load balancer's."""
    at = moment()
    known = {spare.id: spare for spare in spares}
    root_id = tree.loadbalancer.id
    taken = [
        replace(known[key], loadbalancer_id=root_id, role=role, spare_of=None, updated_at=at) for key, role in take
    ]
    for amphora in taken:
        rows.change(tx, AMPHORA, amphora, at=at)
        machines.taken(tx, amphora.id, root_id)
    _tell(tx, "taken", taken)
    return taken


def _build(tx: Tx, tree: Tree, build: Sequence[tuple[str, AmphoraRole]], *, own: bool) -> list[Amphora]:
    """`own`: each has a host of its own, which is not there yet."""
    at = moment()
    fresh = [
        Amphora(
            id=str(uuid4()),
            created_at=at,
            updated_at=at,
            loadbalancer_id=tree.loadbalancer.id,
            compute_id=None if own else host_id,
            role=role,
        )
        for host_id, role in build
    ]
    rows.insert(tx, AMPHORA, fresh)
    _tell(tx, "create", fresh)
    return fresh


def _tell(tx: Tx, action: str, amphorae: Sequence[Amphora]) -> None:
    events.append_all(
        tx,
        [
            events.happened(
                action,
                AMPHORA.name,
                amphora.id,
                by=WORKER,
                project_id=None,
                root_id=amphora.loadbalancer_id,
                detail={"host": amphora.compute_id, "role": amphora.role},
            )
            for amphora in amphorae
        ],
    )


def _leave(tx: Tx, amphora: Amphora) -> Amphora:
    if amphora.status in LEAVING:
        return amphora
    at = moment()
    leaving = replace(amphora, status="PENDING_DELETE", updated_at=at)
    rows.change(tx, AMPHORA, leaving, at=at)
    return leaving
