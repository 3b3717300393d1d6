# SPDX-License-Identifier: Apache-2.0
"""The one door for wishes: nothing else changes what is wanted.

Each in the same order: policy, checks and outside look-ups; then in one transaction: lock the root, load what is
needed of its tree, apply, rules, quota, rows, generation + 1, work due, job, event. Wakes follow the commit.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast
from uuid import uuid4

from caryatid.errors import Conflict, Fault, NotFound, Refused
from caryatid.model import (
    BY_NAME,
    HEALTHMONITOR,
    HOST,
    L7POLICY,
    LISTENER,
    LOADBALANCER,
    MEMBER,
    POOL,
    PORT,
)
from caryatid.model import rules as model_rules
from caryatid.model.consequences import BELOW, ancestors, changed_by, changed_without, replace
from caryatid.model.kind import Kind
from caryatid.model.listener import Listener
from caryatid.model.loadbalancer import LoadBalancer
from caryatid.model.member import Member
from caryatid.model.policy import Caller, require
from caryatid.model.pool import Pool
from caryatid.model.resource import Row
from caryatid.model.rules import Limits, crowded, delete_faults, size_faults, unsupported
from caryatid.model.tree import Rows, Tree, link
from caryatid.store import quotas, rows, work
from caryatid.store import tree as trees
from caryatid.store.database import Tx

from . import catalog, references
from .door import Door
from .receipt import Accepted, Wanted, Wish, moment, note, rule

DEFAULT_PROJECT = "default"
UNPRIVILEGED_FROM = 1024
ABOVE: dict[str, tuple[tuple[str, Kind], ...]] = {
    LISTENER.name: (("loadbalancer_id", LOADBALANCER),),
    POOL.name: (("loadbalancer_id", LOADBALANCER), ("listener_id", LISTENER)),
    MEMBER.name: (("pool_id", POOL),),
    HEALTHMONITOR.name: (("pool_id", POOL),),
    L7POLICY.name: (("listener_id", LISTENER),),
    "l7rule": (("l7policy_id", L7POLICY),),
}
"""What a new row hangs on: the attributes that may name it, and the kind each names."""


def create(door: Door, caller: Caller, kind: Kind, body: Any, *, parent_id: str | None = None) -> Accepted:
    """The resource that `body` asks for is wanted."""
    if kind is LOADBALANCER:
        return create_tree(door, caller, body, (), loadbalancer_id=str(uuid4()))
    if kind.root is None:
        return catalog.create(door, caller, kind, body)
    given: dict[str, Any] = {"id": str(uuid4()), **({kind.parent: parent_id} if kind.parent else {})}
    root_id, project_id = _hook(door, kind, body, given)
    require(caller, rule(kind, "post"), project_id)
    at = moment()
    given |= {"project_id": project_id, "created_at": at, "updated_at": at}
    row = kind.new(body, given, _defaults(door, kind))
    if isinstance(row, Pool):
        row = replace(row, loadbalancer_id=root_id)
    with door.database.transaction() as tx:
        _lock(tx, root_id)
        tree = _tree_with(tx, root_id, row)
        more = _crowded(tx, door, row.pool_id, 1) if isinstance(row, Member) else ()
        _check(tx, door, caller, tree, [(kind, row)], more)
        quotas.take(tx, project_id, {kind.name: 1}, door.settings.quotas)
        generation = work.ask(tx, root_id)
        _insert(tx, kind, [row], root_id, generation)
        _ripple(tx, tree, row, changed_by(tree, row), generation, at)
        return _accept(tx, caller, Wish("create", kind.name, row.id, root_id, project_id, generation))


def create_tree(door: Door, caller: Caller, body: Any, children: Sequence[Wanted], *, loadbalancer_id: str) -> Accepted:
    """A load balancer and all below it are wanted, in one transaction."""
    project_id = _project(caller, body)
    require(caller, rule(LOADBALANCER, "post"), project_id)
    at = moment()
    common = {"project_id": project_id, "created_at": at, "updated_at": at}
    row, below = _read_tree(door, body, children, {"id": loadbalancer_id, **common}, common)
    _require_special(caller, LOADBALANCER, body, "post", project_id)
    provider = door.provider(row.provider)
    with door.database.transaction() as tx:
        flavor, zone = references.profile_data(tx, row)
        vips = references.vips(tx, caller, provider, row)
        tree = link(vips.loadbalancer, _rows(below), flavor=flavor, zone=zone)
        below = _positioned(tree, below)
        tree = link(vips.loadbalancer, _rows(below), flavor=flavor, zone=zone)
        more = size_faults(tree, limits=_limits(door))
        _check(tx, door, caller, tree, [(LOADBALANCER, vips.loadbalancer), *below], more)
        quotas.take(tx, project_id, _counts([(LOADBALANCER, row), *below]), door.settings.quotas)
        _insert(tx, LOADBALANCER, [vips.loadbalancer], row.id, 0)
        generation = work.ask(tx, row.id)
        for kind, group in _by_kind(below).items():
            _insert(tx, BY_NAME[kind], group, row.id, generation)
        _write_ports(tx, vips, at)
        return _accept(tx, caller, Wish("create", LOADBALANCER.name, row.id, row.id, project_id, generation))


def change(door: Door, caller: Caller, kind: Kind, key: str, body: Any, *, parent_id: str | None = None) -> Accepted:
    """The resource is wanted as `body` says; what it does not name stays."""
    if kind.root is None:
        return catalog.change(door, caller, kind, key, body)
    at = moment()
    with door.database.transaction() as tx:
        place = _place(tx, kind, key, parent_id)
        require(caller, rule(kind, "put"), place.project_id)
        _require_special(caller, kind, body, "put", place.project_id)
        _lock(tx, place.root_id)
        document = rows.get(tx, kind, key, parent_id=parent_id) or {}
        row = replace(kind.change(document, body, _defaults(door, kind)), updated_at=at)
        tree = _tree_with(tx, place.root_id, row)
        _check(tx, door, caller, tree, [(kind, row)])
        generation = work.ask(tx, place.root_id)
        rows.change(tx, kind, row, generation=generation, at=at)
        _ripple(tx, tree, row, changed_by(tree, row), generation, at)
        return _accept(tx, caller, Wish("update", kind.name, key, place.root_id, place.project_id, generation))


def delete(
    door: Door, caller: Caller, kind: Kind, key: str, *, parent_id: str | None = None, cascade: bool = False
) -> Accepted:
    """The resource is no longer wanted, nor what is part of it; `cascade`: a load balancer's children either."""
    if kind.root is None:
        return catalog.delete(door, caller, kind, key)
    at = moment()
    with door.database.transaction() as tx:
        place = _place(tx, kind, key, parent_id)
        require(caller, rule(kind, "delete"), place.project_id)
        _lock(tx, place.root_id)
        loadbalancer, known = trees.rows_of(tx, place.root_id, members=False)
        tree = link(loadbalancer, known)
        row = kind.load(rows.get(tx, kind, key, parent_id=parent_id) or {})
        if not cascade and (faults := list(delete_faults(tree, row))):
            raise Refused(faults)
        generation = work.ask(tx, place.root_id)
        _delete_below(tx, kind, [key], generation)
        rows.delete(tx, kind, [key], generation=generation)
        if not isinstance(row, LoadBalancer):
            _ripple(tx, tree, row, changed_without(tree, row), generation, at)
        return _accept(
            tx, caller, Wish("delete", kind.name, key, place.root_id, place.project_id, generation), shown=False
        )


