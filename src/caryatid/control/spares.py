# SPDX-License-Identifier: Apache-2.0
"""Amphorae that wait, built, for load balancers of a flavor: as many as it says (`spares`). One that is taken
(control/placing.py) is missed at the next turn."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import cast
from uuid import uuid4

from caryatid import log, metrics
from caryatid.drivers.amphora.base import AmphoraDriverError
from caryatid.drivers.compute.base import ComputeError
from caryatid.model import AMPHORA, FLAVOR, FLAVORPROFILE
from caryatid.model.amphora import Amphora, Placed
from caryatid.model.cluster import MachineWish
from caryatid.model.consequences import replace
from caryatid.model.flavor import FlavorProfile
from caryatid.plan import placement
from caryatid.plan.spares import Balance, Pool, Spare, balance
from caryatid.plan.steps import UNBUILT
from caryatid.store import hosts, leases, rows
from caryatid.store.database import Tx

from . import building
from . import room as rooms
from .door import ALIAS, PROVIDER, Door, Provider
from .ganeti import standing
from .receipt import moment
from .room import Room
from .verdicts import FROZEN

NEW_MAX = 10
"""Spares that are asked for in one turn."""


def keep(door: Door) -> None:
    """One turn towards what the flavors ask for: spares are built, looked after while they are, and removed. Nothing is
    done while failovers are frozen: how hosts are is not known then."""
    with door.database.read() as tx:
        if leases.held(tx, FROZEN):
            return
        room, wanted = _look(tx, door)
        spares, wishes = room.spares, _wishes(tx)
    if wanted != Balance():
        with door.database.transaction() as tx:
            hosts.lock(tx)
            room, wanted = _look(tx, door)
            spares = _change(tx, door, room, wanted)
    if door.makes_machines and any(one.status == "PENDING_CREATE" for one in spares):
        with door.database.transaction() as tx:
            hosts.lock(tx)
            spares = building.admit(tx, rooms.spares(tx), at_once=door.settings.builds_at_once, priority=0)
    _act(door, room, spares, wishes)
    with door.database.read() as tx:
        _show(rooms.spares(tx))


def _look(tx: Tx, door: Door) -> tuple[Room, Balance]:
    """What there is, and what is to be asked for. Spares on their way out are nobody's business but `_act`'s."""
    made, spares = door.makes_machines, rooms.spares(tx)
    own = standing.of(tx, spares, door.compute)
    spares = standing.with_hosts(spares, own)
    room = rooms.look(tx, made=made, spares=spares, dead=standing.dead(own))
    known = [
        Spare(one.id, one.spare_of, one.compute_id or "", ready=one.status == "READY")
        for one in room.spares
        if one.status != "PENDING_DELETE"
    ]
    pools = [
        Pool(flavor_id, profile.data["spares"], rooms.wanted(profile.data, {}, made=made))
        for flavor_id, profile in _profiles(tx).items()
        if profile.data.get("spares", 0)
    ]
    return room, balance(pools, known, room.hosts, most=NEW_MAX)


def _wishes(tx: Tx) -> dict[str, MachineWish]:
    """Flavor → what is wanted of machines of its amphorae."""
    return {key: placement.machine(profile.data, {}) for key, profile in _profiles(tx).items()}


def _profiles(tx: Tx) -> dict[str, FlavorProfile]:
    """Flavor → its profile, of those that are offered."""
    profiles = {one["id"]: cast(FlavorProfile, FLAVORPROFILE.load(one)) for one in rows.find(tx, FLAVORPROFILE)}
    offered = [one for one in rows.find(tx, FLAVOR) if one["enabled"] and one["flavor_profile_id"] in profiles]
    found = {one["id"]: profiles[one["flavor_profile_id"]] for one in offered}
    return {key: profile for key, profile in found.items() if profile.provider_name in (PROVIDER, ALIAS)}


def _change(tx: Tx, door: Door, room: Room, wanted: Balance) -> list[Amphora]:
    """All spares, as they are afterwards: those asked for have rows, those to be removed can no longer be taken."""
    at = moment()
    leaving = [replace(one, status="PENDING_DELETE", updated_at=at) for one in room.spares if one.id in wanted.remove]
    for spare in leaving:
        rows.change(tx, AMPHORA, spare, at=at)
    new = [_new(flavor_id, None if door.makes_machines else host_id, at) for flavor_id, host_id in wanted.build]
    rows.insert(tx, AMPHORA, new)
    return [*(one for one in room.spares if one.id not in wanted.remove), *leaving, *new]


def _new(flavor_id: str, host_id: str | None, at: str) -> Amphora:
    """`host_id`: None if it has a machine of its own."""
    key = str(uuid4())
    return Amphora(id=key, created_at=at, updated_at=at, compute_id=host_id or key, spare_of=flavor_id)


def _act(door: Door, room: Room, spares: Sequence[Amphora], wishes: Mapping[str, MachineWish]) -> None:
    """What is begun goes on. What fails is tried again at the next turn."""
    provider = door.providers[PROVIDER]
    unbuilt = ("BOOTING",) if door.makes_machines else UNBUILT
    for spare in spares:
        if spare.status not in (*unbuilt, "PENDING_DELETE"):
            continue
        machine = wishes.get(spare.spare_of or "")
        placed = Placed(spare, room.believed.get(spare.compute_id or ""), machine=machine)
        try:
            if spare.status == "PENDING_DELETE":
                provider.compute.delete(placed)
                _write(door, spare, None)
            else:
                _build(door, provider, placed)
        except (ComputeError, AmphoraDriverError) as error:
            log.get().warning("spare", amphora=spare.id, reason=str(error))
            if spare.status == "BOOTING":  # others may be built meanwhile
                _write(door, spare, replace(spare, status="PENDING_CREATE"))


def _build(door: Door, provider: Provider, placed: Placed) -> None:
    """One that nobody knows any more by the time that it is built (a turn may last longer than the lease of its duty)
    is removed again."""
    spare = placed.amphora
    built = provider.compute.build(placed)
    if built.state == "ready":
        provider.amphora.finalize_amphora(placed)
        spare = replace(spare, status="READY", lb_network_ip=built.address)
    if not _write(door, placed.amphora, spare):
        provider.compute.delete(placed)


def _write(door: Door, before: Amphora, after: Amphora | None) -> bool:
    """The spare is as it is now, or no more; unless somebody else has gone on with it meanwhile. False: there was none
    any more."""
    at = moment()
    with door.database.transaction() as tx:
        hosts.lock(tx)
        known = rows.get(tx, AMPHORA, before.id)
        if known is None:
            return False
        if (known["loadbalancer_id"], known["status"]) != (None, before.status):
            return True
        if after is None:
            rows.delete(tx, AMPHORA, [before.id])
        else:
            rows.change(tx, AMPHORA, replace(after, updated_at=at), at=at)
        return True


def _show(spares: Sequence[Amphora]) -> None:
    staying = [one for one in spares if one.status != "PENDING_DELETE"]
    seen = Counter((one.spare_of or "", "ready" if one.status == "READY" else "coming") for one in staying)
    metrics.SPARES.clear()
    for (flavor, state), number in seen.items():
        metrics.SPARES.labels(flavor, state).set(number)
