# SPDX-License-Identifier: Apache-2.0
"""The rows of every kind: read as documents, written under the generations of their root."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Insert,
    Select,
    Table,
    Update,
    and_,
    bindparam,
    case,
    func,
    null,
    or_,
    select,
    true,
    update,
)
from sqlalchemy.exc import IntegrityError

from caryatid.errors import Conflict
from caryatid.model import BY_NAME, CLUSTER, HOST, LOADBALANCER
from caryatid.model.kind import Kind
from caryatid.model.resource import Row

from . import filters
from .database import Tx
from .documents import Json, reading, shaped
from .ganeti.tables import CLUSTER_SEEN
from .observations import host_heard, last_heard
from .sql import among, listed, storable
from .tables import LOOKED_AT, PROGRESS, SEEN_OF_CLUSTERS, TABLES, root_column

FIRST: Final = 1
"""The generation in which a root starts."""
DERIVED = frozenset(
    {
        "provisioning_status",
        "operating_status",
        "used",
        "cert_expiration",
        "listeners",
        *PROGRESS,
        *LOOKED_AT,
        *SEEN_OF_CLUSTERS,
    }
)
"""Attributes that no row stores."""


class Duplicate(Conflict):
    """A living row of the kind has the same values in `columns`."""

    def __init__(self, kind: Kind, columns: tuple[str, ...]) -> None:
        self.kind = kind
        self.columns = columns
        super().__init__(f"A {kind.title} with the same {', '.join(columns)} exists already.")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a row belongs; what it has not (root, project) is ""."""

    id: str
    root_id: str
    project_id: str
    deleted: bool


@dataclass(frozen=True, slots=True)
class RootState:
    """The numbers of a root (decision 1)."""

    generation: int
    observed_generation: int
    failed_generation: int
    deleted_generation: int | None
    project_id: str


def get(tx: Tx, kind: Kind, key: str, *, parent_id: str | None = None) -> Json | None:
    """The document of the row that a path calls `key` (`Kind.key`), if it hangs on `parent_id`."""
    if not storable(key) or not (parent_id is None or storable(parent_id)):
        return None
    statement = _get(kind.name, tx.database.dialect, within=parent_id is not None)
    row = tx.connection.execute(statement, {"key": key, "parent": parent_id}).first()
    return shaped(kind, [row], tx.database.dialect)[0] if row else None


def seen(tx: Tx, kind: Kind, key: str, *, parent_id: str | None = None) -> tuple[Json, float | None] | None:
    """The same of a kind that has an operating_status, and when a host that carries it, or the host that it is, was
    last heard of (seconds since the epoch; None: never)."""
    if not storable(key) or not (parent_id is None or storable(parent_id)):
        return None
    statement = _seen(kind.name, tx.database.dialect, within=parent_id is not None)
    row = tx.connection.execute(statement, {"key": key, "parent": parent_id}).first()
    return (reading(kind.name, tx.database.dialect).document(row[1:]), row[0]) if row else None


def provisioning(tx: Tx, kind: Kind, ids: Sequence[str]) -> dict[str, str]:
    """Those of the ids that rows have, each with its provisioning_status."""
    dialect = tx.database.dialect
    found = tx.connection.execute(_provisioning(kind.name, dialect), {"ids": listed(dialect, ids)})
    return dict(found.all())


def page(tx: Tx, kind: Kind, query: filters.Query) -> list[Json]:
    """The documents that the query asks for, in its order. Raises Refused."""
    dialect = tx.database.dialect
    return shaped(kind, filters.run(tx, filters.source(kind.name, dialect), query), dialect)


def total(tx: Tx, kind: Kind, query: filters.Query) -> int:
    """How many documents the query lets through, on whatever page. Raises Refused."""
    return filters.total(tx, filters.source(kind.name, tx.database.dialect), query)


def find(tx: Tx, kind: Kind, **columns: Any) -> list[Json]:
    """The documents of living rows with these values in their columns, oldest first; unpaged."""
    dialect = tx.database.dialect
    statement = _find(kind.name, dialect, *_shape(columns))
    return shaped(kind, tx.connection.execute(statement, columns).all(), dialect)


