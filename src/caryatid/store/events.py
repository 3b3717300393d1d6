# SPDX-License-Identifier: Apache-2.0
"""What has happened, in order; never changed, removed only by age."""

import time
from collections.abc import Mapping
from typing import Any

from sqlalchemy import delete, select, text

from . import clock, wake
from .database import POSTGRESQL, Tx
from .tables import EVENT

PAGE = 1000
_APPEND = EVENT.insert()
_SETTLED = text("age(event.xmin) > age(pg_snapshot_xmin(pg_current_snapshot())::xid)")
"""PostgreSQL numbers events as they are written, not as they are committed: one is shown when no transaction that
might still show an earlier one is under way."""


def append(  # noqa: PLR0913  an event has this many parts
    tx: Tx,
    action: str,
    kind: str,
    key: str,
    *,
    project_id: str | None,
    root_id: str | None,
    detail: Mapping[str, Any] | None = None,
) -> None:
    """It has happened, if the transaction commits. `key`: what a path calls the resource."""
    append_all(tx, [happened(action, kind, key, project_id=project_id, root_id=root_id, detail=detail)])


def happened(
    action: str,
    kind: str,
    key: str,
    *,
    project_id: str | None,
    root_id: str | None,
    detail: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The row of an event, for `append_all`."""
    return {
        "at": clock.text(time.time()),
        "kind": kind,
        "resource_id": key,
        "project_id": project_id,
        "action": action,
        "loadbalancer_id": root_id,
        "detail": dict(detail) if detail else None,
    }


def append_all(tx: Tx, rows: list[dict[str, Any]]) -> None:
    if rows:
        tx.connection.execute(_APPEND, rows)
        wake.notify(tx, "events")


def after(tx: Tx, seq: int, *, project_id: str | None = None, limit: int = PAGE) -> list[dict[str, Any]]:
    """The events that come after the one numbered `seq`, oldest first; a project's, or all.

    Whoever goes on from the last of them misses none.
    """
    statement = select(EVENT).where(EVENT.c.seq > seq).order_by(EVENT.c.seq).limit(limit)
    if tx.database.dialect == POSTGRESQL:
        statement = statement.where(_SETTLED)
    if project_id is not None:
        statement = statement.where(EVENT.c.project_id == project_id)
    return [dict(row) for row in tx.connection.execute(statement).mappings()]


def last(tx: Tx) -> int:
    """The number of the newest event; 0: there is none."""
    newest = select(EVENT.c.seq).order_by(EVENT.c.seq.desc()).limit(1)
    return tx.connection.execute(newest).scalar() or 0


def purge(tx: Tx, before: str) -> int:
    """Events older than `before` are gone; how many they were."""
    return tx.connection.execute(delete(EVENT).where(EVENT.c.at < before)).rowcount