def replace_members(door: Door, caller: Caller, pool_id: str, members: Any, *, additive: bool) -> Accepted:
    """The pool has these members: known ones (by address and port) are changed, others created; those not named
    are deleted, unless `additive`. Nothing happens if that is how it is already."""
    at = moment()
    with door.database.transaction() as tx:
        place = _place(tx, POOL, pool_id, None)
        for action in ("post", "put", *(() if additive else ("delete",))):
            require(caller, rule(MEMBER, action), place.project_id)
        _lock(tx, place.root_id)
        known = {(m["address"], m["protocol_port"]): m for m in rows.find(tx, MEMBER, pool_id=pool_id)}
        common = {"pool_id": pool_id, "project_id": place.project_id, "updated_at": at}
        wanted = _read_members(members, known, common, at)
        new = [m for m in wanted if (m.address, m.protocol_port) not in known]
        changed = [m for m in wanted if _differs(m, known.get((m.address, m.protocol_port)))]
        named = {(m.address, m.protocol_port) for m in wanted}
        gone = [] if additive else [m["id"] for key, m in known.items() if key not in named]
        if not (new or changed or gone):
            return Accepted(None, None)
        more = crowded(len(known) + len(new) - len(gone), limits=_limits(door))
        loadbalancer, others = trees.rows_of(tx, place.root_id, members=False)
        tree = link(loadbalancer, others)
        _check(tx, door, caller, tree, [(MEMBER, m) for m in (*new, *changed)], more)
        quotas.take(tx, place.project_id, {MEMBER.name: len(new) - len(gone)}, door.settings.quotas)
        generation = work.ask(tx, place.root_id)
        rows.delete(tx, MEMBER, gone, generation=generation)
        _insert(tx, MEMBER, new, place.root_id, generation)
        for member in changed:
            rows.change(tx, MEMBER, member, generation=generation, at=at)
        pool = tree.pool(pool_id)
        if pool is not None:
            rows.touch(tx, POOL, [pool_id], generation, at=at)
            _ripple(tx, tree, pool.pool, (), generation, at)
        wish = Wish("update", POOL.name, pool_id, place.root_id, place.project_id, generation)
        return _accept(tx, caller, wish, shown=False)


