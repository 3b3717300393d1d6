# SPDX-License-Identifier: Apache-2.0
"""Statuses, derived: the one rule that show, list, filter, sort and tree read (decision 2)."""

from typing import Any

from sqlalchemy import ColumnElement, FromClause, and_, case, exists, false, func, literal_column, null

from caryatid.model.kind import Kind

from .tables import TABLES


def _word(value: str) -> ColumnElement[str]:
    return literal_column(f"'{value}'")


ERROR, ACTIVE = _word("ERROR"), _word("ACTIVE")
OFFLINE, ONLINE, NO_MONITOR = _word("OFFLINE"), _word("ONLINE"), _word("NO_MONITOR")


def provisioning(row: FromClause, root: FromClause) -> ColumnElement[str]:
    """provisioning_status of a row joined with its root (for a root: the same twice); first match wins."""
    changed = root.c.generation if row is root else row.c.changed_generation
    deleted = row.c.deleted_generation
    refused_delete = and_(root.c.failed_generation >= deleted, root.c.observed_generation < deleted)
    rules: list[tuple[ColumnElement[bool], Any]] = [
        (and_(deleted.is_not(None), refused_delete), ERROR),
        (deleted.is_not(None), _word("PENDING_DELETE")),
        (changed <= root.c.observed_generation, ACTIVE),
        (changed <= root.c.failed_generation, ERROR),
        (row.c.created_generation > root.c.observed_generation, _word("PENDING_CREATE")),
    ]
    if row is not root:
        rules.insert(2, (row.c.failed_generation >= changed, ERROR))  # the culprit of a refused configuration
    return case(*rules, else_=_word("PENDING_UPDATE"))


def operating(
    kind: Kind, row: FromClause, status: ColumnElement[str], observed: ColumnElement[Any]
) -> ColumnElement[str]:
    """operating_status of a row whose provisioning_status is `status`, given what was last observed of it."""
    return case(
        (row.c.spec["admin_state_up"].as_boolean() == false(), OFFLINE),
        else_=func.coalesce(observed, _unobserved(kind, row, status)),
    )


def _unobserved(kind: Kind, row: FromClause, status: ColumnElement[str]) -> ColumnElement[str]:
    """What a row of which nothing was heard yet shows."""
    if kind.name == "member":
        monitor = TABLES["healthmonitor"]
        checked = exists().where(monitor.c.pool_id == row.c.pool_id, monitor.c.deleted_generation.is_(None))
        return case((checked, OFFLINE), else_=NO_MONITOR)
    if kind.name in {"l7policy", "l7rule", "ratelimitpolicy", "ratelimitrule"}:
        return case((status == ACTIVE, ONLINE), else_=OFFLINE)
    return OFFLINE


def updated(row: FromClause, status: ColumnElement[str]) -> ColumnElement[Any]:
    """updated_at as it is shown: null while what was created is not yet in effect."""
    return case((status == _word("PENDING_CREATE"), null()), else_=row.c.updated_at)
