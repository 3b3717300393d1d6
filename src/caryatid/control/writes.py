# SPDX-License-Identifier: Apache-2.0
"""The one door for wishes: nothing else changes what is wanted.

Each in the same order: policy, checks and outside look-ups; then in one transaction: lock the root, load what is
needed of its tree, apply, rules, quota, rows, generation + 1, work due, job, event. Wakes follow the commit.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast
from uuid import uuid4

from caryatid.errors import Conflict, Fault, NotFound, Refused, refused_with
from caryatid.model import (
    BY_NAME,
    GSLB_KINDS,
    HEALTHMONITOR,
    L7POLICY,
    L7RULE,
    LISTENER,
    LOADBALANCER,
    MEMBER,
    POOL,
    RATELIMITPOLICY,
    RATELIMITRULE,
    bundle,
)
from caryatid.model.consequences import changed_by, changed_without, replace
from caryatid.model.event import called, changed
from caryatid.model.kind import Kind
from caryatid.model.loadbalancer import LoadBalancer
from caryatid.model.member import Member
from caryatid.model.policy import Caller, require
from caryatid.model.pool import Pool
from caryatid.model.resource import Row
from caryatid.model.rules import delete_faults, size_faults
from caryatid.model.tree import Rows, Tree, link
from caryatid.store import quotas, rows, work
from caryatid.store import tree as trees
from caryatid.store.database import Tx

from . import bindings, bundles, catalog, references
from .apply import Tell, accept, delete_below, insert, locate, lock, ripple, write_ports
from .check import check, crowded_faults, limits_of
from .door import Door
from .gslb import wishes as gslb
from .gslb.waking import wake_users_of_loadbalancers
from .precondition import Precondition, require_unchanged
from .receipt import DEFAULT_PROJECT, Accepted, Effect, Wanted, Wish, moment, moments, project_of, rule

ABOVE: dict[str, tuple[tuple[str, Kind], ...]] = {
    LISTENER.name: (("loadbalancer_id", LOADBALANCER),),
    POOL.name: (("loadbalancer_id", LOADBALANCER), ("listener_id", LISTENER)),
    MEMBER.name: (("pool_id", POOL),),
    HEALTHMONITOR.name: (("pool_id", POOL),),
    L7POLICY.name: (("listener_id", LISTENER),),
    L7RULE.name: (("l7policy_id", L7POLICY),),
    RATELIMITPOLICY.name: (("listener_id", LISTENER),),
    RATELIMITRULE.name: (("ratelimitpolicy_id", RATELIMITPOLICY),),
}
"""What a new row hangs on: the attributes that may name it, and the kind each names."""


def create(door: Door, caller: Caller, kind: Kind, body: Any, *, parent_id: str | None = None) -> Accepted:
    """The resource that `body` asks for is wanted."""
    if kind is LOADBALANCER:
        return create_tree(door, caller, body, (), loadbalancer_id=str(uuid4()))
    if kind in GSLB_KINDS:
        return gslb.create(door, caller, kind, body, parent_id)
    if kind.root is None:
        return catalog.create(door, caller, kind, body)
    given: dict[str, Any] = {"id": str(uuid4()), **({kind.parent: parent_id} if kind.parent else {})}
    root_id, project_id = _hook(door, kind, body, given)
    require(caller, rule(kind, "post"), project_id)
    at = moment()
    given |= {"project_id": project_id, "created_at": at, "updated_at": at}
    found = bundles.fetch(door, project_id, [_mapping(body)])
    with refused_with(found.faults):
        row = kind.new(body, given, _defaults(door, kind))
    if isinstance(row, Pool):
        row = replace(row, loadbalancer_id=root_id)
    with door.database.transaction() as tx:
        lock(tx, root_id)
        tree = _tree_with(tx, root_id, row)
        more = crowded_faults(tx, door, row.pool_id, 1) if isinstance(row, Member) else found.faults
        check(tx, door, caller, tree, [(kind, row)], more)
        quotas.take(tx, project_id, {kind.name: 1}, door.settings.quotas)
        generation = work.ask(tx, root_id)
        insert(tx, kind, [row], root_id, generation)
        bindings.bind(tx, tree, [row])
        bundles.keep(tx, door, root_id, project_id, found.bundles)
        effects = ripple(tx, tree, row, changed_by(tree, row), generation, at)
        known = called(vars(row))
        wish = Wish("create", kind.name, row.id, root_id, project_id, generation, known, effects)
        return accept(tx, caller, wish)


def create_tree(
    door: Door,
    caller: Caller,
    body: Any,
    children: Sequence[Wanted],
    *,
    loadbalancer_id: str,
    tell: Tell | None = None,
) -> Accepted:
    """A load balancer and all below it are wanted, in one transaction. `tell`: what is shown of it, in the same."""
    project_id = project_of(caller, body)
    require(caller, rule(LOADBALANCER, "post"), project_id)
    at = moment()
    common = {"project_id": project_id, "created_at": at, "updated_at": at}
    found = bundles.fetch(door, project_id, [_mapping(child.body) for child in children])
    with refused_with(found.faults):
        row, below = _read_tree(door, body, children, {"id": loadbalancer_id, **common}, common)
    _require_special(caller, LOADBALANCER, body, "post", project_id)
    provider = door.provider(row.provider)
    with door.database.transaction() as tx:
        flavor, zone = references.profile_data(tx, row)
        vips = references.vips(tx, caller, provider, row)
        tree = link(vips.loadbalancer, _rows(below), flavor=flavor, zone=zone)
        below = _positioned(tree, below)
        tree = link(vips.loadbalancer, _rows(below), flavor=flavor, zone=zone)
        more = [*size_faults(tree, limits=limits_of(door)), *found.faults]
        check(tx, door, caller, tree, [(LOADBALANCER, vips.loadbalancer), *below], more)
        quotas.take(tx, project_id, _counts([(LOADBALANCER, row), *below]), door.settings.quotas)
        for kind, group in _by_kind([(LOADBALANCER, vips.loadbalancer), *below]).items():
            insert(tx, BY_NAME[kind], group, row.id, rows.FIRST)
            bindings.bind(tx, tree, group)
        bundles.keep(tx, door, row.id, project_id, found.bundles)
        work.begin(tx, row.id)
        write_ports(tx, vips, at)
        effects = [Effect("create", kind.name, child.id, called(vars(child))) for kind, child in below]
        known = called(vars(row))
        wish = Wish("create", LOADBALANCER.name, row.id, row.id, project_id, rows.FIRST, known, effects)
        return accept(tx, caller, wish, tell=tell)


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
    """The resource is wanted as `body` says; what it does not name stays. Raises PreconditionFailed."""
    if kind in GSLB_KINDS:
        return gslb.change(door, caller, kind, key, body, parent_id=parent_id, precondition=precondition)
    if kind.root is None:
        return catalog.change(door, caller, kind, key, body, precondition)
    at = moment()
    found = _fetched(door, caller, kind, key, body)
    with door.database.transaction() as tx:
        place = locate(tx, kind, key, parent_id)
        require(caller, rule(kind, "put"), place.project_id)
        _require_special(caller, kind, body, "put", place.project_id)
        lock(tx, place.root_id)
        document = rows.get(tx, kind, key, parent_id=parent_id) or {}
        require_unchanged(kind, document, precondition)
        with refused_with(found.faults):
            row = replace(kind.change(document, body, _defaults(door, kind)), updated_at=at)
        tree = _tree_with(tx, place.root_id, row)
        check(tx, door, caller, tree, [(kind, row)], found.faults)
        generation = work.ask(tx, place.root_id)
        rows.change(tx, kind, row, generation=generation, at=at)
        if isinstance(row, LoadBalancer) and row.admin_state_up != document["admin_state_up"]:
            wake_users_of_loadbalancers(tx, [key])
        bundles.keep(tx, door, place.root_id, place.project_id, found.bundles)
        effects = ripple(tx, tree, row, changed_by(tree, row), generation, at)
        detail = changed(kind, document, vars(row))
        wish = Wish("update", kind.name, key, place.root_id, place.project_id, generation, detail, effects)
        return accept(tx, caller, wish)


def delete(  # noqa: PLR0913  a wish has this many parts
    door: Door,
    caller: Caller,
    kind: Kind,
    key: str,
    *,
    parent_id: str | None = None,
    cascade: bool = False,
    precondition: Precondition | None = None,
) -> Accepted:
    """The resource is no longer wanted, nor what is part of it; `cascade`: a load balancer's children either. Raises
    PreconditionFailed."""
    if kind in GSLB_KINDS:
        return gslb.delete(door, caller, kind, key, parent_id, precondition)
    if kind.root is None:
        return catalog.delete(door, caller, kind, key, precondition)
    at = moment()
    with door.database.transaction() as tx:
        place = locate(tx, kind, key, parent_id)
        require(caller, rule(kind, "delete"), place.project_id)
        lock(tx, place.root_id)
        loadbalancer, known = trees.rows_of(tx, place.root_id, members=False)
        tree = link(loadbalancer, known)
        document = rows.get(tx, kind, key, parent_id=parent_id) or {}
        require_unchanged(kind, document, precondition)
        row = kind.load(document)
        if not cascade and (faults := list(delete_faults(tree, row))):
            raise Refused(faults)
        generation = work.ask(tx, place.root_id)
        effects = delete_below(tx, kind, [key], generation)
        rows.delete(tx, kind, [key], generation=generation)
        if isinstance(row, LoadBalancer):
            wake_users_of_loadbalancers(tx, [key])
        else:
            effects += ripple(tx, tree, row, changed_without(tree, row), generation, at)
        told = called(vars(row))
        wish = Wish("delete", kind.name, key, place.root_id, place.project_id, generation, told, effects)
        return accept(tx, caller, wish, shown=False)


def _hook(door: Door, kind: Kind, body: Any, given: Mapping[str, Any]) -> tuple[str, str]:
    """Root and project of what the new row hangs on. Raises Refused, with whatever else is wrong in `body`."""
    named = {**_mapping(body), **given}
    faults = []
    found: rows.Place | None = None
    with door.database.read() as tx:
        for attribute, above in ABOVE[kind.name]:
            key = named.get(attribute)
            if not isinstance(key, str):
                continue
            place = rows.place(tx, above, key)
            if place is None:
                if attribute == kind.parent:
                    raise NotFound(above.title, key)
                faults.append(Fault(f"{above.title} {key} not found.", attribute, 404))
            elif place.deleted:
                raise Conflict(f"{above.title} {key} is immutable and cannot be updated.")
            else:
                found = place
    if faults or found is None:
        _add_own_faults(door, kind, body, given, faults)
        raise Refused(faults)
    return found.root_id, found.project_id


def _add_own_faults(door: Door, kind: Kind, body: Any, given: Mapping[str, Any], faults: list[Fault]) -> None:
    at = moment()
    try:
        kind.new(body, {**given, "project_id": DEFAULT_PROJECT, "created_at": at}, _defaults(door, kind))
    except Refused as refused:
        faults.extend(refused.faults)


def _fetched(door: Door, caller: Caller, kind: Kind, key: str, body: Any) -> bundles.Fetched:
    """What the references that the change names, and that were not named before, stand for."""
    if not any(bundle.named(_mapping(body))):
        return bundles.Fetched()
    with door.database.read() as tx:
        place = locate(tx, kind, key, None)
        require(caller, rule(kind, "put"), place.project_id)
        document = rows.get(tx, kind, key) or {}
        before = {reference.key for reference in bundle.named(document)}
        after = {**document, **_mapping(body)}
        if before >= {reference.key for reference in bundle.named(after)}:
            return bundles.Fetched()
        known = bundles.stored(tx, door, place.root_id, before)
    return bundles.fetch(door, place.project_id, [after], known)


def _mapping(body: Any) -> Mapping[str, Any]:
    return body if isinstance(body, Mapping) else {}


def _require_special(caller: Caller, kind: Kind, body: Any, action: str, project_id: str) -> None:
    """Attributes that have a policy rule of their own."""
    for name in _mapping(body):
        attribute = kind.attributes.get(name)
        if attribute is not None and attribute.access.rule:
            require(caller, f"{rule(kind, action)}:{attribute.access.rule}", project_id)


def _read_tree(
    door: Door, body: Any, children: Sequence[Wanted], given: Mapping[str, Any], common: Mapping[str, Any]
) -> tuple[LoadBalancer, list[tuple[Kind, Row]]]:
    """The rows that a fully populated create asks for; raises Refused with the faults of all of them."""
    faults: list[Fault] = []
    row: Row | None = None
    below: list[tuple[Kind, Row]] = []
    try:
        row = LOADBALANCER.new(body, given)
    except Refused as refused:
        faults += refused.faults
    for child, at in zip(children, moments(common["created_at"]), strict=False):
        try:
            known = {"id": child.id, **common, "created_at": at, **child.given}
            below.append((child.kind, child.kind.new(child.body, known, _defaults(door, child.kind))))
        except Refused as refused:
            faults += refused.faults
    if faults or row is None:
        raise Refused(faults)
    return cast(LoadBalancer, row), below


def _tree_with(tx: Tx, root_id: str, row: Row) -> Tree:
    """The tree of the root without members, `row` applied."""
    loadbalancer, known = trees.rows_of(tx, root_id, members=False)
    if isinstance(row, LoadBalancer):
        loadbalancer = row
    special = isinstance(row, LoadBalancer) or getattr(row, "request_sriov", False)
    flavor, zone = references.profile_data(tx, loadbalancer) if special else ({}, {})
    return link(loadbalancer, known.with_row(row), flavor=flavor, zone=zone)


def _defaults(door: Door, kind: Kind) -> dict[str, int]:
    return door.settings.listener_defaults if kind is LISTENER else {}


def _rows(below: Iterable[tuple[Kind, Row]]) -> Rows:
    found = Rows()
    for group in _by_kind(below).values():
        found = found.with_rows(group)
    return found


def _positioned(tree: Tree, below: list[tuple[Kind, Row]]) -> list[tuple[Kind, Row]]:
    """The same rows, L7 policies counted from 1 within their listener."""
    places = {
        node.policy.id: place for listener in tree.listeners for place, node in enumerate(listener.l7policies, start=1)
    }
    return [(kind, replace(row, position=places[row.id]) if kind is L7POLICY else row) for kind, row in below]


def _by_kind(below: Iterable[tuple[Kind, Row]]) -> dict[str, list[Row]]:
    groups: dict[str, list[Row]] = {}
    for kind, row in below:
        groups.setdefault(kind.name, []).append(row)
    return groups


def _counts(below: Iterable[tuple[Kind, Row]]) -> dict[str, int]:
    return {kind: len(group) for kind, group in _by_kind(below).items()}
