# SPDX-License-Identifier: Apache-2.0
"""Receipts of accepted changes, and the attempts to carry them out with their log lines."""

import time
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Final
from uuid import uuid4

from sqlalchemy import (
    and_,
    bindparam,
    case,
    delete,
    func,
    or_,
    select,
    update,
)

from . import clock, events, filters, wake
from .claim import Again, Claim, Done, Failed, Outcome
from .database import Database, Tx
from .filters import Query, Source, Value
from .sql import among, listed, storable
from .tables import ATTEMPT, JOB, WORK

LINES_MAX: Final = 1000
LINE_LENGTH_MAX: Final = 2000
ATTEMPTS_SHOWN_MAX: Final = 20
OUTCOMES: dict[type, str] = {Done: "done", Again: "again", Failed: "failed"}


def open(  # noqa: A001, PLR0913  a receipt has this many parts
    tx: Tx,
    *,
    action: str,
    kind: str,
    resource_id: str,
    root_id: str | None,
    project_id: str | None,
    generation: int,
    user_id: str = "",
    request_id: str = "",
) -> str:
    """A receipt for `generation` of the root; its id."""
    job_id = str(uuid4())
    row = {
        "id": job_id,
        "project_id": project_id,
        "user_id": user_id,
        "request_id": request_id,
        "action": action,
        "resource_type": kind,
        "resource_id": resource_id,
        "loadbalancer_id": root_id,
        "generation": generation,
        "created_at": clock.text(time.time()),
    }
    tx.connection.execute(_OPENED, row)
    return job_id


def get(tx: Tx, job_id: str) -> dict[str, Any] | None:
    """The job as model.job.Job has it, with its log."""
    if not storable(job_id):
        return None
    of = _source(tx.database.dialect)
    row = tx.connection.execute(of.select.where(JOB.c.id == job_id), {"now": clock.now(tx)}).mappings().first()
    if row is None:
        return None
    job = _document(dict(row))
    covering = _attempts(tx, [job])[job["id"]]
    return _with_attempts(job, covering, log=True)


def page(tx: Tx, query: Query) -> list[dict[str, Any]]:
    """Jobs, without their logs; without other sort keys the oldest first. Raises Refused."""
    of = _source(tx.database.dialect)
    names = of.select.selected_columns.keys()
    rows = filters.run(tx, of, query, now=clock.now(tx))
    found = [_document(dict(zip(names, row, strict=True))) for row in rows]
    covering = _attempts(tx, found)
    return [_with_attempts(job, covering[job["id"]], log=False) for job in found]


def begin_attempt(tx: Tx, held: Claim, generation: int) -> None:
    """The attempt of this claim is on its way; it covers jobs up to `generation`."""
    row = {"root_id": held.root_id, "fence": held.fence, "generation": generation}
    row |= {"started_at": clock.text(time.time()), "log": []}
    tx.connection.execute(ATTEMPT.insert(), row)
    wake.notify(tx, "jobs")


def write_lines(database: Database, held: Claim, lines: Sequence[tuple[float, str]]) -> None:
    """(seconds since the epoch, text) are added to the log of the claim's attempt, up to LINES_MAX."""
    new = [[clock.text(at), text[:LINE_LENGTH_MAX]] for at, text in lines]
    this = {"root": held.root_id, "token": held.fence}
    with database.transaction() as tx:
        log = tx.connection.execute(_LOG, this).scalar()
        if log is not None and len(log) < LINES_MAX:
            tx.connection.execute(_WRITE_LOG, {**this, "lines": [*log, *new][:LINES_MAX]})
            wake.notify(tx, "jobs")


def end_attempt(tx: Tx, held: Claim, outcome: Outcome) -> None:
    """The attempt has come to this; work.settle calls it."""
    reason = None if isinstance(outcome, Done) else outcome.reason
    ended = {"when": clock.text(time.time()), "how": OUTCOMES[type(outcome)], "said": reason}
    tx.connection.execute(_END_ATTEMPT, {"root": held.root_id, "token": held.fence, **ended})


def end(
    tx: Tx,
    root_id: str,
    generation: int,
    now: float,
    *,
    culprits: Mapping[str, str] | None = None,
    reason: str | None = None,
) -> None:
    """Jobs up to `generation` have ended: all failed for `reason`, or those about `culprits` (id → reason) alone."""
    rows = tx.connection.execute(_OPEN, {"root": root_id, "upto": generation}).mappings().all()
    if not rows:
        return
    why = culprits or {}
    ended = []
    for row in rows:
        because = reason or why.get(row["resource_id"])
        how = "failed" if because else "succeeded"
        ended.append({"key": row["id"], "said": because, "how": how, "when": clock.text(now)})
    tx.connection.execute(_END, ended)
    events.append_all(tx, [_ended(dict(row), end["said"]) for row, end in zip(rows, ended, strict=True)])


