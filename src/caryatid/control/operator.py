# SPDX-License-Identifier: Apache-2.0
"""What operators ask for beside wishes: failover, configuration, removal of an amphora; quotas."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from uuid import uuid4

from caryatid.errors import Conflict, NotFound
from caryatid.model import AMPHORA, LOADBALANCER, QUOTA
from caryatid.model.event import changed
from caryatid.model.kind import Kind
from caryatid.model.policy import Caller, require
from caryatid.model.quota import ALIASES
from caryatid.model.resource import Row
from caryatid.store import rows, work
from caryatid.store.database import Tx

from .door import Door
from .precondition import Precondition, require_unchanged
from .receipt import Accepted, Wish, accepted, moment, rule

FAILOVER_PRIORITY = 80
"""An operator's failover goes before creates (40) (octavia.md §1.13)."""
LEAVING = "PENDING_DELETE"
"""Status of an amphora that is on its way out."""


def failover(door: Door, caller: Caller, loadbalancer_id: str) -> Accepted:
    """Every amphora of the load balancer is replaced, new ones being built first."""
    with door.database.transaction() as tx:
        place = rows.place(tx, LOADBALANCER, loadbalancer_id)
        if place is None:
            raise NotFound(LOADBALANCER.title, loadbalancer_id)
        require(caller, rule(LOADBALANCER, "put_failover"), place.project_id)
        ids = [document["id"] for document in rows.find(tx, AMPHORA, loadbalancer_id=loadbalancer_id)]
        return _replace(tx, caller, ids, _wish("failover", LOADBALANCER, loadbalancer_id, loadbalancer_id))


def failover_amphora(door: Door, caller: Caller, amphora_id: str) -> Accepted:
    """The amphora is replaced, the new one being built first."""
    require(caller, rule(AMPHORA, "put_failover"), None)
    with door.database.transaction() as tx:
        document = _serving(tx, amphora_id)
        return _replace(tx, caller, [amphora_id], _wish("failover", AMPHORA, amphora_id, document["loadbalancer_id"]))


def configure_amphora(door: Door, caller: Caller, amphora_id: str) -> Accepted:
    """What the amphora shall be is pushed to it once more."""
    require(caller, rule(AMPHORA, "put_config"), None)
    with door.database.transaction() as tx:
        document = _serving(tx, amphora_id)
        return _replace(tx, caller, [], _wish("configure", AMPHORA, amphora_id, document["loadbalancer_id"]))


def delete_amphora(door: Door, caller: Caller, amphora_id: str) -> Accepted:
    """The amphora, which is in ERROR, is removed."""
    require(caller, rule(AMPHORA, "delete"), None)
    with door.database.transaction() as tx:
        document = _serving(tx, amphora_id)
        if document["status"] != "ERROR":
            raise Conflict(f"Amphora {amphora_id} is {document['status']}; only one in ERROR can be deleted.")
        return _replace(tx, caller, [amphora_id], _wish("delete", AMPHORA, amphora_id, document["loadbalancer_id"]))


def set_quota(
    door: Door, caller: Caller, project_id: str, body: Any, precondition: Precondition | None = None
) -> Accepted:
    """The project's limits are as `body` says; null: the operator's default; what it does not name stays."""
    require(caller, rule(QUOTA, "put"), project_id)
    if isinstance(body, dict):
        body = {ALIASES.get(name, name): value for name, value in body.items()}
    with door.database.transaction() as tx:
        rows.lock(tx, QUOTA, project_id)
        known = rows.get(tx, QUOTA, project_id)
        require_unchanged(QUOTA, known or {"project_id": project_id}, precondition)
        if known is None:
            row = QUOTA.new(body, {"id": str(uuid4()), "project_id": project_id})
            rows.insert(tx, QUOTA, [row])
        else:
            row = QUOTA.change(known, body)
            rows.change(tx, QUOTA, row, at=moment())
        return _accept(tx, caller, project_id, known, row)


def reset_quota(door: Door, caller: Caller, project_id: str, precondition: Precondition | None = None) -> Accepted:
    """The project has the operator's default limits."""
    require(caller, rule(QUOTA, "delete"), project_id)
    with door.database.transaction() as tx:
        rows.lock(tx, QUOTA, project_id)
        known = rows.get(tx, QUOTA, project_id)
        if known is None:
            raise NotFound(QUOTA.title, project_id)
        require_unchanged(QUOTA, known, precondition)
        row = QUOTA.change(known, dict.fromkeys(QUOTA.changeable))
        rows.change(tx, QUOTA, row, at=moment())
        return _accept(tx, caller, project_id, known, row)


def _accept(tx: Tx, caller: Caller, project_id: str, known: Mapping[str, Any] | None, row: Row) -> Accepted:
    detail = changed(QUOTA, known or QUOTA.defaults, vars(row))
    wish = Wish("update", QUOTA.name, project_id, None, project_id, detail=detail)
    return accepted(tx, caller, wish, rows.get(tx, QUOTA, project_id))


def _amphora(tx: Tx, amphora_id: str) -> dict[str, Any]:
    document = rows.get(tx, AMPHORA, amphora_id)
    if document is None:
        raise NotFound(AMPHORA.title, amphora_id)
    return document


def _serving(tx: Tx, amphora_id: str) -> dict[str, Any]:
    document = _amphora(tx, amphora_id)
    if document["loadbalancer_id"] is None:
        raise Conflict(f"Amphora {amphora_id} is a spare: it serves no load balancer.")
    return document


def _replace(tx: Tx, caller: Caller, leaving: list[str], wish: Wish) -> Accepted:
    """These amphorae are on their way out; the generation asked for is in effect once others do their work."""
    root_id = wish.root_id or ""
    state = rows.lock_root(tx, root_id)
    if state is None:
        raise NotFound(LOADBALANCER.title, root_id)
    if state.deleted_generation is not None:
        raise Conflict(f"Invalid state PENDING_DELETE of loadbalancer resource {root_id}")
    before = {amphora_id: mark(tx, amphora_id, LEAVING) for amphora_id in leaving}
    undo = {key: status for key, status in before.items() if status != LEAVING} if wish.action == "failover" else None
    generation = work.ask(tx, root_id, priority=FAILOVER_PRIORITY)
    wish = replace(wish, project_id=state.project_id, generation=generation, undo=undo)
    return accepted(tx, caller, wish)


def mark(tx: Tx, amphora_id: str, status: str) -> str:
    """The amphora has this status; the one that it had."""
    document, at = _amphora(tx, amphora_id), moment()
    rows.change(tx, AMPHORA, AMPHORA.load({**document, "status": status, "updated_at": at}), at=at)
    return str(document["status"])


def _wish(action: str, kind: Kind, key: str, root_id: str) -> Wish:
    """Project and generation are known once the root is locked."""
    return Wish(action, kind.name, key, root_id, "", 0)
