# SPDX-License-Identifier: Apache-2.0
"""What of the observations is news: an event for each edge, and why."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from caryatid.model import AMPHORA, LOADBALANCER
from caryatid.model.event import system
from caryatid.store import events, observations, rows
from caryatid.store.database import Tx
from caryatid.store.observations import Status

HEALTH = system("health")
UNSERVED = "Nothing serves it."
CHECKS: Mapping[str, str] = {
    "L4TOUT": "no connection within its timeout",
    "L4CON": "no connection; it was refused, or there is no way",
    "L6TOUT": "no TLS connection within its timeout",
    "L6RSP": "TLS failed",
    "L7TOUT": "no answer within its timeout",
    "L7RSP": "an answer that cannot be read",
    "L7STS": "the answer was <code>",
    "SOCKERR": "it could not be made",
}
"""What HAProxy finds (management guide, 9.1), in words."""
UPWARDS = ("member", "pool", "listener", "loadbalancer")
Written = Mapping[str, Mapping[tuple[Any, str], str]]
"""Load balancer → (kind, id) → status."""


class Witness(NamedTuple):
    """Who speaks of a load balancer."""

    hosts: frozenset[str]
    checks: Mapping[str, str]
    """Member → what the check found that took it down."""


NOBODY = Witness(frozenset(), {})


class Edges:
    """Remembers whose load balancers are: that never changes."""

    def __init__(self) -> None:
        self._projects: dict[str, str] = {}

    def tell(self, tx: Tx, found: Iterable[Status], before: Written, witnesses: Mapping[str, Witness]) -> None:
        """There are events for statuses that are to be written and were others `before`, what is below first.
        `witnesses`: who speaks of each load balancer."""
        said = []
        for kind, key, root_id, status in sorted(found, key=lambda one: UPWARDS.index(one[0])):
            project_id = self._project(tx, root_id)
            if project_id is not None:
                old = before.get(root_id, {}).get((kind, key))
                why = cause(key, status, witnesses.get(root_id, NOBODY))
                said.append(_status(kind, key, root_id, project_id, {"operating_status": [old, status]}, why))
        events.append_all(tx, said)

    def forget(self) -> None:
        """Memory is not for ever."""
        self._projects.clear()

    def _project(self, tx: Tx, root_id: str) -> str | None:
        """None: the load balancer is no more."""
        if root_id not in self._projects:
            place = rows.place(tx, LOADBALANCER, root_id)
            if place is None:
                return None
            self._projects[root_id] = place.project_id
        return self._projects[root_id]


def _status(kind: str, key: str, root_id: str, project_id: str, changed: Mapping[str, Any], why: str) -> dict[str, Any]:
    detail = {"changed": changed, "cause": why}
    return events.happened("status", kind, key, by=HEALTH, project_id=project_id, root_id=root_id, detail=detail)


def tell_roles(tx: Tx, roles: Sequence[Status]) -> None:
    """There are events for roles that are to be written and that VRRP had not given the amphorae before."""
    before = observations.roles_of(tx, [key for _, key, _, _ in roles])
    said = [
        events.happened(
            "role",
            AMPHORA.name,
            key,
            by=HEALTH,
            project_id=None,
            root_id=root_id,
            detail={"changed": {"role": [before.get(key), role]}},
        )
        for _, key, root_id, role in roles
        if before.get(key) != role
    ]
    events.append_all(tx, said)


def cause(key: str, status: str, witness: Witness) -> str:
    """Why a status is another, as far as is known here."""
    if not witness.hosts:
        return UNSERVED
    reported = f"Reported by host {', '.join(sorted(witness.hosts))}."
    check = witness.checks.get(key) if status == "ERROR" else None
    if check is None:
        return reported
    word, _, code = check.partition(" ")
    return f"Its check failed: {CHECKS.get(word, 'HAProxy says')} ({check}). {reported}".replace("<code>", code)