def count(tx: Tx, kind: Kind, **columns: Any) -> int:
    """How many living rows have these values in their columns."""
    return int(tx.connection.execute(_count(kind.name, *_shape(columns)), columns).scalar_one())


def tally(tx: Tx, kind: Kind, column: str) -> dict[str, int]:
    """How many living rows have each value in the column; null is not counted."""
    table = TABLES[kind.name]
    value = table.c[column]
    statement = select(value, func.count()).where(value.is_not(None), *_alive(kind, table)).group_by(value)
    return {str(key): int(number) for key, number in tx.connection.execute(statement)}


def existing(tx: Tx, kind: Kind, ids: Sequence[str]) -> set[str]:
    """Those of the ids that rows have."""
    found = tx.connection.execute(_existing(kind.name, tx.database.dialect), {"ids": listed(tx.database.dialect, ids)})
    return set(found.scalars())


def place(tx: Tx, kind: Kind, key: str) -> Place | None:
    """Where the row that a path calls `key` belongs."""
    if not storable(key):
        return None
    row = tx.connection.execute(_place(kind.name), {"key": key}).first()
    return Place(row[0], row[1] or "", row[2] or "", row[3] is not None) if row else None


def lock_root(tx: Tx, root_id: str, kind: Kind = LOADBALANCER) -> RootState | None:
    """The numbers of the root, which nobody else changes until this transaction ends."""
    row = tx.connection.execute(_lock(kind.name), {"key": root_id}).first() if storable(root_id) else None
    return RootState(*row) if row else None


def lock_roots(tx: Tx, root_ids: Sequence[str], kind: Kind) -> dict[str, RootState]:
    """The same of many; always in the same order: two who lock do not wait in a circle."""
    ids = sorted({root_id for root_id in root_ids if storable(root_id)})
    if not ids:
        return {}
    dialect = tx.database.dialect
    found = tx.connection.execute(_lock_all(kind.name, dialect), {"ids": listed(dialect, ids)})
    return {row[0]: RootState(*row[1:]) for row in found}


def lock(tx: Tx, kind: Kind, key: str) -> None:
    """Nobody else changes the row that a path calls `key`, if there is one, until this transaction ends."""
    if storable(key):
        tx.connection.execute(_lock_row(kind.name), {"key": key})


def insert(
    tx: Tx, kind: Kind, new: Sequence[Row], *, root_id: str | None = None, generation: int | None = None
) -> None:
    """The rows exist. Raises Duplicate.

    Rooted: part of `generation` of their root. A root itself starts in it.
    """
    if not new:
        return
    shared: Json = {}
    if kind.root:
        shared = {root_column(kind): root_id} | dict.fromkeys(
            ("created_generation", "changed_generation", "spec_generation"), generation
        )
        if kind.is_root:
            shared |= {"generation": generation, "observed_generation": 0, "failed_generation": 0}
    stored = [{**_columns(kind, row), **shared, "spec": _spec(kind, row)} for row in new]
    try:
        tx.connection.execute(_insert(kind.name), stored)
    except IntegrityError as error:
        raise _duplicate(kind, error) from None


def change(tx: Tx, kind: Kind, row: Row, *, generation: int | None = None, at: str) -> None:
    """The row is as given. If it was in effect as it stood, that becomes its good form. Raises Duplicate."""
    values = {f"new_{name}": row.__dict__[name] for name in _changing(kind.name)}
    values |= {"key": row.id, "new_spec": _spec(kind, row), "at": at, "asked": generation}
    try:
        tx.connection.execute(_change(kind.name), values)
    except IntegrityError as error:
        raise _duplicate(kind, error) from None


def touch(tx: Tx, kind: Kind, ids: Sequence[str], generation: int, *, at: str) -> None:
    """Something below these rows has changed: they are on their way too, in the form they have."""
    if ids:
        values = {"ids": listed(tx.database.dialect, ids), "asked": generation, "at": at}
        tx.connection.execute(_touch(kind.name, tx.database.dialect), values)