def _hook(door: Door, kind: Kind, body: Any, given: Mapping[str, Any]) -> tuple[str, str]:
    """Root and project of what the new row hangs on. Raises Refused, with whatever else is wrong in `body`."""
    named = {**(body if isinstance(body, Mapping) else {}), **given}
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


def _project(caller: Caller, body: Any) -> str:
    named = body.get("project_id") if isinstance(body, Mapping) else None
    return named if isinstance(named, str) and named else caller.project_id or DEFAULT_PROJECT


def _require_special(caller: Caller, kind: Kind, body: Any, action: str, project_id: str) -> None:
    """Attributes that have a policy rule of their own."""
    for name in body if isinstance(body, Mapping) else ():
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
    for child in children:
        try:
            known = {"id": child.id, **common, **child.given}
            below.append((child.kind, child.kind.new(child.body, known, _defaults(door, child.kind))))
        except Refused as refused:
            faults += refused.faults
    if faults or row is None:
        raise Refused(faults)
    return cast(LoadBalancer, row), below


def _read_members(
    members: Any, known: Mapping[tuple[str, int], Mapping[str, Any]], common: Mapping[str, Any], at: str
) -> list[Member]:
    if not isinstance(members, list):
        raise Refused([Fault("Invalid input for field/attribute members. Value should be a list", "members")])
    faults: list[Fault] = []
    found: dict[tuple[str, int], Member] = {}
    for body in members:
        try:
            fresh = {"id": str(uuid4()), "created_at": at, **common}
            member = cast(Member, MEMBER.new(body, fresh))
        except Refused as refused:
            faults += refused.faults
            continue
        key = (member.address, member.protocol_port)
        if key in found:
            faults.append(_named_twice(key, known))
        old = known.get(key)
        found[key] = member if old is None else replace(member, id=old["id"], created_at=old["created_at"])
    if faults:
        raise Refused(faults)
    return list(found.values())


def _named_twice(key: tuple[str, int], known: Mapping[tuple[str, int], object]) -> Fault:
    if key in known:
        return Fault("Validation failure: Member must be updated only once in the same request.", "members")
    return Fault(f"Another member on this pool is already using ip {key[0]} on protocol_port {key[1]}", "members", 409)


def _differs(member: Member, known: Mapping[str, Any] | None) -> bool:
    if known is None:
        return False
    return any(getattr(member, name) != known[name] for name in MEMBER.creatable if name in known)


def _lock(tx: Tx, root_id: str) -> None:
    state = rows.lock_root(tx, root_id)
    if state is None:
        raise NotFound(LOADBALANCER.title, root_id)
    if state.deleted_generation is not None:
        raise Conflict(f"Invalid state PENDING_DELETE of loadbalancer resource {root_id}")


def _place(tx: Tx, kind: Kind, key: str, parent_id: str | None) -> rows.Place:
    """Where the row is. Raises NotFound, or Conflict if it is on its way out."""
    document = rows.get(tx, kind, key, parent_id=parent_id) if parent_id is not None else None
    place = rows.place(tx, kind, key)
    if place is None or (parent_id is not None and document is None):
        raise NotFound(kind.title, key)
    if place.deleted and kind is LOADBALANCER:
        raise Conflict(f"Invalid state PENDING_DELETE of loadbalancer resource {key}")
    if place.deleted:
        raise Conflict(f"{kind.title} {key} is immutable and cannot be updated.")
    return place


def _tree_with(tx: Tx, root_id: str, row: Row) -> Tree:
    """The tree of the root without members, `row` applied."""
    loadbalancer, known = trees.rows_of(tx, root_id, members=False)
    if isinstance(row, LoadBalancer):
        loadbalancer = row
    special = isinstance(row, LoadBalancer) or getattr(row, "request_sriov", False)
    flavor, zone = references.profile_data(tx, loadbalancer) if special else ({}, {})
    return link(loadbalancer, known.with_row(row), flavor=flavor, zone=zone)


