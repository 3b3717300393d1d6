# SPDX-License-Identifier: Apache-2.0
"""Receipts of accepted changes: opened with the change, shown with what was done for it, ended with what came of it."""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final
from uuid import uuid4

from sqlalchemy import ColumnElement, and_, bindparam, case, func, null, or_, select, update

from caryatid.model import GSLB, LOADBALANCER
from caryatid.model.event import WORKER
from caryatid.model.kind import Kind
from caryatid.model.policy import Caller

from . import attempts, clock, events, filters, wake
from .claim import Claim
from .database import Tx
from .filters import Query, Source, Value
from .sql import among, listed, storable
from .tables import ATTEMPT, JOB, JOB_ARCHIVE, WORK

ATTEMPTS_SHOWN_MAX: Final = 20
SUCCEEDED, FAILED, SUPERSEDED, CANCELLED = "succeeded", "failed", "superseded", "cancelled"
SERIAL_BITS: Final = 16
"""Of a serial: how often its attempt was written to; above them stands the attempt's fence, so that it never falls."""
BOUNDS: dict[str, tuple[str, str]] = {
    "created_since": ("created_at", ">="),
    "created_until": ("created_at", "<"),
    "ended_since": ("ended_at", ">="),
    "ended_until": ("ended_at", "<"),
}
"""Parameters of a list that bound a time: attribute, and how it is compared."""


@dataclass(frozen=True)
class End:
    """What has come of all that was asked for up to a generation."""

    generation: int
    reason: str = ""
    """Why all of it failed; nothing: it did not."""
    remedy: str = ""
    culprits: Mapping[str, str] = field(default_factory=dict)
    """What failed alone (id → reason)."""
    gone: Mapping[str, int] = field(default_factory=dict)
    """What is no more (id → generation in which it was deleted)."""

    def of(self, job: Mapping[str, Any]) -> tuple[str, str | None, str | None]:
        """State, reason and remedy of the job."""
        if job["action"] != "delete" and (moot := self._moot(job)):
            return SUPERSEDED, moot, None
        reason = self.reason or self.culprits.get(job["resource_id"])
        return (FAILED, reason, self.remedy or None) if reason else (SUCCEEDED, None, None)

    def _moot(self, job: Mapping[str, Any]) -> str:
        """What made the job moot: what it is about, or its root, was deleted by a later change."""
        root = LOADBALANCER.name if job["loadbalancer_id"] else GSLB.name
        for kind, key in ((job["resource_type"], job["resource_id"]), (root, job["root_id"])):
            if self.gone.get(key, 0) > job["generation"]:
                return f"A later change deleted {kind} {key}."
        return ""


def open(  # noqa: A001, PLR0913  a receipt has this many parts
    tx: Tx,
    *,
    action: str,
    kind: str,
    resource_id: str,
    root_id: str | None,
    root_kind: Kind = LOADBALANCER,
    project_id: str | None,
    generation: int,
    user_id: str = "",
    request_id: str = "",
    undo: Mapping[str, Any] | None = None,
) -> str:
    """A receipt for `generation` of the root; its id. Without a root it has taken effect at once.

    `undo`: what cancelling it has to put back.
    """
    job_id, at = str(uuid4()), clock.text(time.time())
    row = {
        "id": job_id,
        "project_id": project_id,
        "user_id": user_id,
        "request_id": request_id,
        "action": action,
        "resource_type": kind,
        "resource_id": resource_id,
        "root_id": root_id,
        "loadbalancer_id": root_id if root_kind is LOADBALANCER else None,
        "generation": generation,
        "created_at": at,
        "undo": undo or None,
    }
    at_once = {"ended_at": at, "outcome": SUCCEEDED, "ended_fence": 0} if root_id is None else _NOT_ENDED
    tx.connection.execute(_OPENED, row | at_once)
    return job_id


def get(tx: Tx, job_id: str) -> dict[str, Any] | None:
    """The job as model.job.Job has it, with its log; of one that is archived, without."""
    if not storable(job_id):
        return None
    found = some(tx, [job_id])
    if found:
        return found[0]
    row = tx.connection.execute(_source(tx.database.dialect, archived=True).select.where(_ARCHIVED), {"key": job_id})
    kept = row.mappings().first()
    return _archived(dict(kept)) if kept else None


