# SPDX-License-Identifier: Apache-2.0
"""Gslbs with all that they use, many at once, in as many statements as there are kinds."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, cast

from sqlalchemy import Select, func, select

from caryatid.model import (
    BY_NAME,
    GSLB,
    GSLB_BACKEND,
    GSLB_GEOMAP,
    GSLB_MEMBER,
    GSLB_MONITOR,
    GSLB_POOL,
    GSLB_REGION,
    GSLB_ZONE,
)
from caryatid.model.gslb.gslb import Gslb
from caryatid.model.gslb.member import GslbMember
from caryatid.model.gslb.place import GslbGeomap, GslbRegion
from caryatid.model.gslb.tree import GslbTree, pools_of
from caryatid.model.kind import Kind
from caryatid.model.resource import Row
from caryatid.store.database import Tx
from caryatid.store.sql import among, listed
from caryatid.store.tables import TABLES


def load(tx: Tx, ids: Sequence[str]) -> list[GslbTree]:
    """The gslbs that there are of these, as they are wanted, without statuses."""
    found = _numbered(tx, ids)
    gslbs = [cast(Gslb, gslb) for gslb, *_ in found]
    geomaps = cast(dict[str, GslbGeomap], some(tx, GSLB_GEOMAP, _named(gslb.geomap_id for gslb in gslbs)))
    wanted = {gslb.id: list(pools_of(gslb, geomaps.get(gslb.geomap_id or ""))) for gslb in gslbs}
    pools: dict[str, Any] = some(tx, GSLB_POOL, _named(key for ids in wanted.values() for key in ids))
    members: dict[str, list[GslbMember]] = {}
    for member in _rows(tx, GSLB_MEMBER, "pool_id", list(pools)):
        members.setdefault(cast(GslbMember, member).pool_id, []).append(cast(GslbMember, member))
    monitors: dict[str, Any] = some(
        tx, GSLB_MONITOR, _named(use.monitor_id for pool in pools.values() for use in pool.monitors)
    )
    zones: dict[str, Any] = some(tx, GSLB_ZONE, _named(gslb.zone_id for gslb in gslbs))
    backends: dict[str, Any] = some(tx, GSLB_BACKEND, _named(zone.backend_id for zone in zones.values()))
    trees = []
    for gslb, (_, generation, observed, deleted) in zip(gslbs, found, strict=True):
        own = {key: pools[key] for key in wanted[gslb.id] if key in pools}
        zone = zones.get(gslb.zone_id or "")
        tree = GslbTree(
            gslb,
            generation,
            observed,
            deleted is not None,
            zone,
            backends.get(zone.backend_id) if zone else None,
            geomaps.get(gslb.geomap_id or ""),
            own,
            {key: members.get(key, []) for key in own},
            {
                use.monitor_id: monitors[use.monitor_id]
                for pool in own.values()
                for use in pool.monitors
                if use.monitor_id in monitors
            },
        )
        trees.append(tree)
    return trees


def regions(tx: Tx) -> list[GslbRegion]:
    """All regions, by name."""
    return sorted(cast(list[GslbRegion], every(tx, GSLB_REGION)), key=lambda region: region.name)


def every(tx: Tx, kind: Kind) -> list[Row]:
    """All of the kind."""
    return [_loaded(kind, row) for row in tx.connection.execute(_stored(kind.name))]


@dataclass(frozen=True, slots=True)
class Name:
    """A gslb, living or being deleted."""

    gslb_id: str
    fqdn: str
    zone_id: str | None
    deleted: bool


def namesakes(tx: Tx, fqdns: Sequence[str]) -> list[Name]:
    """All gslbs of these names."""
    if not fqdns:
        return []
    dialect = tx.database.dialect
    return [Name(*row) for row in tx.connection.execute(_namesakes(dialect), {"ids": listed(dialect, fqdns)})]


def in_zones(tx: Tx, zone_ids: Sequence[str]) -> list[Name]:
    """All gslbs whose names are in these zones."""
    dialect = tx.database.dialect
    return [Name(*row) for row in tx.connection.execute(_in_zones(dialect), {"ids": listed(dialect, zone_ids)})]


def count_members(tx: Tx) -> int:
    """How many there are."""
    return int(tx.connection.execute(_MEMBERS).scalar_one())


def some(tx: Tx, kind: Kind, ids: Sequence[str]) -> dict[str, Row]:
    """Those that there are of these, by id, as they are wanted."""
    return {row.id: row for row in _rows(tx, kind, "id", ids)} if ids else {}


def members_of(tx: Tx, pool_ids: Sequence[str]) -> list[GslbMember]:
    """Those of these pools, oldest first."""
    return cast(list[GslbMember], _rows(tx, GSLB_MEMBER, "pool_id", pool_ids))


def _named(ids: Iterable[str | None]) -> list[str]:
    return list(dict.fromkeys(key for key in ids if key is not None))


def _numbered(tx: Tx, ids: Sequence[str]) -> list[tuple[Row, int, int, int | None]]:
    """Each with its generation, the observed one, and the one in which it was deleted."""
    dialect = tx.database.dialect
    rows = tx.connection.execute(_gslbs(dialect), {"ids": listed(dialect, ids)})
    return [(_loaded(GSLB, row[3:]), row[0], row[1], row[2]) for row in rows]


def _rows(tx: Tx, kind: Kind, column: str, ids: Sequence[str]) -> list[Row]:
    if not ids:
        return []
    dialect = tx.database.dialect
    found = tx.connection.execute(_among(kind.name, column, dialect), {"ids": listed(dialect, ids)})
    return [_loaded(kind, row) for row in found]


def _loaded(kind: Kind, row: Any) -> Row:
    document: dict[str, Any] = row[-1]
    document.update(zip(_names(kind.name), row, strict=False))
    return kind.load(document)


_GSLB = TABLES[GSLB.name]
_NAME = select(_GSLB.c.id, _GSLB.c.fqdn, _GSLB.c.zone_id, _GSLB.c.deleted_generation.is_not(None))
_MEMBERS = select(func.count()).select_from(TABLES[GSLB_MEMBER.name])


@cache
def _namesakes(dialect: str) -> Any:
    return _NAME.where(among(dialect, _GSLB.c.fqdn, "ids"))


@cache
def _in_zones(dialect: str) -> Any:
    return _NAME.where(among(dialect, _GSLB.c.zone_id, "ids"))


@cache
def _names(name: str) -> tuple[str, ...]:
    return ("id", *(attribute.name for attribute in BY_NAME[name].columns))


@cache
def _stored(name: str) -> Select[Any]:
    """The values of `_names`, then the spec."""
    table = TABLES[name]
    return select(*(table.c[column] for column in _names(name)), table.c.spec)


@cache
def _among(name: str, column: str, dialect: str) -> Select[Any]:
    table = TABLES[name]
    return _stored(name).where(among(dialect, table.c[column], "ids")).order_by(table.c.created_at, table.c.id)


@cache
def _gslbs(dialect: str) -> Select[Any]:
    table = TABLES[GSLB.name]
    stored = _among(GSLB.name, "id", dialect)
    numbers = (table.c.generation, table.c.observed_generation, table.c.deleted_generation)
    return stored.with_only_columns(*numbers, *stored.selected_columns)
