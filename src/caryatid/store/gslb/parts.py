# SPDX-License-Identifier: Apache-2.0
"""What gslbs are made of, as wishes look for it: held while something comes to use it, and who names it."""

from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any, Final, cast

from sqlalchemy import ColumnElement, Select, Table, Text, bindparam, func, select
from sqlalchemy import cast as as_type

from caryatid.model import BY_NAME, GSLB, GSLB_ZONE
from caryatid.model.gslb.place import GslbZone
from caryatid.model.kind import Kind
from caryatid.model.resource import Row
from caryatid.store.database import Tx
from caryatid.store.gslb.tables import GSLB_CREDENTIAL
from caryatid.store.sql import among, listed
from caryatid.store.tables import TABLES

from .trees import some

NAMED_MAX: Final = 5
"""Of those that are in the way so many are named."""


def held(tx: Tx, kind: Kind, ids: Iterable[str]) -> dict[str, Row]:
    """Those that there are of these, by id: none of them goes, or is changed, until this transaction ends. Always in
    the same order: two who hold do not wait in a circle."""
    wanted = sorted(set(ids))
    if not wanted:
        return {}
    dialect = tx.database.dialect
    tx.connection.execute(_hold(kind.name, dialect), {"ids": listed(dialect, wanted)}).all()
    return some(tx, kind, wanted)


def zones(tx: Tx, names: Sequence[str]) -> list[GslbZone]:
    """The zones that there are of these names, the longest name first; none goes until this transaction ends."""
    dialect = tx.database.dialect
    ids = tx.connection.execute(_zones(dialect), {"names": listed(dialect, names)}).scalars().all()
    found = cast(dict[str, GslbZone], some(tx, GSLB_ZONE, ids))
    return sorted(found.values(), key=lambda zone: len(zone.name), reverse=True)


def zones_within(tx: Tx, name: str) -> list[GslbZone]:
    """Those within the zone of that name, this one apart."""
    ids = tx.connection.execute(_BELOW, {"below": _below(name)}).scalars().all()
    return list(cast(dict[str, GslbZone], some(tx, GSLB_ZONE, ids)).values())


def names_within(tx: Tx, name: str) -> list[str]:
    """Names of gslbs that are this one, or within it; a few."""
    found = tx.connection.execute(_NAMES, {"name": name, "below": _below(name)})
    return list(found.scalars())


def naming(tx: Tx, kind: Kind, key: str, project_id: str | None = None) -> list[str]:
    """What people know those of the kind by, of the project or of any, whose documents name `key`, an id; a few."""
    given = {"key": f'%"{key}"%', "project": project_id}
    return list(tx.connection.execute(_naming(kind.name, owned=project_id is not None), given).scalars())


def referring(tx: Tx, kind: Kind, column: str, key: str) -> list[str]:
    """The same of those whose column has `key`, on their way out or not."""
    return list(tx.connection.execute(_referring(kind.name, column), {"key": key}).scalars())


def living(tx: Tx) -> list[str]:
    """Ids of all gslbs that nobody has deleted."""
    return list(tx.connection.execute(_LIVING).scalars())


def projects_in(tx: Tx, zone_id: str) -> set[str]:
    """Whose gslbs are in the zone."""
    return set(tx.connection.execute(_PROJECTS, {"zone": zone_id}).scalars())


def write_credentials(tx: Tx, backend_id: str, sealed: bytes) -> None:
    """What is shown to the servers of the backend is this; sealed by whoever writes it."""
    drop_credentials(tx, backend_id)
    tx.connection.execute(GSLB_CREDENTIAL.insert(), {"backend_id": backend_id, "sealed": sealed})


def credentials(tx: Tx, backend_id: str) -> bytes | None:
    """What was written; None: nothing was."""
    return tx.connection.execute(_CREDENTIALS, {"backend": backend_id}).scalar_one_or_none()


def drop_credentials(tx: Tx, backend_id: str) -> None:
    """Nothing is shown to them."""
    tx.connection.execute(_DROP, {"backend": backend_id})


def _below(name: str) -> str:
    """What the names within a zone are like."""
    escaped = name.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"%.{escaped}"


_GSLB = TABLES[GSLB.name].c
_ALIVE = _GSLB.deleted_generation.is_(None)
_LIVING = select(_GSLB.id).where(_ALIVE).order_by(_GSLB.id)
_PROJECTS = select(_GSLB.project_id).where(_GSLB.zone_id == bindparam("zone"), _ALIVE).distinct()
_ZONE = TABLES[GSLB_ZONE.name].c
_LIKE: Any = bindparam("below")
_BELOW = select(_ZONE.id).where(_ZONE.name.like(_LIKE, escape="\\"))
_WITHIN = (_GSLB.fqdn == bindparam("name")) | _GSLB.fqdn.like(_LIKE, escape="\\")
_NAMES = select(_GSLB.fqdn).where(_WITHIN, _ALIVE).order_by(_GSLB.fqdn).limit(NAMED_MAX)
_OF_BACKEND = GSLB_CREDENTIAL.c.backend_id == bindparam("backend")
_CREDENTIALS = select(GSLB_CREDENTIAL.c.sealed).where(_OF_BACKEND)
_DROP = GSLB_CREDENTIAL.delete().where(_OF_BACKEND)


@cache
def _hold(name: str, dialect: str) -> Select[Any]:
    key = TABLES[name].c.id
    return select(key).where(among(dialect, key, "ids")).order_by(key).with_for_update(read=True)


@cache
def _zones(dialect: str) -> Select[Any]:
    return select(_ZONE.id).where(among(dialect, _ZONE.name, "names")).order_by(_ZONE.id).with_for_update(read=True)


@cache
def _naming(name: str, *, owned: bool) -> Select[Any]:
    table = TABLES[name]
    where: list[ColumnElement[bool]] = [as_type(table.c.spec, Text).like(bindparam("key"))]
    if owned:
        where.append(table.c.project_id == bindparam("project"))
    if BY_NAME[name].root:
        where.append(table.c.deleted_generation.is_(None))
    return select(_called(table)).where(*where).order_by(table.c.id).limit(NAMED_MAX)


@cache
def _referring(name: str, column: str) -> Select[Any]:
    table = TABLES[name]
    return select(_called(table)).where(table.c[column] == bindparam("key")).order_by(table.c.id).limit(NAMED_MAX)


def _called(table: Table) -> ColumnElement[str]:
    """What people know a row by."""
    if table.name == GSLB.name:
        return table.c.fqdn
    name: ColumnElement[str] = table.c.name if "name" in table.c else table.c.spec["name"].as_string()
    return func.coalesce(func.nullif(name, ""), table.c.id)
