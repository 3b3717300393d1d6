# SPDX-License-Identifier: Apache-2.0
"""Trees: a load balancer and all below it, read at once."""

import json
from collections.abc import Collection, Mapping
from functools import cache
from typing import Any, cast

from sqlalchemy import Select, bindparam, case, null, select

from caryatid.errors import NotFound
from caryatid.model import BY_NAME, LISTENER, LOADBALANCER
from caryatid.model.kind import Kind
from caryatid.model.listener import Listener
from caryatid.model.loadbalancer import LoadBalancer
from caryatid.model.resource import Row
from caryatid.model.tree import NAMES, Rows, Tree, link

from .database import Tx
from .documents import Json
from .rows import in_effect
from .sql import among, listed
from .tables import TABLES, root_column

KIND_OF: dict[str, Kind] = {
    name: next(kind for kind in BY_NAME.values() if kind.model is model) for model, name in NAMES.items()
}
"""The field of model.tree.Rows → its kind; parents come before their children."""
FIELD_OF: dict[str, str] = {kind.name: name for name, kind in KIND_OF.items()}


def load(tx: Tx, root_id: str, *, members: bool = True) -> Tree | None:
    """The tree of the load balancer as it is wanted, without statuses; None: there is none."""
    return load_good(tx, root_id, refused=(), members=members)


def load_good(tx: Tx, root_id: str, *, refused: Collection[str], members: bool = True) -> Tree | None:
    """The same, the rows with the ids of `refused` in the form in which they were last in effect.

    Those that never were, or whose present form is the one that was in effect, are left out.
    """
    row = tx.connection.execute(_root(), {"root": root_id}).first()
    if row is None:
        return None
    loadbalancer = cast(LoadBalancer, _loaded(LOADBALANCER, row[:-2]))
    rows, leaving = _below(tx, root_id, members=members, refused=refused)
    flavor, zone = _profiles(tx, loadbalancer)
    return link(
        loadbalancer, rows, leaving=leaving, generation=row[-2], deleted=row[-1] is not None, flavor=flavor, zone=zone
    )


def rows_of(tx: Tx, root_id: str, *, members: bool = True) -> tuple[LoadBalancer, Rows]:
    """The load balancer and the rows below it, not linked. Raises NotFound."""
    row = tx.connection.execute(_root(), {"root": root_id}).first()
    if row is None:
        raise NotFound(LOADBALANCER.title, root_id)
    rows, _ = _below(tx, root_id, members=members, refused=())
    return cast(LoadBalancer, _loaded(LOADBALANCER, row[:-2])), rows


def _below(tx: Tx, root_id: str, *, members: bool, refused: Collection[str]) -> tuple[Rows, tuple[Listener, ...]]:
    """The rows that are wanted, and the listeners that are leaving."""
    found: dict[str, tuple[Row, ...]] = {}
    leaving: tuple[Listener, ...] = ()
    for name, kind in KIND_OF.items():
        above = FIELD_OF.get(kind.parent_kind or "")
        if (name == "members" and not members) or (above and not found[above]):
            continue
        rows = tx.connection.execute(_children(kind.name), {"root": root_id}).all()
        if kind is LISTENER:
            leaving = tuple(cast(Listener, _loaded(kind, row[:-1])) for row in rows if row[-1] is not None)
        good = _good(tx, kind, refused) if refused else {}
        wanted = (_in_form(kind, row, good) for row in rows if row[-1] is None)
        found[name] = tuple(row for row in wanted if row is not None)
    return Rows(**cast(Any, found)), leaving


def _loaded(kind: Kind, row: Any) -> Row:
    document: Json = row[-1]
    document.update(zip(_names(kind.name), row, strict=False))
    return kind.load(document)


def _in_form(kind: Kind, row: Any, good: Mapping[str, Json | None]) -> Row | None:
    """The row as it is wanted, or in its good form if it was refused; None: it has none."""
    key = row[0]
    if key not in good:
        return _loaded(kind, row[:-1])
    spec = good[key]
    if spec is None:
        return None
    known = dict(zip(_names(kind.name), row, strict=False))
    return kind.load({**known, **spec})


def _good(tx: Tx, kind: Kind, refused: Collection[str]) -> dict[str, Json | None]:
    values = {"ids": listed(tx.database.dialect, refused)}
    return dict(tx.connection.execute(_good_specs(kind.name, tx.database.dialect), values).all())


@cache
def _good_specs(name: str, dialect: str) -> Select[Any]:
    table = TABLES[name]
    spec = case((in_effect(BY_NAME[name], table), null()), else_=table.c.good_spec)
    return select(table.c.id, spec.label("spec")).where(among(dialect, table.c.id, "ids"))


@cache
def _root() -> Select[Any]:
    root = TABLES[LOADBALANCER.name]
    numbers = (root.c.generation, root.c.deleted_generation)
    return _stored(LOADBALANCER.name).add_columns(*numbers).where(root.c.id == bindparam("root"))


@cache
def _names(name: str) -> tuple[str, ...]:
    return ("id", *(attribute.name for attribute in BY_NAME[name].columns))


def _stored(name: str) -> Select[Any]:
    """The values of `_names`, then the spec. No statuses: a tree is what is wanted, and equal while that is."""
    table = TABLES[name]
    return select(*(table.c[column] for column in _names(name)), table.c.spec)


@cache
def _children(name: str) -> Select[Any]:
    table = TABLES[name]
    statement = _stored(name).add_columns(table.c.deleted_generation)
    statement = statement.where(table.c[root_column(BY_NAME[name])] == bindparam("root"))
    if name != LISTENER.name:
        statement = statement.where(table.c.deleted_generation.is_(None))
    return statement.order_by(table.c.created_at, table.c.id)


def _profiles(tx: Tx, row: LoadBalancer) -> tuple[Json, Json]:
    """What the flavor and the availability zone say."""
    flavor = _profile(tx, "flavor", "flavor_profile_id", "flavorprofile", "id", row.flavor_id)
    zones, profiles = "availability_zone", "availability_zone_profile"
    zone = _profile(tx, zones, f"{profiles}_id", profiles, "name", row.availability_zone)
    return _object(flavor, "flavor_data"), _object(zone, "availability_zone_data")


def _profile(tx: Tx, name: str, via: str, profile: str, by: str, key: str | None) -> Json:
    if key is None:
        return {}
    offered, made_of = TABLES[name], TABLES[profile]
    pair = offered.join(made_of, made_of.c.id == offered.c[via])
    found = tx.connection.execute(select(made_of.c.spec).select_from(pair).where(offered.c[by] == key)).scalar()
    return found or {}


def _object(profile: Json, name: str) -> Json:
    return dict(json.loads(profile.get(name, "{}")))
