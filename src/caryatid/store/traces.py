# SPDX-License-Identifier: Apache-2.0
"""Which trace a job belongs to: kept for the worker that carries it out, where anybody wants traces."""

import time

from sqlalchemy import bindparam, delete, select

from . import clock
from .database import Database, Tx
from .tables import JOB, TRACE


def keep(tx: Tx, job_id: str, traceparent: str) -> None:
    """What is done for the job belongs to this span (W3C Trace Context)."""
    at = clock.text(time.time())
    tx.connection.execute(TRACE.insert(), {"job_id": job_id, "traceparent": traceparent, "created_at": at})


def of(database: Database, root_id: str) -> list[str]:
    """The spans to which the root's jobs belong that have not ended, newest last."""
    with database.read() as tx:
        return list(tx.connection.execute(_OF, {"root": root_id}).scalars())


def purge(tx: Tx, before: str) -> int:
    """What was kept before is gone; how much that was."""
    return tx.connection.execute(delete(TRACE).where(TRACE.c.created_at < before)).rowcount


_OF = (
    select(TRACE.c.traceparent)
    .join_from(TRACE, JOB, JOB.c.id == TRACE.c.job_id)
    .where(JOB.c.root_id == bindparam("root"), JOB.c.ended_at.is_(None))
    .order_by(JOB.c.created_at, JOB.c.id)
)
