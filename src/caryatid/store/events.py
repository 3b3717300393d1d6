# SPDX-License-Identifier: Apache-2.0
"""What has happened, in order; never changed, removed only by age.

SQLite has one writer at a time: events are numbered in the order in which they are committed. PostgreSQL numbers them
as they are written. There they are ordered by (transaction, number), and shown when no older transaction is under way
that could still write one before them: whoever goes on from the last that was shown misses none, and sees none twice.
"""

import time
from collections.abc import Mapping
from dataclasses import replace
from functools import cache, lru_cache
from operator import eq, ge, lt
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Integer,
    Select,
    String,
    and_,
    bindparam,
    delete,
    func,
    literal_column,
    or_,
    select,
    tuple_,
    update,
)

from caryatid.model.event import BEGINNING, Cursor, Sought, cursor_of
from caryatid.model.eventtypes import TYPES
from caryatid.model.policy import Caller

from . import clock, wake
from .database import POSTGRESQL, Tx
from .tables import EVENT

PAGE: Final = 1000
CHANNEL: Final = "events"
EVERYTHING: Final = Sought()
BOUNDS: Final = {"since": (EVENT.c.at, ge), "until": (EVENT.c.at, lt)}
STATEMENTS_KEPT: Final = 256


def append(  # noqa: PLR0913  an event has this many parts
    tx: Tx,
    action: str,
    kind: str,
    key: str,
    *,
    by: Caller,
    project_id: str | None,
    root_id: str | None,
    job_id: str | None = None,
    detail: Mapping[str, Any] | None = None,
) -> None:
    """It has happened, if the transaction commits. `key`: what a path calls the resource."""
    row = happened(action, kind, key, by=by, project_id=project_id, root_id=root_id, job_id=job_id, detail=detail)
    append_all(tx, [row])


