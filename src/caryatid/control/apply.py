# SPDX-License-Identifier: Apache-2.0
"""How a wish is applied, under its root's lock: rows, what changes or goes with them, and the receipt."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from caryatid.errors import Conflict, NotFound
from caryatid.model import BY_NAME, HEALTHMONITOR, LOADBALANCER, PORT
from caryatid.model.consequences import BELOW, ancestors
from caryatid.model.event import called, changed
from caryatid.model.kind import Kind
from caryatid.model.member import Member
from caryatid.model.policy import Caller
from caryatid.model.resource import Row
from caryatid.model.tree import Tree
from caryatid.store import rows
from caryatid.store.database import Tx

from . import references
from .receipt import Accepted, Effect, Wish, accepted

Tell = Callable[[Tx, dict[str, Any]], dict[str, Any]]


def lock(tx: Tx, root_id: str) -> None:
    state = rows.lock_root(tx, root_id)
    if state is None:
        raise NotFound(LOADBALANCER.title, root_id)
    if state.deleted_generation is not None:
        raise Conflict(f"Invalid state PENDING_DELETE of loadbalancer resource {root_id}")


def locate(tx: Tx, kind: Kind, key: str, parent_id: str | None) -> rows.Place:
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


def insert(tx: Tx, kind: Kind, new: Sequence[Row], root_id: str, generation: int) -> None:
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


def write_ports(tx: Tx, vips: references.Vips, at: str) -> None:
    try:
        rows.insert(tx, PORT, vips.new)
    except rows.Duplicate:
        raise Conflict(f"VIP address {vips.loadbalancer.vip_address} has just been taken.") from None
    for port in vips.taken:
        rows.change(tx, PORT, port, at=at)


def ripple(tx: Tx, tree: Tree, row: Row, others: Iterable[tuple[Kind, Row]], generation: int, at: str) -> list[Effect]:
    """What changes with `row` is written, and what stands above it shows that something is on its way."""
    effects = []
    for kind, other in others:
        rows.change(tx, kind, other, generation=generation, at=at)
        effects.append(Effect("update", kind.name, other.id, changed(kind, _before(tree, other), vars(other))))
    for kind, key in ancestors(tree, row):
        rows.touch(tx, kind, [key], generation, at=at)
    return effects


def _before(tree: Tree, row: Row) -> Mapping[str, Any]:
    """How a row that changes with another stands in the tree."""
    known = [*(node.listener for node in tree.listeners), *(node.policy for node in tree.policies)]
    return next((vars(one) for one in known if one.id == row.id), {})


def delete_below(tx: Tx, kind: Kind, ids: Sequence[str], generation: int) -> list[Effect]:
    """What hangs on these rows goes with them."""
    effects = []
    for below, attribute in BELOW.get(kind.name, ()):
        found = {document["id"]: document for key in ids for document in rows.find(tx, below, **{attribute: key})}
        if found:
            effects += delete_below(tx, below, list(found), generation)
            rows.delete(tx, below, list(found), generation=generation)
            effects += [Effect("delete", below.name, key, called(document)) for key, document in found.items()]
    return effects


def accept(tx: Tx, caller: Caller, wish: Wish, *, shown: bool = True, tell: Tell | None = None) -> Accepted:
    """The receipt: job, event, and the document as it now stands (or what `tell` makes of it)."""
    document = rows.get(tx, BY_NAME[wish.kind], wish.key) if shown else None
    if tell is not None and document is not None:
        document = tell(tx, document)
    return accepted(tx, caller, wish, document)
