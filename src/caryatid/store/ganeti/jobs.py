# SPDX-License-Identifier: Apache-2.0
"""Jobs of ours in clusters, with their logs: copied before Ganeti archives them."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields
from typing import Any

from sqlalchemy import delete, select

from caryatid.store.database import Tx
from caryatid.store.ganeti.tables import CLUSTER_JOB
from caryatid.store.sql import insert


@dataclass(frozen=True)
class ClusterJob:
    """Times are seconds since the epoch."""

    cluster_id: str
    job_id: int
    act: str
    """`create` or `delete`."""
    amphora_id: str
    loadbalancer_id: str | None
    name: str
    """Of the instance."""
    status: str
    asked_at: float
    started_at: float | None = None
    ended_at: float | None = None
    log: Sequence[Sequence[Any]] = ()
    """[seconds since the epoch, text] of each line."""
    error: str | None = None
    serial: int = 0
    """Of the last line."""


_NAMES = tuple(one.name for one in fields(ClusterJob))
_COLUMNS = tuple(CLUSTER_JOB.c[name] for name in _NAMES)


def write(tx: Tx, jobs: Collection[ClusterJob]) -> None:
    """The jobs are so."""
    if not jobs:
        return
    rows = [{name: getattr(job, name) for name in _NAMES} | {"log": [list(line) for line in job.log]} for job in jobs]
    new = insert(tx.database.dialect, CLUSTER_JOB)
    set_ = {name: new.excluded[name] for name in _NAMES if name not in ("cluster_id", "job_id")}
    tx.connection.execute(new.on_conflict_do_update(index_elements=["cluster_id", "job_id"], set_=set_), rows)


def some(tx: Tx, cluster_id: str, job_ids: Collection[int]) -> dict[int, ClusterJob]:
    """These of the cluster, by id."""
    found = select(*_COLUMNS).where(CLUSTER_JOB.c.cluster_id == cluster_id, CLUSTER_JOB.c.job_id.in_(sorted(job_ids)))
    return {row.job_id: ClusterJob(*row) for row in tx.connection.execute(found)}


def page(
    tx: Tx, cluster_id: str, *, limit: int, below: int | None = None, amphora_id: str | None = None
) -> list[ClusterJob]:
    """The newest first; `below`: only those with a lower id."""
    found = select(*_COLUMNS).where(CLUSTER_JOB.c.cluster_id == cluster_id)
    if below is not None:
        found = found.where(CLUSTER_JOB.c.job_id < below)
    if amphora_id is not None:
        found = found.where(CLUSTER_JOB.c.amphora_id == amphora_id)
    rows = tx.connection.execute(found.order_by(CLUSTER_JOB.c.job_id.desc()).limit(limit))
    return [ClusterJob(*row) for row in rows]


def purge(tx: Tx, before: float) -> int:
    """Those asked for before then are forgotten; how many they were."""
    return tx.connection.execute(delete(CLUSTER_JOB).where(CLUSTER_JOB.c.asked_at < before)).rowcount
