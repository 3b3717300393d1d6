# SPDX-License-Identifier: Apache-2.0
"""Documents as readers get them: defaults, what is stored, columns, statuses and the ids of those that refer here."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    FromClause,
    Select,
    Table,
    and_,
    bindparam,
    func,
    literal_column,
    select,
    union,
    union_all,
)

from caryatid.model import BY_NAME
from caryatid.model.kind import Attribute, Kind

from . import status
from .database import Tx
from .sql import among, listed
from .tables import OBSERVATION, TABLES, root_column

Json = dict[str, Any]


@dataclass(frozen=True)
class Reading:
    """How the rows of a kind are read: `select` yields the values of `names`, then the spec."""

    kind: Kind
    table: Table
    root: FromClause | None
    select: Select[Any]
    names: tuple[str, ...]
    values: Mapping[str, ColumnElement[Any]]
    """What each of `names` is; of roots' children also the id of the root."""

    def document(self, row: Sequence[Any]) -> Json:
        """The document of a row that `select` gave, without those that refer to it."""
        found: Json = {**self.kind.defaults, **row[-1]}
        found.update(zip(self.names, row, strict=False))
        return found


@cache
def reading(name: str) -> Reading:
    kind = BY_NAME[name]
    table = TABLES[name]
    values: dict[str, ColumnElement[Any]] = {"id": table.c.id}
    values |= {a.name: table.c[a.name] for a in kind.columns}
    source: FromClause = table
    root: FromClause | None = None
    if kind.root:
        root = table if kind.is_root else TABLES[kind.root]
        source = table if kind.is_root else table.join(root, root.c.id == table.c[root_column(kind)])
        source, statuses = _with_statuses(kind, table, root, source)
        values |= statuses
    names = tuple(values)
    statement = select(*(values[name].label(name) for name in names), table.c.spec).select_from(source)
    return Reading(kind, table, root, statement, names, values)


def _with_statuses(
    kind: Kind, table: Table, root: FromClause, source: FromClause
) -> tuple[FromClause, dict[str, ColumnElement[Any]]]:
    provisioning = status.provisioning(table, root)
    own = OBSERVATION.alias("own")
    source = source.outerjoin(own, _observes(own, kind.name, table.c.id))
    observed: ColumnElement[Any] = own.c.operating_status
    if kind.name == "healthmonitor":  # as its pool does, until it is observed itself
        pools = OBSERVATION.alias("pools")
        source = source.outerjoin(pools, _observes(pools, "pool", table.c.pool_id))
        observed = func.coalesce(observed, pools.c.operating_status)
    return source, {
        "updated_at": status.updated(table, provisioning),
        "provisioning_status": provisioning,
        "operating_status": status.operating(kind, table, provisioning, observed),
    }


def _observes(observation: FromClause, kind: str, key: ColumnElement[Any]) -> ColumnElement[bool]:
    return and_(observation.c.kind == literal_column(f"'{kind}'"), observation.c.id == key)


def shaped(tx: Tx, kind: Kind, rows: Sequence[Sequence[Any]]) -> list[Json]:
    """The documents of rows that the kind's `select` gave, with those that refer to them; one query for all."""
    read = reading(kind.name)
    documents = [read.document(row) for row in rows]
    if kind.backs and documents:
        refer = referring(tx, kind, [document["id"] for document in documents])
        for attribute in kind.backs:
            _add_back(attribute, documents, refer.get(attribute.name, {}))
    return documents


def _add_back(attribute: Attribute, documents: Iterable[Json], refer: Mapping[str, list[str]]) -> None:
    name = attribute.name
    one = attribute.back is not None and attribute.back.one
    for document in documents:
        ids = refer.get(document["id"])
        if one:
            document[name] = ids[0] if ids else None
        else:
            document[name] = ids or []


def referring(tx: Tx, kind: Kind, ids: Sequence[str]) -> dict[str, dict[str, list[str]]]:
    """Attribute → id → ids of those that refer to it, oldest first; those being deleted are still there."""
    one = len(ids) == 1
    key = ids[0] if one else listed(tx.database.dialect, ids)
    found: dict[str, dict[str, list[str]]] = {attribute.name: {} for attribute in kind.backs}
    rows = tx.connection.execute(_backs(kind.name, tx.database.dialect, one=one), {"ids": key}).all()
    for name, target, source in rows:
        found[name].setdefault(target, []).append(source)
    return found


@cache
def _backs(name: str, dialect: str, *, one: bool) -> Select[Any]:
    """(attribute, id, id of one that refers to it), oldest first."""
    parts = [part for a in BY_NAME[name].backs for part in _back_parts(name, a, dialect, one=one)]
    together = union_all if len(parts) == len(BY_NAME[name].backs) else union  # each once, where two ways lead here
    found = together(*parts).subquery()
    return select(found.c.name, found.c.target, found.c.source).order_by(found.c.created_at, found.c.source)


def _back_parts(name: str, attribute: Attribute, dialect: str, *, one: bool) -> Iterable[Select[Any]]:
    back = attribute.back
    if back is None:
        return
    table = TABLES[back.kind]
    via = table.c[back.via]
    yield _pointing(attribute.name, table, via, table).where(_one_of(via, dialect, one=one))
    if (name, attribute.name) == ("pool", "listeners"):  # by an L7 policy too
        policy = TABLES["l7policy"]
        pair = table.join(policy, and_(policy.c.listener_id == table.c.id, policy.c.deleted_generation.is_(None)))
        via = policy.c.redirect_pool_id
        yield _pointing(attribute.name, table, via, pair).where(_one_of(via, dialect, one=one))


def _one_of(via: ColumnElement[str], dialect: str, *, one: bool) -> ColumnElement[bool]:
    return via == bindparam("ids") if one else among(dialect, via, "ids")


def _pointing(name: str, table: Table, via: ColumnElement[str], source: FromClause) -> Select[Any]:
    columns: list[ColumnElement[Any]] = [literal_column(f"'{name}'").label("name"), via.label("target")]
    columns += [table.c.id.label("source"), table.c.created_at.label("created_at")]
    return select(*columns).select_from(source)