def happened(  # noqa: PLR0913  an event has this many parts
    action: str,
    kind: str,
    key: str,
    *,
    by: Caller,
    project_id: str | None,
    root_id: str | None,
    job_id: str | None = None,
    detail: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The row of an event, for `append_all`. Raises ValueError for a type that model.eventtypes does not declare."""
    if f"{kind}.{action}" not in TYPES:
        raise ValueError(f"{kind}.{action} is no type of event.")
    return {
        "at": clock.text(time.time()),
        "kind": kind,
        "resource_id": key,
        "project_id": project_id,
        "action": action,
        "loadbalancer_id": root_id,
        "user_id": by.user_id,
        "request_id": by.request_id,
        "job_id": job_id,
        "detail": dict(detail) if detail else None,
    }


def append_all(tx: Tx, rows: list[dict[str, Any]]) -> None:
    """All of them have happened, in this order, if the transaction commits."""
    if rows:
        tx.connection.execute(_append(tx.database.dialect), rows)
        wake.notify(tx, CHANNEL)


def after(
    tx: Tx, cursor: Cursor, *, project_id: str | None = None, limit: int = PAGE, sought: Sought = EVERYTHING
) -> list[dict[str, Any]]:
    """The events that come after the cursor, oldest first; a project's, or all.

    Whoever goes on from the last of them (model.event.cursor_of) misses none.
    """
    if project_id is not None:
        sought = replace(sought, project_id=project_id)
    return _read(tx, cursor, limit, sought, backwards=False)


def newest(
    tx: Tx, cursor: Cursor = BEGINNING, *, limit: int = PAGE, sought: Sought = EVERYTHING
) -> list[dict[str, Any]]:
    """The newest events that come after the cursor, oldest first."""
    return _read(tx, cursor, limit, sought, backwards=True)[::-1]


def last(tx: Tx) -> Cursor:
    """Behind the newest event that is shown."""
    found = newest(tx, limit=1)
    return cursor_of(found[0]) if found else BEGINNING


def known(tx: Tx, cursor: Cursor) -> Cursor | None:
    """The same place in the log as it is now; None: its event was removed by age, or is of another log than this (the
    database was restored from a copy of before). What came after it is not known then."""
    if cursor == BEGINNING:
        return cursor
    row = tx.connection.execute(_AT, {"number": cursor.seq}).mappings().first()
    found = cursor_of(dict(row)) if row else BEGINNING
    return found if found.mark == cursor.mark else None


def held(tx: Tx, cursor: Cursor) -> bool:
    """Whether something is committed after the cursor that cannot be shown yet: when the transactions that are older
    have ended, nobody rings again. Does not look further than `after` does in the same transaction."""
    if tx.database.dialect != POSTGRESQL:
        return False
    return tx.connection.execute(_HELD, {"the_xid": cursor.xid, "the_seq": cursor.seq}).first() is not None


def purge(tx: Tx, before: str) -> int:
    """Events older than `before` are gone; how many they were. The newest stays, whatever its age: it is where
    those stand who have seen everything."""
    newest_seq = select(EVENT.c.seq).order_by(EVENT.c.xid.desc(), EVENT.c.seq.desc()).limit(1).scalar_subquery()
    return tx.connection.execute(delete(EVENT).where(EVENT.c.at < before, EVENT.c.seq != newest_seq)).rowcount


def adopt(connection: Connection) -> int:
    """Events of another PostgreSQL, from which this database was restored, come before all that happens here, in their
    order; how many they were. Their transactions are numbered higher than ours are: they would never be shown."""
    if connection.dialect.name != POSTGRESQL:
        return 0
    highest = select(func.max(EVENT.c.xid)).scalar_subquery()
    moved = update(EVENT).where(highest >= _XMAX).values(xid=EVENT.c.xid - highest - 1)
    return connection.execute(moved).rowcount


_XMIN: ColumnElement[int] = literal_column("pg_snapshot_xmin(pg_current_snapshot())::text::bigint", BigInteger)
_XMAX: ColumnElement[int] = literal_column("pg_snapshot_xmax(pg_current_snapshot())::text::bigint", BigInteger)
_XID: ColumnElement[int] = literal_column("pg_current_xact_id()::text::bigint", BigInteger)
_AFTER = tuple_(EVENT.c.xid, EVENT.c.seq) > tuple_(
    bindparam("the_xid", type_=BigInteger), bindparam("the_seq", type_=BigInteger)
)
_HELD = select(EVENT.c.seq).where(_AFTER, EVENT.c.xid >= _XMIN).limit(1)
_AT = select(EVENT.c.xid, EVENT.c.seq, EVENT.c.at).where(EVENT.c.seq == bindparam("number"))


@cache
def _append(dialect: str) -> Any:
    return EVENT.insert().values(xid=_XID) if dialect == POSTGRESQL else EVENT.insert()


def _read(tx: Tx, cursor: Cursor, limit: int, sought: Sought, *, backwards: bool) -> list[dict[str, Any]]:
    named = dict(sought.equal())
    bounds = {name: value for name in ("since", "until") if (value := getattr(sought, name)) is not None}
    statement = _select(tx.database.dialect, (*named, *bounds), tuple(sought.types), backwards=backwards)
    values = {f"the_{name}": value for name, value in (named | bounds).items()}
    values |= {"the_xid": cursor.xid, "the_seq": cursor.seq, "most": limit}
    return [dict(row) for row in tx.connection.execute(statement, values).mappings()]


@lru_cache(STATEMENTS_KEPT)
def _select(dialect: str, names: tuple[str, ...], types: tuple[str, ...], *, backwards: bool) -> Select[Any]:
    """Kept: to make it takes longer than to read an event."""
    statement = select(EVENT).where(_AFTER)
    if dialect == POSTGRESQL:
        statement = statement.where(EVENT.c.xid < _XMIN)
    for name in names:
        column, compare = BOUNDS.get(name) or (EVENT.c[name], eq)
        statement = statement.where(compare(column, bindparam(f"the_{name}", type_=String)))
    if types:
        statement = statement.where(or_(*map(_of_type, types)))
    order = (EVENT.c.xid.desc(), EVENT.c.seq.desc()) if backwards else (EVENT.c.xid, EVENT.c.seq)
    return statement.order_by(*order).limit(bindparam("most", type_=Integer))


def _of_type(name: str) -> ColumnElement[bool]:
    kind, _, action = name.partition(".")
    return EVENT.c.kind == kind if action == "*" else and_(EVENT.c.kind == kind, EVENT.c.action == action)
