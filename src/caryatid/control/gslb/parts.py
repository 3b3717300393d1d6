# SPDX-License-Identifier: Apache-2.0
"""Wishes about what gslbs are made of. Several may use a part: each is asked for anew, in the same transaction."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, cast
from uuid import uuid4

from caryatid.control.apply import accept
from caryatid.control.bundles import Fetched
from caryatid.control.check import crowded_faults
from caryatid.control.door import Door
from caryatid.control.precondition import Precondition, require_unchanged
from caryatid.control.receipt import Accepted, Effect, Wish, moment, project_of, rule
from caryatid.drivers import installed
from caryatid.errors import Conflict, Fault, NotFound, Refused, refused_with
from caryatid.model import GSLB, GSLB_GEOMAP, GSLB_MEMBER, GSLB_MONITOR, GSLB_POOL, LOADBALANCER
from caryatid.model.consequences import replace
from caryatid.model.event import called, changed
from caryatid.model.gslb import rules
from caryatid.model.gslb.member import GslbMember
from caryatid.model.gslb.monitor import GslbMonitor
from caryatid.model.gslb.parameters import PARAMETERS
from caryatid.model.gslb.parameters import faults as parameter_faults
from caryatid.model.gslb.place import GslbGeomap
from caryatid.model.gslb.pool import GslbPool
from caryatid.model.gslb.tree import Part, parts_of
from caryatid.model.kind import Kind
from caryatid.model.policy import Caller, require
from caryatid.model.resource import Row
from caryatid.store import jobs, quotas, rows, work
from caryatid.store.database import Tx
from caryatid.store.gslb import loadbalancers, parts, state, trees, uses

from . import bundles, following, lookup, membertypes, passive
from .targets import targets

KINDS: Final = (GSLB_POOL, GSLB_MEMBER, GSLB_MONITOR, GSLB_GEOMAP)
NAMED_BY: Final[Mapping[str, Sequence[Kind]]] = {
    GSLB_POOL.name: (GSLB, GSLB_GEOMAP),
    GSLB_MONITOR.name: (GSLB_POOL,),
    GSLB_GEOMAP.name: (GSLB,),
}
"""Who may name a part: while somebody does, it stays."""
EXEC: Final = "exec"
"""The check that runs a program of the operator's, and is the operator's to use."""


def create(door: Door, caller: Caller, kind: Kind, body: Any, parent_id: str | None = None) -> Accepted:
    """The part is there. Raises Refused, Conflict, Unsupported."""
    at = moment()
    project_id = _project(door, caller, kind, body, parent_id)
    require(caller, rule(kind, "post"), project_id)
    given: dict[str, Any] = {"id": str(uuid4()), "project_id": project_id, "created_at": at, "updated_at": at}
    read = bundles.fetch(door, project_id, kind, body)
    with refused_with([*_parameter_faults(kind, body, {}), *read.faults]):
        row = kind.new(body, {**given, **({kind.parent: parent_id} if kind.parent else {})})
    sought = following.seek(door, row) if isinstance(row, GslbMember) else None
    row = sought.member if sought else row
    passive.prepare(door, row)
    with door.database.transaction() as tx:
        if isinstance(row, GslbMember):
            _lock_pool(tx, row.pool_id)
        row = passive.placed(tx, door, row)
        with refused_with(read.faults):
            _check(tx, door, caller, row, "post", sought)
        bundles.require_right(read)
        quotas.take(tx, project_id, {kind.name: 1}, door.settings.quotas)
        rows.insert(tx, kind, [row])
        _keep(tx, door, row, sought, read)
        generations = _ripple(tx, row, deep=False)
        return _done(tx, caller, Wish("create", kind.name, row.id, None, project_id, detail=_called(row)), generations)


def change(  # noqa: PLR0913  a wish has this many parts
    door: Door,
    caller: Caller,
    kind: Kind,
    key: str,
    body: Any,
    *,
    parent_id: str | None = None,
    precondition: Precondition | None = None,
) -> Accepted:
    """It is as `body` says; what that does not name stays. Raises PreconditionFailed."""
    at = moment()
    sought = _sought(door, caller, kind, key, body, parent_id)
    read = bundles.fetched(door, caller, kind, key, body)
    found = {"address": sought.member.address} if sought else {}
    with door.database.transaction() as tx:
        document = _held(tx, kind, key, parent_id)
        require(caller, rule(kind, "put"), document["project_id"])
        require_unchanged(kind, document, precondition)
        with refused_with([*_parameter_faults(kind, body, document), *read.faults]):
            row = replace(kind.change(document, body), updated_at=at, **found)
        row = passive.placed(tx, door, row)
        with refused_with(read.faults):
            _check(tx, door, caller, row, "put", sought)
        bundles.require_right(read)
        rows.change(tx, kind, row, at=at)
        _keep(tx, door, row, sought, read)
        generations = _ripple(tx, row, deep=_reaches_further(document, row))
        detail = changed(kind, document, vars(row))
        wish = Wish("update", kind.name, key, None, document["project_id"], detail=detail)
        return _done(tx, caller, wish, generations)


def delete(
    door: Door,
    caller: Caller,
    kind: Kind,
    key: str,
    parent_id: str | None = None,
    precondition: Precondition | None = None,
) -> Accepted:
    """It is no more; members go with their pool. Raises Conflict while something names it, PreconditionFailed."""
    with door.database.transaction() as tx:
        document = _held(tx, kind, key, parent_id)
        project_id = document["project_id"]
        require(caller, rule(kind, "delete"), project_id)
        require_unchanged(kind, document, precondition)
        _refuse_named(tx, kind, key, project_id)
        row = kind.load(document)
        effects: list[Effect] = []
        if kind is GSLB_POOL:
            members = {member["id"]: member for member in rows.find(tx, GSLB_MEMBER, pool_id=key)}
            _remove(tx, GSLB_MEMBER, list(members))
            effects = [Effect("delete", GSLB_MEMBER.name, one, called(member)) for one, member in members.items()]
        if kind is GSLB_MONITOR:
            bundles.drop(tx, key)
        _remove(tx, kind, [key])
        generations = _ripple(tx, row, deep=False) if kind is GSLB_MEMBER else {}
        wish = Wish("delete", kind.name, key, None, project_id, detail=_called(row), effects=effects)
        return _done(tx, caller, wish, generations, shown=False)


def _project(door: Door, caller: Caller, kind: Kind, body: Any, parent_id: str | None) -> str:
    """Whose the new part is; a member is its pool's project's. Raises NotFound."""
    if kind is not GSLB_MEMBER:
        return project_of(caller, body)
    with door.database.read() as tx:
        pool = rows.place(tx, GSLB_POOL, parent_id or "")
    if pool is None:
        raise NotFound(GSLB_POOL.title, parent_id or "")
    return pool.project_id


def _parameter_faults(kind: Kind, body: Any, before: Mapping[str, Any]) -> list[Fault]:
    """What is wrong in a monitor's parameters, to be told with whatever else is."""
    asked = {**before, **(body if isinstance(body, Mapping) else {})}
    check, given = asked.get("type"), asked.get("parameters")
    if kind is not GSLB_MONITOR or not isinstance(check, str) or not isinstance(given, Mapping):
        return []
    return list(parameter_faults(check, given))