def _check(
    tx: Tx, door: Door, caller: Caller, tree: Tree, changed: Iterable[tuple[Kind, Row]], more: Iterable[Fault] = ()
) -> None:
    """Raises Refused with every fault that the tree's rules and the provider's drivers find in the changed rows,
    and with those found before."""
    provider = door.provider(tree.loadbalancer.provider)
    limits = _limits(door)
    faults = list(more)
    for _, row in changed:
        faults += model_rules.faults(tree, row, limits=limits)
        faults += unsupported(tree, row, provider.capabilities, provider.name)
        faults += _port_faults(tx, row)
        if not provider.network.takes_any_reference:
            faults += _subnet_faults(tx, caller, row)
    if faults:
        raise Refused(faults)


def _limits(door: Door) -> Limits:
    known = door.settings
    return Limits(known.members_max, known.listeners_max, known.nested_objects_max)


def _crowded(tx: Tx, door: Door, pool_id: str, new: int) -> Iterable[Fault]:
    return crowded(rows.count(tx, MEMBER, pool_id=pool_id) + new, limits=_limits(door))


def _port_faults(tx: Tx, row: Row) -> Iterable[Fault]:
    if not isinstance(row, Listener) or row.protocol_port >= UNPRIVILEGED_FROM:
        return
    lowest = min((host["bindable_from"] for host in rows.find(tx, HOST)), default=1)
    if row.protocol_port < lowest:
        yield Fault(
            f"Validation failure: protocol_port {row.protocol_port} cannot be opened: no host may bind ports below "
            f"{lowest}. Either lower it there (`sysctl net.ipv4.ip_unprivileged_port_start={row.protocol_port}`) or "
            "allow HAProxy to (`setcap cap_net_bind_service=+ep` on its binary), then restart the agent.",
            "protocol_port",
        )


def _subnet_faults(tx: Tx, caller: Caller, row: Row) -> Iterable[Fault]:
    subnet_id = row.subnet_id if isinstance(row, Member) else None
    if subnet_id and not references.subnet_exists(tx, caller, getattr(row, "project_id", ""), subnet_id):
        yield Fault(f"Subnet {subnet_id} not found.", "subnet_id")


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


def _insert(tx: Tx, kind: Kind, new: Sequence[Row], root_id: str, generation: int) -> None:
    try:
        rows.insert(tx, kind, new, root_id=root_id, generation=generation)
    except rows.Duplicate:
        raise Conflict(_duplicate(kind, new[0])) from None


def _duplicate(kind: Kind, row: Row) -> str:
    if isinstance(row, Member):
        return f"Another member on this pool is already using ip {row.address} on protocol_port {row.protocol_port}"
    if kind is HEALTHMONITOR:
        return "This pool already has a health monitor"
    return f"A {kind.title} like this exists already."


def _write_ports(tx: Tx, vips: references.Vips, at: str) -> None:
    try:
        rows.insert(tx, PORT, vips.new)
    except rows.Duplicate:
        raise Conflict(f"VIP address {vips.loadbalancer.vip_address} has just been taken.") from None
    for port in vips.taken:
        rows.change(tx, PORT, port, at=at)


def _ripple(tx: Tx, tree: Tree, row: Row, changed: Iterable[tuple[Kind, Row]], generation: int, at: str) -> None:
    """What changes with `row` is written, and what stands above it shows that something is on its way."""
    for kind, other in changed:
        rows.change(tx, kind, other, generation=generation, at=at)
    for kind, key in ancestors(tree, row):
        rows.touch(tx, kind, [key], generation, at=at)


def _delete_below(tx: Tx, kind: Kind, ids: Sequence[str], generation: int) -> None:
    for below, attribute in BELOW.get(kind.name, ()):
        found = [document["id"] for key in ids for document in rows.find(tx, below, **{attribute: key})]
        if found:
            _delete_below(tx, below, found, generation)
            rows.delete(tx, below, found, generation=generation)


def _accept(tx: Tx, caller: Caller, wish: Wish, *, shown: bool = True) -> Accepted:
    """The receipt: job, event, and the document as it now stands."""
    document = rows.get(tx, BY_NAME[wish.kind], wish.key) if shown else None
    return Accepted(document, note(tx, caller, wish))
