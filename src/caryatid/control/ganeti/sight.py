# SPDX-License-Identifier: Apache-2.0
"""How a cluster and the machines in it are, as operators see it: from the database, however the cluster does. Nobody
who asks here makes anybody ask the RAPI."""

from collections.abc import Mapping
from typing import Any, Final

from caryatid.control.door import Door
from caryatid.control.receipt import rule
from caryatid.errors import NotFound
from caryatid.model import CLUSTER
from caryatid.model.cluster import Machine
from caryatid.model.policy import Caller, require
from caryatid.store import clock, leases, rows
from caryatid.store.ganeti import machines, seen
from caryatid.store.ganeti.seen import Seen

BRIEF: Final = (
    *("id", "name", "enabled", "operating_status", "status_reason", "software_version", "seen_at"),
    *("group", "boot_deadline_s"),
)
"""What is told of the cluster itself, as its document has it."""
NOTHING: Final = Seen("", "OFFLINE", 0.0)


def lease_of(cluster_id: str) -> str:
    """The duty to watch the cluster."""
    return f"cluster {cluster_id}"


def status(door: Door, caller: Caller, key: str) -> dict[str, Any]:
    """The cluster of this id and its machines. Ages are seconds since that was known to be so; null: it never was.
    Raises NotFound, Forbidden.

    `{cluster, watched, since, answered_age_s, config_age_s, live_age_s, master, drained, nodes, orphans, foreign,
    phases: {phase: count}, machines: [{amphora_id, loadbalancer_id, name, phase, phase_age_s, node, address, status,
    source, age_s, host_id, job_id, reason, remedy, tries, next_in_s, deadline_in_s}]}`.
    """
    require(caller, rule(CLUSTER, "get_status"), None)
    with door.database.read() as tx:
        document = rows.get(tx, CLUSTER, key)
        if document is None:
            raise NotFound(CLUSTER.title, key)
        known = seen.get(tx, key) or NOTHING
        there = machines.of_cluster(tx, key)
        watched, now = leases.held(tx, lease_of(key)), clock.now(tx)
    return {
        "cluster": {name: document[name] for name in BRIEF},
        "watched": watched,
        **_of_cluster(known, now),
        "phases": _phases(there),
        "machines": [_machine(one, known, now) for one in there],
    }


def _of_cluster(known: Seen, now: float) -> dict[str, Any]:
    return {
        "since": clock.text(known.since) if known.since else None,
        "answered_age_s": age_s(known.answered_at, now),
        "config_age_s": age_s(known.config_at, now),
        "live_age_s": age_s(known.live_at, now),
        "master": known.seen.get("master"),
        "drained": known.seen.get("drained"),
        "nodes": known.seen.get("nodes", []),
        "orphans": known.seen.get("orphans", []),
        "foreign": known.seen.get("foreign", []),
    }


def _phases(there: list[Machine]) -> Mapping[str, int]:
    found: dict[str, int] = {}
    for one in there:
        found[one.phase] = found.get(one.phase, 0) + 1
    return found


def _machine(machine: Machine, known: Seen, now: float) -> dict[str, Any]:
    return {
        "amphora_id": machine.amphora_id,
        "loadbalancer_id": machine.loadbalancer_id,
        "name": machine.name,
        "phase": machine.phase,
        "phase_age_s": age_s(machine.changed_at, now),
        "node": machine.node,
        "address": machine.address,
        "status": machine.status,
        "source": machine.source,
        "age_s": age_s(as_of(machine, known), now),
        "host_id": machine.host_id,
        "job_id": machine.job_id,
        "reason": machine.reason,
        "remedy": machine.remedy,
        "tries": machine.tries,
        "next_in_s": round(max(0.0, machine.next_at - now), 3) if machine.phase in ("WANTED", "UNWANTED") else None,
        "deadline_in_s": round(machine.deadline_at - now, 3) if machine.deadline_at is not None else None,
    }


def as_of(machine: Machine, known: Seen) -> float | None:
    """As of when all that is told of the machine is known to be so: a look that changes nothing is not written down
    with each machine, but once for all of them."""
    looks = [at for at in (known.config_at, known.live_at, machine.seen_at) if at is not None]
    return max(looks, default=None)


def age_s(at: float | None, now: float) -> float | None:
    return None if at is None else round(max(0.0, now - at), 3)