def _lock_pool(tx: Tx, key: str) -> None:
    """Nobody else changes the pool, or members of it, until this transaction ends. Raises NotFound."""
    rows.lock(tx, GSLB_POOL, key)
    if rows.place(tx, GSLB_POOL, key) is None:
        raise NotFound(GSLB_POOL.title, key)


def _held(tx: Tx, kind: Kind, key: str, parent_id: str | None) -> dict[str, Any]:
    """The document of a part that nobody else changes until this transaction ends. Raises NotFound."""
    if kind is GSLB_MEMBER:
        _lock_pool(tx, parent_id or "")
    rows.lock(tx, kind, key)
    document = rows.get(tx, kind, key, parent_id=parent_id)
    if document is None:
        raise NotFound(kind.title, key)
    return document


def _sought(
    door: Door, caller: Caller, kind: Kind, key: str, body: Any, parent_id: str | None
) -> following.Sought | None:
    """What a plugin finds out about a member, as it is to be; before the transaction, since it may take long."""
    if kind is not GSLB_MEMBER or not membertypes.plugins():
        return None
    with door.database.read() as tx:
        document = rows.get(tx, kind, key, parent_id=parent_id)
    if document is None:
        raise NotFound(kind.title, key)
    require(caller, rule(kind, "put"), document["project_id"])
    if document["type"] not in membertypes.plugins():
        return None
    return following.seek(door, cast(GslbMember, kind.change(document, body)))


def _check(tx: Tx, door: Door, caller: Caller, row: Row, action: str, sought: following.Sought | None = None) -> None:
    """Raises Refused with every fault, Conflict for a member in the place of another."""
    match row:
        case GslbPool():
            faults = list(lookup.pool_faults(tx, row))
        case GslbMonitor():
            if row.type == EXEC:
                require(caller, f"{rule(GSLB_MONITOR, action)}:{EXEC}", row.project_id)
            types = {*PARAMETERS, *installed("checks")}
            faults = [*rules.monitor_faults(row, types), *lookup.region_faults(tx, row.regions, "regions")]
            faults += passive.placed_faults(row)
        case GslbGeomap():
            faults = list(lookup.geomap_faults(tx, row))
        case GslbMember():
            faults = [*(sought.faults if sought else ()), *_member_faults(tx, door, row, sought)]
        case _:
            faults = []
    if faults:
        raise Refused(faults)


