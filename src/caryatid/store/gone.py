# SPDX-License-Identifier: Apache-2.0
"""What an attempt leaves behind on the rows of a root: refused ones are marked, gone ones are removed."""

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    CompoundSelect,
    Table,
    bindparam,
    case,
    delete,
    literal_column,
    select,
    union_all,
    update,
)

from caryatid.model import GSLB, KINDS, LOADBALANCER
from caryatid.model.kind import Kind

from .database import Tx
from .gslb.tables import GSLB_STATE, GSLB_STATUS, GSLB_USE
from .sql import among, listed
from .tables import BINDING, OBSERVATION, STATISTIC, TABLES, root_column

BELOW: tuple[Kind, ...] = tuple(kind for kind in KINDS if kind.root == LOADBALANCER.name and not kind.is_root)
"""What hangs on a load balancer. What gslbs are made of hangs on none of them: several may use it."""


def find_gone(tx: Tx, root_id: str, observed: int) -> list[tuple[str, str, int]]:
    """(kind, id, generation in which it was deleted) of what the root no longer has in generation `observed`."""
    return [(*row,) for row in tx.connection.execute(_gone(), {"root": root_id, "observed": observed})]


def remove_gone(tx: Tx, kind: str, root_id: str, observed: int, found: Iterable[tuple[str, str, int]]) -> bool:
    """What was `found` gone is no more, nor what was seen of it; True: nor the root, of `kind`, deleted by `observed`.

    Jobs, attempts and events stay.
    """
    gone: dict[str, list[str]] = {}
    for below, key, _ in found:
        gone.setdefault(below, []).append(key)
    for below, ids in gone.items():
        _remove(tx, below, ids)
    return _remove_root(tx, kind, root_id, observed)


def mark_refused(tx: Tx, root_id: str, culprits: Mapping[str, str], *, generation: int) -> None:
    """These rows (id → reason) were refused in the form they had at `generation`; no other row of the root is."""
    refused: dict[str, list[str]] = {}
    for kind, key in tx.connection.execute(_refused(), {"root": root_id}):
        if key not in culprits:
            refused.setdefault(kind, []).append(key)
    for kind, ids in refused.items():
        table = TABLES[kind]
        statement = update(table).where(among(tx.database.dialect, table.c.id, "ids"))
        values = {"ids": listed(tx.database.dialect, ids)}
        tx.connection.execute(statement.values(failed_generation=None, reason=None), values)
    if culprits:
        _mark(tx, [{"key": key, "why": why, "tried": generation} for key, why in sorted(culprits.items())])


def _mark(tx: Tx, culprits: list[dict[str, Any]]) -> None:
    tried = bindparam("tried", type_=BigInteger)
    for kind in BELOW:
        row = TABLES[kind.name]
        failed = case((row.c.changed_generation < tried, row.c.changed_generation), else_=tried)
        statement = update(row).where(row.c.id == bindparam("key"))
        tx.connection.execute(statement.values(failed_generation=failed, reason=bindparam("why")), culprits)


def _remove(tx: Tx, kind: str, ids: Iterable[str]) -> None:
    dialect = tx.database.dialect
    values = {"ids": listed(dialect, ids)}
    table = TABLES[kind]
    tx.connection.execute(delete(table).where(among(dialect, table.c.id, "ids")), values)
    seen = delete(OBSERVATION).where(OBSERVATION.c.kind == kind, among(dialect, OBSERVATION.c.id, "ids"))
    tx.connection.execute(seen, values)
    if kind == "listener":
        for table in (STATISTIC, BINDING):
            tx.connection.execute(delete(table).where(among(dialect, table.c.listener_id, "ids")), values)


def _remove_root(tx: Tx, kind: str, root_id: str, observed: int) -> bool:
    root = TABLES[kind]
    this = delete(root).where(root.c.id == root_id, root.c.deleted_generation <= observed)
    if not tx.connection.execute(this).rowcount:
        return False
    if kind == GSLB.name:
        for table in (GSLB_USE, GSLB_STATE):
            tx.connection.execute(delete(table).where(table.c.gslb_id == root_id))
        seen = GSLB_STATUS.c
        tx.connection.execute(delete(GSLB_STATUS).where(seen.kind == kind, seen.id == root_id))
        return True
    for below in BELOW:
        table = TABLES[below.name]
        tx.connection.execute(delete(table).where(table.c[root_column(below)] == root_id))
    for table in (OBSERVATION, STATISTIC):
        tx.connection.execute(delete(table).where(table.c.loadbalancer_id == root_id))
    return True


@cache
def _gone() -> CompoundSelect[Any]:
    deleted = "deleted_generation"  # "is not null" is what the index says
    return _each(lambda table: [table.c[deleted].is_not(None), table.c[deleted] <= bindparam("observed")], deleted)


@cache
def _refused() -> CompoundSelect[Any]:
    return _each(lambda table: [table.c.failed_generation.is_not(None)])


def _each(these: Any, *more: str) -> CompoundSelect[Any]:
    """(kind, id, *more) of the rows of a root that satisfy `these`."""

    def part(kind: Kind) -> Any:
        table: Table = TABLES[kind.name]
        own: ColumnElement[bool] = table.c[root_column(kind)] == bindparam("root")
        shown = (table.c[name] for name in ("id", *more))
        return select(literal_column(f"'{kind.name}'"), *shown).where(own, *these(table))

    return union_all(*(part(kind) for kind in BELOW))
