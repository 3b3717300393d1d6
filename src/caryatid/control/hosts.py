# SPDX-License-Identifier: Apache-2.0
"""What operators do with hosts: keep new amphorae away, have the others move, withdraw their trust, remove them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from caryatid.errors import Conflict, NotFound
from caryatid.model import AMPHORA, HOST
from caryatid.model.consequences import replace
from caryatid.model.host import Host
from caryatid.model.policy import Caller, require
from caryatid.store import hosts as host_store
from caryatid.store import rows, work
from caryatid.store.database import Database, Tx

from .door import Door
from .operator import FAILOVER_PRIORITY
from .precondition import Precondition, require_unchanged
from .receipt import Accepted, Wish, accepted, moment, note, rule

AT_ONCE = 50
"""Amphorae that are asked to move in one transaction."""


@dataclass(frozen=True)
class Acted:
    """The host as it now stands, the job of the act itself, and one for each amphora that is to be replaced."""

    document: dict[str, Any]
    job_id: str | None
    job_ids: Sequence[str] = ()


def drain(door: Door, caller: Caller, host_id: str) -> Acted:
    """The host takes no new amphorae, and keeps those it has; an evacuation ends where it is."""
    return _change(door, caller, host_id, "drain", enabled=False, duty="SERVING")


def enable(door: Door, caller: Caller, host_id: str) -> Acted:
    """The host takes new amphorae, and keeps those it has."""
    return _change(door, caller, host_id, "enable", enabled=True, duty="SERVING")


def evacuate(door: Door, caller: Caller, host_id: str) -> Acted:
    """The host takes no new amphorae, and each that it has is replaced elsewhere, the other being built first. A
    host that is the machine of an amphora goes with it.

    One that finds no place stays, and its job says why; housekeeping tries again while the host is EVACUATING.
    """
    acted = _change(door, caller, host_id, "evacuate", enabled=False, duty="EVACUATING")
    return Acted(acted.document, acted.job_id, _replace_all(door.database, caller, "evacuate", host_id))


def revoke(door: Door, caller: Caller, host_id: str) -> Acted:
    """The host's certificate and heartbeat key are worth nothing, and what it has is replaced elsewhere."""
    acted = _change(door, caller, host_id, "revoke", enabled=False, duty="REVOKED")
    return Acted(acted.document, acted.job_id, _replace_all(door.database, caller, "revoke", host_id))


def delete(door: Door, caller: Caller, host_id: str, precondition: Precondition | None = None) -> Accepted:
    """The host is not known. Raises Conflict unless it is revoked, or has nothing; PreconditionFailed."""
    require(caller, rule(HOST, "delete"), None)
    with door.database.transaction() as tx:
        host_store.lock(tx)
        host = _host(tx, host_id)
        require_unchanged(HOST, rows.get(tx, HOST, host_id) or {}, precondition)
        left = len(host_store.tombstones(tx, host_id=host_id))
        if host.duty != "REVOKED" and (host.used or left):
            raise Conflict(
                f"Host {host.name} has {host.used} amphorae, and {left} more to remove. `caryatid host evacuate` moves "
                "them away; if the host is gone for good, or not to be trusted, `caryatid host revoke` replaces them."
            )
        rows.delete(tx, HOST, [host_id])
        host_store.remove_credential(tx, host_id)
        return accepted(tx, caller, _wish("delete", host))


def wake_evacuated(door: Door) -> None:
    """Whoever still has an amphora on a host that is being evacuated looks for another place, if there may be one."""
    with door.database.read() as tx:
        known = [cast(Host, HOST.load(document)) for document in rows.find(tx, HOST)]
        room = door.makes_machines or any(host.enabled and host.used < host.capacity for host in known)
        leaving = [host.id for host in known if host.duty == "EVACUATING" and host.used]
        found = [one for host_id in leaving for one in rows.find(tx, AMPHORA, compute_id=host_id)] if room else []
    for root_id in sorted({document["loadbalancer_id"] for document in found if document["loadbalancer_id"]}):
        with door.database.transaction() as tx:
            work.wake_root(tx, root_id, priority=FAILOVER_PRIORITY)


def _change(door: Door, caller: Caller, host_id: str, action: str, **values: Any) -> Acted:
    require(caller, rule(HOST, f"put_{action}"), None)
    with door.database.transaction() as tx:
        host_store.lock(tx)
        host = _host(tx, host_id)
        if host.duty == "REVOKED" and values["duty"] != "REVOKED":
            raise Conflict(f"Host {host.name} is revoked: delete it, and enrol the machine anew with another token.")
        rows.change(tx, HOST, replace(host, **values), at=moment())
        if values["duty"] == "REVOKED":
            host_store.revoke(tx, host_id)
        if values["enabled"]:
            work.retry_all(tx)
        receipt = accepted(tx, caller, _wish(action, host))
        return Acted(rows.get(tx, HOST, host_id) or {}, receipt.job_id)


def _wish(action: str, host: Host) -> Wish:
    return Wish(action, HOST.name, host.id, None, None, detail={"name": host.name})


def _host(tx: Tx, host_id: str) -> Host:
    document = rows.get(tx, HOST, host_id)
    if document is None:
        raise NotFound(HOST.title, host_id)
    return cast(Host, HOST.load(document))


def _replace_all(database: Database, caller: Caller, action: str, host_id: str) -> list[str]:
    """A generation is asked for wherever an amphora is on the host; the ids of the jobs."""
    with database.read() as tx:
        found = rows.find(tx, AMPHORA, compute_id=host_id)
    carried = sorted((one["loadbalancer_id"], one["id"]) for one in found if one["loadbalancer_id"])
    job_ids: list[str | None] = []
    for start in range(0, len(carried), AT_ONCE):
        with database.transaction() as tx:  # roots in order: nobody waits in a circle
            job_ids += [_replace(tx, caller, action, *one) for one in carried[start : start + AT_ONCE]]
    return [job_id for job_id in job_ids if job_id is not None]


def _replace(tx: Tx, caller: Caller, action: str, root_id: str, amphora_id: str) -> str | None:
    """None: the load balancer is on its way out, and the amphora with it."""
    state = rows.lock_root(tx, root_id)
    if state is None or state.deleted_generation is not None:
        return None
    generation = work.ask(tx, root_id, priority=FAILOVER_PRIORITY)
    return note(tx, caller, Wish(action, AMPHORA.name, amphora_id, root_id, state.project_id, generation))