def delete(tx: Tx, kind: Kind, ids: Sequence[str], *, generation: int | None = None) -> None:
    """Rooted: the rows are on their way out since `generation`, or since an earlier one. Others are gone."""
    if ids:
        values = {"ids": listed(tx.database.dialect, ids), "asked": generation}
        tx.connection.execute(_delete(kind.name, tx.database.dialect), values)


def _columns(kind: Kind, row: Row) -> Json:
    values = row.__dict__
    return {"id": row.id} | {a.name: values[a.name] for a in kind.columns}


def _spec(kind: Kind, row: Row) -> Json:
    values = row.__dict__
    return {name: values[name] for name in _kept(kind.name)}


@cache
def _kept(name: str) -> tuple[str, ...]:
    """The attributes that are kept in the spec: what is no column, and what is but can be changed (a row's good form
    is its spec of then)."""
    kind = BY_NAME[name]
    return tuple(
        a.name
        for a in kind
        if not (a.back or a.secret)
        and a.name not in DERIVED | {"id", kind.parent}
        and (not a.column or a.access.when == "change")
    )


def _duplicate(kind: Kind, error: IntegrityError) -> Exception:
    """What the constraint that was violated says; any other integrity error as it is."""
    diagnostics = getattr(error.orig, "diag", None)
    said = f"{getattr(diagnostics, 'constraint_name', None) or error.orig}"
    if said.startswith("NOT NULL") or getattr(error.orig, "sqlstate", "23505") != "23505":
        return error
    for columns in kind.unique:
        name = f"uq_{kind.name}_{'_'.join(columns)}"
        if said == name or all(f"{kind.name}.{column}" in said for column in columns):
            return Duplicate(kind, columns)
    return Duplicate(kind, ("id",))


def _alive(kind: Kind, table: Table) -> list[ColumnElement[bool]]:
    return [table.c.deleted_generation.is_(None)] if kind.root else []