def purge(tx: Tx, before: str) -> int:
    """Jobs that ended before `before`, and attempts, are gone; how many jobs they were.

    An attempt whose worker was killed never ended; it is as old as its beginning.
    """
    tx.connection.execute(delete(ATTEMPT).where(func.coalesce(ATTEMPT.c.ended_at, ATTEMPT.c.started_at) < before))
    return tx.connection.execute(delete(JOB).where(JOB.c.ended_at < before)).rowcount


def _ended(row: Mapping[str, Any], reason: str | None) -> dict[str, Any]:
    return events.happened(
        f"{row['action']}.{'error' if reason else 'end'}",
        row["resource_type"],
        row["resource_id"],
        project_id=row["project_id"],
        root_id=row["loadbalancer_id"],
        detail={"job_id": row["id"], "reason": reason},
    )


_OPENED = JOB.insert()
_THIS = and_(ATTEMPT.c.root_id == bindparam("root"), ATTEMPT.c.fence == bindparam("token"))
_LOG = select(ATTEMPT.c.log).where(_THIS).with_for_update()
_WRITE_LOG = update(ATTEMPT).where(_THIS).values(log=bindparam("lines"))
_HOW: dict[str, Any] = {"ended_at": bindparam("when"), "outcome": bindparam("how"), "reason": bindparam("said")}
_END_ATTEMPT = update(ATTEMPT).where(_THIS).values(_HOW)
_OPEN = select(JOB).where(
    JOB.c.loadbalancer_id == bindparam("root"), JOB.c.ended_at.is_(None), JOB.c.generation <= bindparam("upto")
)
_END = update(JOB).where(JOB.c.id == bindparam("key")).values(_HOW)


@cache
def _source(dialect: str) -> Source:
    """Jobs with their state: as it ended, else by what is being done about their root."""
    state = case(
        (JOB.c.outcome.is_not(None), JOB.c.outcome),
        (WORK.c.lease_until > bindparam("now", type_=WORK.c.lease_until.type), "running"),
        (WORK.c.tries > 0, "retrying"),
        else_="queued",
    )
    of_root = WORK.c.root_id == JOB.c.loadbalancer_id
    statement = select(JOB, state.label("state")).select_from(JOB.outerjoin(WORK, of_root))
    values = {c.name: Value(c, c.type.python_type, bool(c.nullable)) for c in JOB.c if c.name != "outcome"}
    values["state"] = Value(state, str, nullable=False)
    tie: tuple[filters.Sort, ...] = (("created_at", "asc"), ("id", "asc"))
    return Source(statement, JOB.c.id, values, None, JOB.c.project_id, None, tie, dialect)


def _document(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != "outcome"}


def _attempts(tx: Tx, found: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Job id → the attempts that covered it, oldest first: begun before it ended, and of its generation or later."""
    dialect = tx.database.dialect
    before = or_(JOB.c.ended_at.is_(None), ATTEMPT.c.started_at <= JOB.c.ended_at)
    covers = and_(ATTEMPT.c.root_id == JOB.c.loadbalancer_id, ATTEMPT.c.generation >= JOB.c.generation, before)
    statement = select(JOB.c.id, ATTEMPT).select_from(JOB.join(ATTEMPT, covers)).order_by(ATTEMPT.c.fence)
    groups: dict[str, list[Any]] = {job["id"]: [] for job in found}
    if groups:
        these = {"ids": listed(dialect, groups)}
        for row in tx.connection.execute(statement.where(among(dialect, JOB.c.id, "ids")), these):
            groups[row[0]].append(row)
    return groups


def _with_attempts(job: dict[str, Any], covering: Sequence[Any], *, log: bool) -> dict[str, Any]:
    lines = [
        {"at": at, "attempt": number, "text": text}
        for number, attempt in list(enumerate(covering, start=1))[-ATTEMPTS_SHOWN_MAX:]
        for at, text in (attempt.log if log else ())
    ]
    reason = job["reason"]
    if job["ended_at"] is None:
        reason = next((attempt.reason for attempt in reversed(covering) if attempt.reason), None)
    started = covering[0].started_at if covering else None
    return {**job, "attempts": len(covering), "started_at": started, "reason": reason, "log": lines}