def some(tx: Tx, ids: Iterable[str]) -> list[dict[str, Any]]:
    """The jobs of these that are not archived, with their logs, in no order."""
    dialect = tx.database.dialect
    statement = _source(dialect).select.where(among(dialect, JOB.c.id, "ids"))
    given = {"ids": listed(dialect, filter(storable, ids)), "now": clock.now(tx)}
    return _documents(tx, _rows(tx, statement, given), log=True)


def page(
    tx: Tx, query: Query, *, archived: bool = False, bounds: Mapping[str, str] | None = None
) -> list[dict[str, Any]]:
    """Jobs, without their logs; without other sort keys the oldest first. `bounds`: see BOUNDS. Raises Refused."""
    bounds = bounds or {}
    of = _source(tx.database.dialect, archived=archived, bounds=tuple(sorted(bounds)))
    names = of.select.selected_columns.keys()
    given = bounds if archived else {"now": clock.now(tx), **bounds}
    rows = [dict(zip(names, row, strict=True)) for row in filters.run(tx, of, query, **given)]
    return [_archived(row) for row in rows] if archived else _documents(tx, rows, log=False)


def end(tx: Tx, held: Claim, said: End, now: float) -> None:
    """What was asked for up to `said.generation` has ended, by the attempt of this claim."""
    end_all(tx, {held: said}, now)


def end_all(tx: Tx, said: Mapping[Claim, End], now: float) -> None:
    """The same of many roots."""
    ended, told = [], []
    for held, row in _open_of_all(tx, {held: end.generation for held, end in said.items()}):
        state, reason, remedy = said[held].of(row)
        one = {"key": row["id"], "how": state, "said": reason, "cure": remedy}
        ended.append({**one, "when": clock.text(now), "fence": held.fence})
        told.append(_ended(row, one, WORKER))
    if ended:
        tx.connection.execute(_END, ended)
        events.append_all(tx, told)
        wake.notify(tx, attempts.CHANNEL)


def tell_begun(tx: Tx, begun: Mapping[Claim, int]) -> None:
    """There are events for jobs that the attempts of these claims, which cover them up to these generations, are the
    first to cover."""
    found = _open_of_all(tx, begun)
    events.append_all(tx, [_event(job, "begin", WORKER, None) for held, job in found if job[_SINCE] == held.fence])


def _open_of_all(tx: Tx, upto: Mapping[Claim, int]) -> list[tuple[Claim, dict[str, Any]]]:
    """Jobs of the claims' roots that have not ended, up to these generations; with the fence of the first attempt that
    covers each."""
    claims, dialect = {held.root_id: held for held in upto}, tx.database.dialect
    rows = _rows(tx, _open_among(dialect), {"ids": listed(dialect, sorted(claims))}) if claims else []
    found = [(claims[row["root_id"]], row) for row in rows]
    return [(held, row) for held, row in found if row["generation"] <= upto[held]]


def open_of(tx: Tx, root_id: str) -> list[dict[str, Any]]:
    """The jobs of the root that have not ended, as they are kept; the caller has the root's lock."""
    return _rows(tx, _OPEN, {"root": root_id, "upto": (1 << 63) - 1})


def cancel(tx: Tx, job: Mapping[str, Any], by: Caller, reason: str) -> None:
    """The job, of `open_of`, has ended before it had begun."""
    ended = {"key": job["id"], "how": CANCELLED, "said": reason, "cure": None}
    tx.connection.execute(_END, {**ended, "when": clock.text(clock.now(tx)), "fence": 0})
    events.append_all(tx, [_ended(job, ended, by)])
    wake.notify(tx, attempts.CHANNEL)


def set_undo(tx: Tx, job_id: str, undo: Mapping[str, Any]) -> None:
    """Cancelling the job would put this back."""
    tx.connection.execute(update(JOB).where(JOB.c.id == job_id).values(undo=undo or None))


def begun(tx: Tx, job: Mapping[str, Any]) -> bool:
    """Whether an attempt has covered it, or a worker has the root and may be about to. Nobody takes the root before the
    transaction has ended."""
    root_id = job["root_id"]
    work = tx.connection.execute(select(WORK.c.lease_until).where(WORK.c.root_id == root_id).with_for_update()).first()
    covering = select(ATTEMPT.c.fence).where(ATTEMPT.c.root_id == root_id, ATTEMPT.c.generation >= job["generation"])
    taken = work is not None and work.lease_until is not None
    return taken or tx.connection.execute(covering.limit(1)).first() is not None