def _member_faults(tx: Tx, door: Door, row: GslbMember, sought: following.Sought | None) -> Iterator[Fault]:
    known = targets(tx, door)
    yield from rules.member_faults(row, known, membertypes.plugins())
    if sought:
        yield from following.target_faults(sought, known)
    yield from lookup.region_faults(tx, [row.region_id] if row.region_id else [], "region_id")
    yield from _loadbalancer_faults(tx, row)
    siblings = [cast(GslbMember, GSLB_MEMBER.load(one)) for one in rows.find(tx, GSLB_MEMBER, pool_id=row.pool_id)]
    others = [one for one in siblings if one.id != row.id]
    if len(others) >= door.settings.members_max:
        yield from crowded_faults(tx, door, row.pool_id, len(others) + 1)
    if rules.place(row) in {rules.place(one) for one in others}:
        raise Conflict(f"Another member of this pool is already at {_where(row)}.")


def _loadbalancer_faults(tx: Tx, row: GslbMember) -> Iterator[Fault]:
    """The load balancer is the project's, or one that the region has told of."""
    if row.type != "load_balancer" or row.loadbalancer_id is None:
        return
    there = rows.place(tx, LOADBALANCER, row.loadbalancer_id)
    if there is not None and not there.deleted and there.project_id == row.project_id:
        return
    if there is None and row.region_id is not None and loadbalancers.own_of(tx, [row])[row.id].addresses:
        return
    where = f" in region {row.region_id}: it has not told of it" if row.region_id else ""
    yield Fault(f"{LOADBALANCER.title} {row.loadbalancer_id} not found{where}.", "loadbalancer_id")


def _keep(tx: Tx, door: Door, row: Row, sought: following.Sought | None, read: Fetched) -> None:
    """What was found out outside is kept with the row."""
    if sought:
        following.keep(tx, door, sought)
    if isinstance(row, GslbMonitor):
        bundles.keep(tx, door, row, read.bundles)
        passive.lasting(tx, row)


def _where(row: GslbMember) -> str:
    name = row.address or row.hostname or row.loadbalancer_id or row.port_id or ""
    return f"{name} port {row.port}" if row.port else name


def _reaches_further(document: Mapping[str, Any], row: Row) -> bool:
    """Whether those that use it use other parts from now on, or need more of their name servers."""
    names = ("monitors", "member_policy", "shed_percent", "rules")
    said = changed(_kind(row), document, vars(row))["changed"]
    return any(name in said for name in names)


def _ripple(tx: Tx, row: Row, *, deep: bool) -> dict[str, int]:
    """Every gslb that uses the part is asked for anew: in which generation, by gslb. `deep`: see `_reaches_further`."""
    part = _part(row)
    states = rows.lock_roots(tx, uses.users(tx, part[0], [part[1]]), GSLB)
    living = [key for key, found in states.items() if found.deleted_generation is None]
    generations = work.ask_all(tx, living, kind=GSLB)
    uses.changed(tx, part, generations)
    if deep:
        for tree in trees.load(tx, living):
            pools = tree.pools
            if tree.backend is not None:
                lookup.require_able(tx, tree.backend, rules.needed(tree.gslb, pools.values()))
            uses.replace(tx, tree.gslb.id, parts_of(tree.gslb, tree.geomap, pools), generations[tree.gslb.id])
    return generations


def _part(row: Row) -> Part:
    """What gslbs are said to use: a member is part of its pool."""
    if isinstance(row, GslbMember):
        return GSLB_POOL.name, row.pool_id
    return _kind(row).name, row.id


def _kind(row: Row) -> Kind:
    return next(kind for kind in KINDS if kind.model is type(row))


def _called(row: Row) -> dict[str, Any]:
    known = called(vars(row))
    return known or ({"address": row.address or row.hostname} if isinstance(row, GslbMember) else {})


def _refuse_named(tx: Tx, kind: Kind, key: str, project_id: str) -> None:
    for user in NAMED_BY.get(kind.name, ()):
        if names := parts.naming(tx, user, key, project_id):
            several = ", …" if len(names) == parts.NAMED_MAX else ""
            raise Conflict(
                f"{kind.title} {key} is in use by {user.title} {', '.join(names)}{several} and cannot be deleted."
            )


def _remove(tx: Tx, kind: Kind, ids: Sequence[str]) -> None:
    rows.delete(tx, kind, ids)
    if ids:
        state.forget_statuses(tx, kind.name, ids)


def _done(tx: Tx, caller: Caller, wish: Wish, generations: Mapping[str, int], *, shown: bool = True) -> Accepted:
    """The receipt: a job for each gslb; without any it has taken effect at once."""
    first = next(iter(generations), None)
    wish = dataclasses.replace(wish, root_id=first, root_kind=GSLB, generation=generations.get(first or "", 0))
    receipt = accept(tx, caller, wish, shown=shown)
    for gslb_id, generation in list(generations.items())[1:]:
        jobs.open(
            tx,
            action=wish.action,
            kind=wish.kind,
            resource_id=wish.key,
            root_id=gslb_id,
            root_kind=GSLB,
            project_id=wish.project_id,
            generation=generation,
            user_id=caller.user_id,
            request_id=caller.request_id,
        )
    return receipt