def _shape(columns: Mapping[str, Any]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The names of columns compared with a value, and with null."""
    nulls = tuple(name for name, value in columns.items() if value is None)
    return tuple(name for name in columns if name not in nulls), nulls


def _equal(kind: Kind, equal: tuple[str, ...], nulls: tuple[str, ...]) -> list[ColumnElement[bool]]:
    table = TABLES[kind.name]
    same = [table.c[name] == bindparam(name) for name in equal]
    return [*same, *(table.c[name].is_(None) for name in nulls), *_alive(kind, table)]


@cache
def _get(name: str, dialect: str, *, within: bool) -> Select[Any]:
    kind = BY_NAME[name]
    read = reading(name, dialect)
    statement = read.select.where(read.table.c[kind.key] == bindparam("key"))
    if within:
        statement = statement.where(read.table.c[kind.parent or "id"] == bindparam("parent"))
    return statement


@cache
def _seen(name: str, dialect: str, *, within: bool) -> Select[Any]:
    kind = BY_NAME[name]
    read = reading(name, dialect)
    plain = _get(name, dialect, within=within)
    return plain.with_only_columns(
        _heard(kind, read.table).label("heard_at"), *plain.selected_columns, maintain_column_froms=True
    )


def _heard(kind: Kind, table: Table) -> Any:
    """When what is observed of a row was last heard of."""
    match kind.name:
        case HOST.name:
            return host_heard(table.c.id)
        case CLUSTER.name:
            return CLUSTER_SEEN.c.answered_at
        case _:
            return last_heard(table.c[root_column(kind)])


@cache
def _provisioning(name: str, dialect: str) -> Select[Any]:
    read = reading(name, dialect)
    columns = (read.table.c.id, read.values["provisioning_status"])
    statement = read.select.with_only_columns(*columns, maintain_column_froms=True)
    return statement.where(among(dialect, read.table.c.id, "ids"))


@cache
def _find(name: str, dialect: str, equal: tuple[str, ...], nulls: tuple[str, ...]) -> Select[Any]:
    read = reading(name, dialect)
    order = [read.table.c[column] for column in ("created_at", "id") if column in read.table.c]
    return read.select.where(*_equal(read.kind, equal, nulls)).order_by(*order)


@cache
def _count(name: str, equal: tuple[str, ...], nulls: tuple[str, ...]) -> Select[Any]:
    table = TABLES[name]
    return select(func.count()).select_from(table).where(*_equal(BY_NAME[name], equal, nulls))


@cache
def _existing(name: str, dialect: str) -> Select[Any]:
    key = TABLES[name].c.id
    return select(key).where(among(dialect, key, "ids"))


@cache
def _insert(name: str) -> Insert:
    return TABLES[name].insert()


@cache
def _place(name: str) -> Select[Any]:
    kind = BY_NAME[name]
    table = TABLES[name]
    root = table.c[root_column(kind)] if kind.root else null()
    project = table.c.project_id if kind.owned else null()
    deleted = table.c.deleted_generation if kind.root else null()
    return select(table.c.id, root, project, deleted).where(table.c[kind.key] == bindparam("key"))


@cache
def _numbers(name: str) -> Select[Any]:
    root = TABLES[name].c
    numbers = (root.generation, root.observed_generation, root.failed_generation, root.deleted_generation)
    return select(*numbers, root.project_id).with_for_update()


@cache
def _lock(name: str) -> Select[Any]:
    return _numbers(name).where(TABLES[name].c.id == bindparam("key"))


@cache
def _lock_all(name: str, dialect: str) -> Select[Any]:
    key = TABLES[name].c.id
    numbered = _numbers(name)
    return numbered.with_only_columns(key, *numbered.selected_columns).where(among(dialect, key, "ids")).order_by(key)


@cache
def _lock_row(name: str) -> Select[Any]:
    table = TABLES[name]
    return select(table.c.id).where(table.c[BY_NAME[name].key] == bindparam("key")).with_for_update()


@cache
def _changing(name: str) -> tuple[str, ...]:
    """The columns of attributes that may have another value after a change."""
    kind = BY_NAME[name]
    fixed = {"id", "created_at", "updated_at", "project_id", f"{kind.root}_id"}
    return tuple(a.name for a in kind.columns if a.name not in fixed)


@cache
def _change(name: str) -> Update:
    kind = BY_NAME[name]
    table = TABLES[name]
    values: dict[str, Any] = {column: bindparam(f"new_{column}") for column in _changing(name)}
    values["spec"] = bindparam("new_spec")
    if "updated_at" in table.c:
        values["updated_at"] = bindparam("at")
    if kind.root:
        values["changed_generation"] = values["spec_generation"] = bindparam("asked", type_=BigInteger)
        values["good_spec"] = case((in_effect(kind, table), table.c.spec), else_=table.c.good_spec)
    return update(table).where(table.c.id == bindparam("key")).values(values)


def in_effect(kind: Kind, table: Table) -> ColumnElement[bool]:
    """Whether the stored document is known to be in effect: observed, and not refused."""
    root = table if kind.is_root else TABLES[kind.root or ""]
    observed: Any = root.c.observed_generation
    if not kind.is_root:
        observed = select(observed).where(root.c.id == table.c[root_column(kind)]).scalar_subquery()
    failed = table.c.failed_generation
    refused = or_(failed.is_(None), failed < table.c.spec_generation) if not kind.is_root else true()
    return and_(table.c.spec_generation <= observed, refused)


@cache
def _touch(name: str, dialect: str) -> Update:
    kind = BY_NAME[name]
    table = TABLES[name]
    values: dict[str, Any] = {"updated_at": bindparam("at")} if "updated_at" in table.c else {}
    if kind.root:
        asked = bindparam("asked", type_=BigInteger)
        changed = table.c.changed_generation
        values["changed_generation"] = case((changed < asked, asked), else_=changed)
    return update(table).where(among(dialect, table.c.id, "ids")).values(values)


@cache
def _delete(name: str, dialect: str) -> Any:
    kind = BY_NAME[name]
    table = TABLES[name]
    these = among(dialect, table.c.id, "ids")
    if not kind.root:
        return table.delete().where(these)
    since = func.coalesce(table.c.deleted_generation, bindparam("asked", type_=BigInteger))
    return update(table).where(these).values(deleted_generation=since)
