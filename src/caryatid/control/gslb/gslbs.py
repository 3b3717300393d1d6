# SPDX-License-Identifier: Apache-2.0
"""Wishes about gslbs themselves: a name is answered, otherwise, no more."""

from typing import Any, cast
from uuid import uuid4

from caryatid.control.apply import accept
from caryatid.control.door import Door
from caryatid.control.precondition import Precondition, require_unchanged
from caryatid.control.receipt import Accepted, Wish, moment, project_of, rule
from caryatid.errors import Conflict, NotFound
from caryatid.model import GSLB
from caryatid.model.consequences import replace
from caryatid.model.event import called, changed
from caryatid.model.gslb.gslb import Gslb
from caryatid.model.policy import Caller, require
from caryatid.store import quotas, rows, work
from caryatid.store.database import Tx
from caryatid.store.gslb import uses

from . import lookup


def create(door: Door, caller: Caller, body: Any) -> Accepted:
    """The name is to be answered. Raises Refused, Conflict, Unsupported."""
    project_id = project_of(caller, body)
    require(caller, rule(GSLB, "post"), project_id)
    at = moment()
    given = {"id": str(uuid4()), "project_id": project_id, "created_at": at, "updated_at": at}
    row = cast(Gslb, GSLB.new(body, given))
    with door.database.transaction() as tx:
        lookup.hold(tx, row)
        found = lookup.used(tx, row)
        quotas.take(tx, project_id, {GSLB.name: 1}, door.settings.quotas)
        try:
            rows.insert(tx, GSLB, [found.gslb], root_id=row.id, generation=rows.FIRST)
        except rows.Duplicate:
            raise Conflict(f"A GSLB of {row.fqdn} exists already.") from None
        uses.replace(tx, row.id, found.parts, rows.FIRST)
        work.begin(tx, row.id, kind=GSLB)
        detail = {**called(vars(row)), "fqdn": row.fqdn}
        wish = Wish("create", GSLB.name, row.id, row.id, project_id, rows.FIRST, detail, root_kind=GSLB)
        return accept(tx, caller, wish)


def change(door: Door, caller: Caller, key: str, body: Any, precondition: Precondition | None = None) -> Accepted:
    """It is wanted as `body` says; what that does not name stays. Raises PreconditionFailed."""
    at = moment()
    with door.database.transaction() as tx:
        place = _place(tx, key)
        require(caller, rule(GSLB, "put"), place.project_id)
        lookup.hold(tx, cast(Gslb, GSLB.change(rows.get(tx, GSLB, key) or {}, body)))
        lock(tx, key)
        document = rows.get(tx, GSLB, key) or {}
        require_unchanged(GSLB, document, precondition)
        row = cast(Gslb, replace(GSLB.change(document, body), updated_at=at))
        found = lookup.used(tx, row)
        generation = work.ask(tx, key, kind=GSLB)
        rows.change(tx, GSLB, row, generation=generation, at=at)
        uses.replace(tx, key, found.parts, generation)
        detail = changed(GSLB, document, vars(row))
        wish = Wish("update", GSLB.name, key, key, place.project_id, generation, detail, root_kind=GSLB)
        return accept(tx, caller, wish)


def delete(door: Door, caller: Caller, key: str, precondition: Precondition | None = None) -> Accepted:
    """It is answered no more; its parts stay. Raises PreconditionFailed."""
    with door.database.transaction() as tx:
        place = _place(tx, key)
        require(caller, rule(GSLB, "delete"), place.project_id)
        lock(tx, key)
        document = rows.get(tx, GSLB, key) or {}
        require_unchanged(GSLB, document, precondition)
        generation = work.ask(tx, key, kind=GSLB)
        rows.delete(tx, GSLB, [key], generation=generation)
        detail = {**called(document), "fqdn": document["fqdn"]}
        wish = Wish("delete", GSLB.name, key, key, place.project_id, generation, detail, root_kind=GSLB)
        return accept(tx, caller, wish, shown=False)


def lock(tx: Tx, key: str) -> None:
    """Nobody else wishes anything of the gslb until this transaction ends. Raises NotFound, Conflict."""
    state = rows.lock_root(tx, key, GSLB)
    if state is None:
        raise NotFound(GSLB.title, key)
    if state.deleted_generation is not None:
        raise _going(key)


def _place(tx: Tx, key: str) -> rows.Place:
    found = rows.place(tx, GSLB, key)
    if found is None:
        raise NotFound(GSLB.title, key)
    if found.deleted:
        raise _going(key)
    return found


def _going(key: str) -> Conflict:
    return Conflict(f"{GSLB.title} {key} is immutable and cannot be updated.")