def _rows(tx: Tx, statement: Any, given: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [dict(row) for row in tx.connection.execute(statement, given).mappings()]


def _ended(job: Mapping[str, Any], ended: Mapping[str, Any], by: Caller) -> dict[str, Any]:
    word = "error" if ended["how"] == FAILED else "end"
    detail = {"state": ended["how"], **({"reason": ended["said"]} if ended["said"] else {})}
    return _event(job, word, by, detail)


def _event(job: Mapping[str, Any], word: str, by: Caller, detail: Mapping[str, Any] | None) -> dict[str, Any]:
    return events.happened(
        f"{job['action']}.{word}",
        job["resource_type"],
        job["resource_id"],
        by=by,
        project_id=job["project_id"],
        root_id=job["loadbalancer_id"],
        job_id=job["id"],
        detail=detail,
    )


_NOT_ENDED: dict[str, Any] = {"ended_at": None, "outcome": None, "ended_fence": None}
_OPENED = JOB.insert()
_OPEN = select(JOB).where(
    JOB.c.root_id == bindparam("root"), JOB.c.ended_at.is_(None), JOB.c.generation <= bindparam("upto")
)
_HOW: dict[str, Any] = {"ended_at": bindparam("when"), "outcome": bindparam("how"), "reason": bindparam("said")}
_MORE: dict[str, Any] = {"remedy": bindparam("cure"), "ended_fence": bindparam("fence"), "undo": null()}
_SINCE: Final = "covered_since"
_COVERING = and_(ATTEMPT.c.root_id == JOB.c.root_id, ATTEMPT.c.generation >= JOB.c.generation)
_COVERED_SINCE = select(func.min(ATTEMPT.c.fence)).where(_COVERING).correlate(JOB).scalar_subquery().label(_SINCE)
_END = update(JOB).where(JOB.c.id == bindparam("key")).values(**_HOW, **_MORE)
_ARCHIVED = JOB_ARCHIVE.c.id == bindparam("key")
_INNER = ("outcome", "ended_fence", "undo")
"""Columns that nobody sees."""


@cache
def _open_among(dialect: str) -> Any:
    these = select(JOB, _COVERED_SINCE).where(among(dialect, JOB.c.root_id, "ids"), JOB.c.ended_at.is_(None))
    return these.order_by(JOB.c.root_id, JOB.c.generation, JOB.c.id)


@cache
def _source(dialect: str, *, archived: bool = False, bounds: tuple[str, ...] = ()) -> Source:
    """Jobs with their state: as it ended, else by what is being done about their root."""
    table = JOB_ARCHIVE if archived else JOB
    state: ColumnElement[Any] = table.c.outcome
    if not archived:
        state = case(
            (JOB.c.outcome.is_not(None), JOB.c.outcome),
            (WORK.c.lease_until > bindparam("now", type_=WORK.c.lease_until.type), "running"),
            (WORK.c.tries > 0, "retrying"),
            else_="queued",
        )
    known = [column for column in table.c if column.name not in {"outcome", "undo"}]
    statement = select(*known, state.label("state"))
    if not archived:
        statement = statement.select_from(JOB.outerjoin(WORK, WORK.c.root_id == JOB.c.root_id))
    for name in bounds:
        attribute, operator = BOUNDS[name]
        statement = statement.where(table.c[attribute].op(operator)(bindparam(name)))
    values = {c.name: Value(c, c.type.python_type, bool(c.nullable)) for c in JOB.c if c.name not in _INNER}
    values = {name: Value(table.c[name], value.plain, value.nullable) for name, value in values.items()}
    values["state"] = Value(state, str, nullable=False)
    tie: tuple[filters.Sort, ...] = (("created_at", "asc"), ("id", "asc"))
    return Source(statement, table.c.id, values, None, table.c.project_id, None, tie, dialect)


def _documents(tx: Tx, rows: Sequence[Mapping[str, Any]], *, log: bool) -> list[dict[str, Any]]:
    """The jobs as they are shown, from their rows and the attempts that covered them."""
    covering = _covering(tx, [row["id"] for row in rows if row["root_id"] is not None], log=log)
    return [_document(row, covering.get(row["id"], ()), log=log) for row in rows]


def _covering(tx: Tx, ids: Sequence[str], *, log: bool) -> dict[str, list[Any]]:
    """Job id → the attempts that covered it, oldest first: begun before it ended, and of its generation or later."""
    groups: dict[str, list[Any]] = {}
    if ids:
        dialect = tx.database.dialect
        for row in tx.connection.execute(_covered(dialect, log=log), {"ids": listed(dialect, ids)}):
            groups.setdefault(row[0], []).append(row)
    return groups


@cache
def _covered(dialect: str, *, log: bool) -> Any:
    before = or_(JOB.c.ended_fence.is_(None), ATTEMPT.c.fence <= JOB.c.ended_fence)
    covers = and_(ATTEMPT.c.root_id == JOB.c.root_id, ATTEMPT.c.generation >= JOB.c.generation, before)
    parts = [column for column in ATTEMPT.c if log or column.name != "log"]
    statement = select(JOB.c.id, *parts).select_from(JOB.join(ATTEMPT, covers)).order_by(ATTEMPT.c.fence)
    return statement.where(among(dialect, JOB.c.id, "ids"))


def _document(row: Mapping[str, Any], covering: Sequence[Any], *, log: bool) -> dict[str, Any]:
    job = {str(name): value for name, value in row.items() if name not in _INNER}  # JSON takes no other names
    latest = covering[-1] if covering else None
    if job["ended_at"] is None:
        said = next((attempt for attempt in reversed(covering) if attempt.reason), None)
        job |= {"reason": said and said.reason, "remedy": said and said.remedy}
    at_once = job["created_at"] if job["ended_at"] and job["root_id"] is None else None
    return {
        **job,
        "archived": False,
        "attempts": len(covering),
        "progress": {"done": latest.done, "known": latest.known} if latest else {"done": 0, "known": 0},
        "started_at": covering[0].started_at if covering else at_once,
        "serial": _serial(latest, ended=job["ended_at"] is not None),
        "log": list(_lines(covering)) if log else [],
    }


def _lines(covering: Sequence[Any]) -> Iterable[dict[str, Any]]:
    for number, attempt in list(enumerate(covering, start=1))[-ATTEMPTS_SHOWN_MAX:]:
        for place, (at, text) in enumerate(attempt.log, start=1):
            yield {"position": f"{number}.{place}", "at": at, "attempt": number, "text": text}


def _serial(latest: Any, *, ended: bool) -> int:
    written = (latest.fence << SERIAL_BITS) + min(latest.news, (1 << SERIAL_BITS) - 3) if latest else 0
    return 1 + written + int(ended)


def _archived(row: Mapping[str, Any]) -> dict[str, Any]:
    job = {str(name): value for name, value in row.items() if name not in {"done", "known"}}
    return {**job, "archived": True, "progress": {"done": row["done"], "known": row["known"]}, "log": []}


def archive(tx: Tx, before: str, limit: int) -> int:
    """Jobs that ended before `before`, `limit` of them at most, are archived; how many they were."""
    dialect = tx.database.dialect
    oldest = select(JOB.c.id).where(JOB.c.ended_at < before).order_by(JOB.c.ended_at).limit(limit)
    ids = list(tx.connection.execute(oldest).scalars())
    if not ids:
        return 0
    statement = _source(dialect).select.where(among(dialect, JOB.c.id, "ids"))
    given = {"ids": listed(dialect, ids)}
    rows = _rows(tx, statement, {**given, "now": 0.0})
    kept = {column.name for column in JOB_ARCHIVE.c}
    moved = [
        {name: value for name, value in job.items() if name in kept} | {"outcome": job["state"]} | job["progress"]
        for job in _documents(tx, rows, log=False)
    ]
    tx.connection.execute(JOB_ARCHIVE.insert(), moved)
    tx.connection.execute(JOB.delete().where(among(dialect, JOB.c.id, "ids")), given)
    return len(ids)


def purge_archive(tx: Tx, before: str) -> int:
    """Archived jobs that ended before `before` are gone; how many they were."""
    return tx.connection.execute(JOB_ARCHIVE.delete().where(JOB_ARCHIVE.c.ended_at < before)).rowcount
