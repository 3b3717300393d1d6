# SPDX-License-Identifier: Apache-2.0
"""Wishes about clusters. They take effect at once; whoever watches a cluster reads them at its next turn."""

from collections.abc import Iterator
from typing import Any, Final, cast
from uuid import uuid4

from caryatid.control.door import Door
from caryatid.control.precondition import Precondition, require_unchanged
from caryatid.control.receipt import Accepted, Wish, accepted, moment, rule
from caryatid.errors import Conflict, Fault, NotFound, Refused
from caryatid.model import CLUSTER
from caryatid.model.cluster import Cluster
from caryatid.model.consequences import replace
from caryatid.model.event import called, changed
from caryatid.model.policy import Caller, require
from caryatid.store import rows, wake, work
from caryatid.store.database import Tx
from caryatid.store.ganeti import credentials, seen

PASSWORD: Final = "rapi_password"  # noqa: S105  an attribute's name
CHANNEL: Final = "clusters"
"""Rung when whoever watches clusters has something to do."""


def create(door: Door, caller: Caller, body: Any) -> Accepted:
    """The cluster is known. Raises Refused, Conflict."""
    require(caller, rule(CLUSTER, "post"), None)
    at = moment()
    row = cast(Cluster, CLUSTER.new(body, {"id": str(uuid4()), "created_at": at, "updated_at": at}))
    if not row.rapi_password:
        raise Refused([Fault("Validation failure: a cluster needs the password of its RAPI user.", PASSWORD)])
    with door.database.transaction() as tx:
        _write(tx, row, new=True)
        _keep(tx, door, row.id, row.rapi_password)
        return _accept(tx, caller, "create", row.id, called(vars(row)))


def change(door: Door, caller: Caller, key: str, body: Any, precondition: Precondition | None = None) -> Accepted:
    """It is as `body` says; what that does not name stays. Machines that there are stay as they are. Raises Refused,
    Conflict, PreconditionFailed."""
    with door.database.transaction() as tx:
        document = _held(tx, key)
        require(caller, rule(CLUSTER, "put"), None)
        require_unchanged(CLUSTER, document, precondition)
        row = replace(cast(Cluster, CLUSTER.change(document, body)), updated_at=moment())
        if faults := list(_change_faults(document, row, body)):
            raise Refused(faults)
        _write(tx, row, new=False)
        if row.rapi_password:
            _keep(tx, door, key, row.rapi_password)
        work.retry_all(tx)  # it may be what somebody has been waiting for
        return _accept(tx, caller, "update", key, changed(CLUSTER, document, vars(row)))


def delete(door: Door, caller: Caller, key: str, precondition: Precondition | None = None) -> Accepted:
    """It is not known. Raises Conflict while machines of ours are there."""
    with door.database.transaction() as tx:
        document = _held(tx, key)
        require(caller, rule(CLUSTER, "delete"), None)
        require_unchanged(CLUSTER, document, precondition)
        if document["machines"]:
            name = document["name"]
            raise Conflict(
                f"Cluster {name} has {document['machines']} machines of ours. Disable it (`caryatid cluster set {name} "
                "--disable`), and delete or fail over the load balancers that are there."
            )
        rows.delete(tx, CLUSTER, [key])
        credentials.drop(tx, key)
        seen.forget(tx, key)
        wake.notify(tx, CHANNEL)
        wish = Wish("delete", CLUSTER.name, key, None, None, detail=called(document))
        return accepted(tx, caller, wish)


def password_of(tx: Tx, door: Door, cluster_id: str) -> str:
    """Of its RAPI user. Raises NoMasterKey where the master key is another."""
    sealed = credentials.read(tx, cluster_id)
    return door.vault.key(tx).unseal(_bound_to(cluster_id), sealed).decode() if sealed else ""


def _change_faults(before: dict[str, Any], row: Cluster, body: Any) -> Iterator[Fault]:
    """A password is not shown to another server than the one that it was given for."""
    if row.rapi_url != before["rapi_url"] and PASSWORD not in body:
        yield Fault("Validation failure: with another rapi_url the password is given again.", PASSWORD)


def _write(tx: Tx, row: Cluster, *, new: bool) -> None:
    try:
        if new:
            rows.insert(tx, CLUSTER, [row])
        else:
            rows.change(tx, CLUSTER, row, at=row.updated_at or moment())
    except rows.Duplicate:
        raise Conflict(f"A cluster of name {row.name} already exists.") from None
    wake.notify(tx, CHANNEL)


def _keep(tx: Tx, door: Door, cluster_id: str, password: str) -> None:
    credentials.write(tx, cluster_id, door.vault.ensured(tx).seal(_bound_to(cluster_id), password.encode()))


def _bound_to(cluster_id: str) -> str:
    return f"cluster {cluster_id}"


def _held(tx: Tx, key: str) -> dict[str, Any]:
    rows.lock(tx, CLUSTER, key)
    document = rows.get(tx, CLUSTER, key)
    if document is None:
        raise NotFound(CLUSTER.title, key)
    return document


def _accept(tx: Tx, caller: Caller, action: str, key: str, detail: Any) -> Accepted:
    return accepted(tx, caller, Wish(action, CLUSTER.name, key, None, None, detail=detail), rows.get(tx, CLUSTER, key))
