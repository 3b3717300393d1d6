# SPDX-License-Identifier: Apache-2.0
"""Which amphorae an attempt works on: those there are, with rows for those that are wanting."""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import cast
from uuid import uuid4

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

from . import room as rooms
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


def gather(tx: Tx, tree: Tree, shared: Sequence[Leg], *, made: bool) -> Fleet:
    """The amphorae of the load balancer. Rows for those that are wanting are written before anything outside is made
    for them. `shared`: how they are connected. `made`: the compute driver makes a machine for each; else they go to
    hosts that have enrolled.

    As long as a role has nobody, amphorae on their way out are left alone: one of them may be what still serves.
    """
    amphorae = _amphorae(tx, tree.loadbalancer.id)
    room = rooms.look(tx, made=made, among={amphora.compute_id for amphora in amphorae if amphora.compute_id})
    if tree.deleted:
        return Fleet([_leave(tx, amphora) for amphora in amphorae], room.believed)
    gone = observations.lost_amphorae(tx, tree.loadbalancer.id)
    roles = observations.roles(tx, tree.loadbalancer.id) if len(amphorae) > 1 else {}
    held = _held([a for a in amphorae if a.id not in gone and (made or a.compute_id in room.believed)], roles)
    amphorae = [replace(a, status="ALLOCATED") if a.id == held else a for a in amphorae]
    settled = [amphora for amphora in amphorae if amphora.status not in LEAVING]
    want = placement.wanted(tree.flavor, tree.zone, _reaches(() if made else shared))
    placed = _place(tree, want, settled, gone, room, made=made)
    if placed.build or placed.wanting or placed.stuck:  # look at all hosts and spares, while nobody else is placing
        host_store.lock(tx)
        room = rooms.look(tx, made=made, spares=rooms.spares(tx))
        placed = _place(tree, want, settled, gone, room, made=made)
    fresh = [*_take(tx, tree, room.spares, placed.take), *_build(tx, tree, placed.build)]
    stuck = dict(placed.stuck)
    if placed.wanting:
        kept = [a for a in settled if a.id in placed.keep]
        return Fleet([*kept, *fresh], room.believed, placed.wanting, stuck, roles)
    kept = [_leave(tx, amphora) if amphora.id in placed.remove else amphora for amphora in amphorae]
    return Fleet([*kept, *fresh], room.believed, stuck=stuck, roles=roles, held=held)


def _place(
    tree: Tree, want: Wanted, settled: Sequence[Amphora], gone: AbstractSet[str], room: Room, *, made: bool
) -> Placement:
    """Machines that are made are made in a zone: spares are in none."""
    views = [_view(a, gone, None if made else room.believed) for a in settled]
    zoned = made and "compute_zone" in tree.zone
    spares = [] if zoned or tree.loadbalancer.flavor_id is None else room.ready(tree.loadbalancer.flavor_id)
    return placement.place(want, room.hosts, views, spares)


def _held(reachable: Sequence[Amphora], roles: Mapping[str, str]) -> str:
    """Of a pair that is to be replaced whole, the one that has the VIPs: it goes on until the other is replaced."""
    leaving = [a for a in reachable if a.status == "PENDING_DELETE" and a.role in ROLES["ACTIVE_STANDBY"]]
    if len(leaving) < len(ROLES["ACTIVE_STANDBY"]) or any(a.status == "ALLOCATED" for a in reachable):
        return ""
    return max(leaving, key=lambda a: (roles.get(a.id) == "MASTER", a.role == "MASTER", a.id)).id


def _amphorae(tx: Tx, root_id: str) -> list[Amphora]:
    return [cast(Amphora, AMPHORA.load(document)) for document in rows.find(tx, AMPHORA, loadbalancer_id=root_id)]


def _view(amphora: Amphora, gone: AbstractSet[str], believed: Mapping[str, Host] | None) -> AmphoraView:
    stay: Stay = "may"
    host = believed.get(amphora.compute_id or "") if believed is not None else None
    if amphora.id in gone or (believed is not None and host is None):
        stay = "cannot"
    elif host is not None and host.duty == "EVACUATING":
        stay = "should not"
    return AmphoraView(amphora.id, amphora.compute_id, amphora.role, amphora.status, stay)


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
    _tell(tx, "taken", taken)
    return taken


def _build(tx: Tx, tree: Tree, build: Sequence[tuple[str, AmphoraRole]]) -> list[Amphora]:
    at = moment()
    fresh = [
        Amphora(
            id=str(uuid4()),
            created_at=at,
            updated_at=at,
            loadbalancer_id=tree.loadbalancer.id,
            compute_id=host_id,
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
