# SPDX-License-Identifier: Apache-2.0
"""Jobs, taken back: what nobody has begun, and what left no wish behind. All else is changed back by another wish."""

from collections.abc import Iterable, Mapping
from typing import Any

from caryatid.errors import Conflict, NotFound
from caryatid.model import AMPHORA, JOB
from caryatid.model.policy import Caller, require
from caryatid.store import jobs, rows
from caryatid.store.database import Tx

from .door import Door
from .operator import LEAVING, mark
from .receipt import rule

CANCELLABLE = frozenset({"failover"})
"""Acts that can be taken back before they have begun."""
WISH = "Change it back instead: a change that was accepted is carried out, and another change undoes it."
BEGUN = "It has begun, and is carried on to its end."


def cancel(door: Door, caller: Caller, job_id: str) -> dict[str, Any]:
    """The job has ended without having begun, and what it had marked is as before; the job as it now stands.

    Raises Conflict for a job that has begun, has ended, or is a wish.
    """
    with door.database.transaction() as tx:
        job = _found(tx, caller, job_id)
        root_id = job["root_id"]
        if job["ended_at"] is not None:
            raise Conflict(f"Job {job_id} has ended: it is {job['state']}.")
        if job["action"] not in CANCELLABLE:
            raise Conflict(f"Job {job_id} cannot be cancelled. {WISH}")
        rows.lock_root(tx, root_id)
        left = {row["id"]: row for row in jobs.open_of(tx, root_id)}
        mine = left.pop(job_id, None)
        if mine is None:
            raise Conflict(f"Job {job_id} has ended.")
        if jobs.begun(tx, mine):
            raise Conflict(f"Job {job_id} cannot be cancelled. {BEGUN}")
        _put_back(tx, mine["undo"] or {}, left.values())
        jobs.cancel(tx, mine, caller, f"Cancelled by {caller.user_id or 'its operator'}.")
        return jobs.get(tx, job_id) or {}


def _found(tx: Tx, caller: Caller, job_id: str) -> dict[str, Any]:
    job = jobs.get(tx, job_id)
    if job is None:
        raise NotFound(JOB.title, job_id)
    require(caller, rule(JOB, "get_one"), job["project_id"])
    require(caller, rule(JOB, "put_cancel"), job["project_id"])
    return job


def _put_back(tx: Tx, undo: Mapping[str, str], others: Iterable[Mapping[str, Any]]) -> None:
    """Amphorae have the status that they had before, unless another job wants them replaced, too."""
    wanted = [job for job in others if job["action"] in CANCELLABLE]
    inherited: dict[str, dict[str, str]] = {}
    for amphora_id, status in undo.items():
        heir = next((job for job in wanted if job["resource_id"] in (amphora_id, job["loadbalancer_id"])), None)
        if heir is not None:
            inherited.setdefault(heir["id"], dict(heir["undo"] or {}))[amphora_id] = status
            continue
        document = rows.get(tx, AMPHORA, amphora_id)
        if document is not None and document["status"] == LEAVING:
            mark(tx, amphora_id, status)
    for job_id, more in inherited.items():
        jobs.set_undo(tx, job_id, more)
