# SPDX-License-Identifier: Apache-2.0
"""Documents as readers get them: defaults, what is stored, columns, statuses and the ids of those that refer here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from sqlalchemy import ColumnElement, FromClause, Select, Table, and_, func, literal_column, select, union_all

from caryatid.model import (
    AMPHORA,
    BY_NAME,
    CLUSTER,
    GSLB,
    GSLB_KINDS,
    GSLB_MEMBER,
    GSLB_MONITOR,
    GSLB_POOL,
    GSLB_REGION,
    HOST,
    SUBSCRIPTION,
)
from caryatid.model.field import Back
from caryatid.model.kind import Kind

from . import status
from .ganeti.tables import CLUSTER_SEEN, MACHINE
from .gslb.tables import GSLB_CHECKER, GSLB_STATE, GSLB_STATUS
from .sql import listing
from .tables import OBSERVATION, PROGRESS, SUBSCRIPTION_STATE, TABLES, root_column

Json = dict[str, Any]


@dataclass(frozen=True)
class Reading:
    """How the rows of a kind are read: `select` yields the values of `names`, then the spec."""

    kind: Kind
    table: Table
    select: Select[Any]
    names: tuple[str, ...]
    values: Mapping[str, ColumnElement[Any]]
    """What each of `names` is."""
    defaults: Json
    """Of the attributes that are not in `names`: an older spec may lack them."""

    def document(self, row: Sequence[Any]) -> Json:
        """The document of a row that `select` gave."""
        found: Json = self.defaults | row[-1]
        found.update(zip(self.names, row, strict=False))
        return found


@cache
def reading(name: str, dialect: str) -> Reading:
    kind = BY_NAME[name]
    table = TABLES[name]
    values: dict[str, ColumnElement[Any]] = {"id": table.c.id}
    values |= {a.name: table.c[a.name] for a in kind.columns}
    source: FromClause = table
    if kind.root:
        root: FromClause = table if kind.is_root else TABLES[kind.root]
        source = table if kind.is_root else table.join(root, root.c.id == table.c[root_column(kind)])
        source, statuses = _with_statuses(kind, table, root, source)
        values |= statuses
    if kind in GSLB_KINDS:
        source, found = _with_votes(kind, table, source)
        values |= found
    if kind is HOST:
        source, carried = _with_use(table)
        values |= carried
    if kind is CLUSTER:
        source, seen = _with_machines(table)
        values |= seen
    if kind is AMPHORA:
        host = TABLES[HOST.name]
        source = table.outerjoin(host, host.c.id == table.c.compute_id)
        values["cert_expiration"] = host.c.spec["certificate_expiration"].as_string()
    if kind is SUBSCRIPTION:
        source = table.join(SUBSCRIPTION_STATE, SUBSCRIPTION_STATE.c.subscription_id == table.c.id)
        values |= {name: SUBSCRIPTION_STATE.c[name] for name in PROGRESS}
    values |= {a.name: _back(kind, a.name, a.back, dialect) for a in kind if a.back}
    names = tuple(values)
    statement = select(*(values[name].label(name) for name in names), table.c.spec).select_from(source)
    defaults = {name: default for name, default in kind.defaults.items() if name not in values}
    return Reading(kind, table, statement, names, values, defaults)


def _with_statuses(
    kind: Kind, table: Table, root: FromClause, source: FromClause
) -> tuple[FromClause, dict[str, ColumnElement[Any]]]:
    provisioning = status.provisioning(table, root)
    own = (GSLB_STATUS if kind is GSLB else OBSERVATION).alias("own")
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


def _with_votes(kind: Kind, table: Table, source: FromClause) -> tuple[FromClause, dict[str, ColumnElement[Any]]]:
    """What was decided about those that are read, and from where they are seen."""
    values: dict[str, ColumnElement[Any]] = {}
    if kind is GSLB:
        source = source.outerjoin(GSLB_STATE, GSLB_STATE.c.gslb_id == table.c.id)
        values["published_generation"] = func.coalesce(GSLB_STATE.c.generation, 0)
        values["published_at"] = GSLB_STATE.c.published_at
    if kind in {GSLB_POOL, GSLB_MEMBER, GSLB_MONITOR}:
        values["provisioning_status"] = status.used(kind, table)
    if kind in {GSLB_POOL, GSLB_MEMBER}:
        own = GSLB_STATUS.alias("own")
        source = source.outerjoin(own, _observes(own, kind.name, table.c.id))
        values["operating_status"] = status.decided(table, own.c.operating_status)
    if kind is GSLB_MEMBER:
        values["status_reason"] = own.c.reason
    if kind is GSLB_REGION:
        checker = GSLB_CHECKER.c
        here = checker.region_id == table.c.id
        values["checkers"] = select(func.count()).where(here).correlate(table).scalar_subquery()
        values["seen_at"] = select(func.max(checker.seen_at)).where(here).correlate(table).scalar_subquery()
    return source, values


def _with_use(host: Table) -> tuple[FromClause, dict[str, ColumnElement[Any]]]:
    """What each host that is read carries, and whether it is heard of."""
    carrier = TABLES["amphora"].c.compute_id
    carried = select(func.count()).where(carrier == host.c.id).correlate(host)
    own = OBSERVATION.alias("own")
    return host.outerjoin(own, _observes(own, HOST.name, host.c.id)), {
        "used": carried.scalar_subquery(),
        "operating_status": func.coalesce(own.c.operating_status, status.OFFLINE),
    }


def _with_machines(cluster: Table) -> tuple[FromClause, dict[str, ColumnElement[Any]]]:
    """How each cluster that is read was when it was last asked, and how many machines of ours are there."""
    seen = CLUSTER_SEEN.c
    machines = select(func.count()).where(MACHINE.c.cluster_id == cluster.c.id).correlate(cluster)
    return cluster.outerjoin(CLUSTER_SEEN, seen.cluster_id == cluster.c.id), {
        "operating_status": func.coalesce(seen.status, status.OFFLINE),
        "status_reason": seen.reason,
        "software_version": seen.seen["software_version"].as_string(),
        "machines": machines.scalar_subquery(),
        "seen_at": seen.seen["answered_at"].as_string(),
    }


def _observes(observation: FromClause, kind: str, key: ColumnElement[Any]) -> ColumnElement[bool]:
    return and_(observation.c.kind == literal_column(f"'{kind}'"), observation.c.id == key)


def shaped(kind: Kind, rows: Sequence[Sequence[Any]], dialect: str) -> list[Json]:
    """The documents of rows that the kind's `select` gave."""
    read = reading(kind.name, dialect)
    return [read.document(row) for row in rows]


def _back(kind: Kind, name: str, back: Back, dialect: str) -> ColumnElement[Any]:
    """The ids of those that refer to a row, oldest first (or the oldest); those being deleted are still there."""
    table = TABLES[kind.name]
    source = TABLES[back.kind].alias(name)
    found = select(source.c.id).order_by(source.c.created_at, source.c.id).correlate(table)
    if (kind.name, name) == ("pool", "listeners"):
        found = found.where(source.c.id.in_(_listeners_of(table)))
    else:
        found = found.where(source.c[back.via] == table.c.id)
    return found.limit(1).scalar_subquery() if back.one else listing(dialect, found)


def _listeners_of(pool: Table) -> Any:
    """The ids of listeners that send to the pool by default, and by an L7 policy."""
    listener, policy = TABLES["listener"], TABLES["l7policy"]
    default = select(listener.c.id).where(listener.c.default_pool_id == pool.c.id)
    redirects = select(policy.c.listener_id).where(policy.c.redirect_pool_id == pool.c.id)
    redirects = redirects.where(policy.c.deleted_generation.is_(None))
    return union_all(default.correlate(pool), redirects.correlate(pool))
