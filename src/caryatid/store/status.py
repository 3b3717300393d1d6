# SPDX-License-Identifier: Apache-2.0
"""Statuses, derived: the one rule that show, list, filter, sort and tree read (decision 2)."""

from typing import Any

from sqlalchemy import ColumnElement, FromClause, and_, case, exists, false, func, literal_column, null

from caryatid.model import GSLB, GSLB_MEMBER, GSLB_POOL
from caryatid.model.kind import Kind

from .gslb.tables import GSLB_USE
from .tables import TABLES


def _word(value: str) -> ColumnElement[str]:
    return literal_column(f"'{value}'")


ERROR, ACTIVE = _word("ERROR"), _word("ACTIVE")
OFFLINE, ONLINE, NO_MONITOR = _word("OFFLINE"), _word("ONLINE"), _word("NO_MONITOR")
DISABLED, UNKNOWN = _word("DISABLED"), _word("UNKNOWN")


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
    if kind is GSLB:
        return decided(row, observed)
    return case(
        (row.c.spec["admin_state_up"].as_boolean() == false(), OFFLINE),
        else_=func.coalesce(observed, _unobserved(kind, row, status)),
    )


def decided(row: FromClause, last: ColumnElement[Any]) -> ColumnElement[str]:
    """operating_status of what global load balancing decides about, given how that was when it was last decided."""
    return case((row.c.spec["admin_state_up"].as_boolean() == false(), DISABLED), else_=func.coalesce(last, UNKNOWN))


def used(kind: Kind, row: FromClause) -> ColumnElement[str]:
    """provisioning_status of what several gslbs may use: whether all have taken it as it is. A member is part of
    its pool."""
    root = TABLES[GSLB.name]
    part = (GSLB_POOL, row.c.pool_id) if kind is GSLB_MEMBER else (kind, row.c.id)
    mine = (GSLB_USE.c.kind == literal_column(f"'{part[0].name}'"), GSLB_USE.c.id == part[1])
    behind = exists().where(*mine, GSLB_USE.c.gslb_id == root.c.id, GSLB_USE.c.generation > root.c.observed_generation)
    behind = behind.correlate(row)
    refused = behind.where(GSLB_USE.c.generation <= root.c.failed_generation)
    return case((refused, ERROR), (behind, _word("PENDING_UPDATE")), else_=ACTIVE)


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
