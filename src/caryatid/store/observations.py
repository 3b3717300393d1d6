# SPDX-License-Identifier: Apache-2.0
"""What was seen: operating statuses and counters. Never in a row with what is wanted (decision 13)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Float,
    Select,
    case,
    cast,
    delete,
    func,
    literal_column,
    select,
    update,
)

from .database import Tx
from .sql import among, insert, listed
from .tables import COUNTERS, OBSERVATION, STATISTIC, TABLES

Status = tuple[str, str, str, str]
"""(kind, id, id of the load balancer, operating status)."""
STATUS = ("kind", "id", "loadbalancer_id", "operating_status")

HOST, AMPHORA = "host", "amphora"
"""Kinds of which is written whether they are lost; of hosts without a load balancer."""
ROLE = "role"
"""Kind of which is written what VRRP makes of an amphora."""
HEARD = "heard"
"""Kind of which is written when a host was last heard of; the word says nothing."""
OF_HOSTS = (HOST, HEARD)
LOST, FOUND = "ERROR", "ONLINE"


@dataclass(frozen=True, slots=True)
class Counters:
    """What one process of an amphora has counted for a listener since it started (`epoch` names that life of it)."""

    listener_id: str
    amphora_id: str
    loadbalancer_id: str
    epoch: str
    bytes_in: int = 0
    bytes_out: int = 0
    active_connections: int = 0
    total_connections: int = 0
    request_errors: int = 0


COUNTED = tuple(field.name for field in fields(Counters))
COUNT_MAX = (1 << 63) - 1
"""What a column holds: sums stay there rather than fail, whatever a host may have counted."""


def write(tx: Tx, statuses: Sequence[Status], at: float) -> None:
    """These operating statuses were seen at `at` (seconds since the epoch)."""
    if not statuses:
        return
    # one row once, and always in the same order: two writers do not wait for each other in a circle
    seen = {status[:2]: dict(zip(STATUS, status, strict=True)) | {"seen_at": at} for status in sorted(statuses)}
    tx.connection.execute(_upsert_status(tx.database.dialect), list(seen.values()))


def write_heard(tx: Tx, hosts: Mapping[str, float]) -> None:
    """The hosts were heard of then (seconds since the epoch), or later, by somebody else's word."""
    if hosts:
        found = [{"kind": HEARD, "id": host, "seen_at": at, **_NO_WORD} for host, at in sorted(hosts.items())]
        tx.connection.execute(_upsert_heard(tx.database.dialect), found)


def last_heard(root: ColumnElement[str]) -> ColumnElement[float]:
    """When a host that carries an amphora of the load balancer was heard of last; null: never."""
    amphora = TABLES["amphora"].alias("carrier")
    there = (
        OBSERVATION.c.kind == literal_column(f"'{HEARD}'"),
        OBSERVATION.c.id == amphora.c.compute_id,
        amphora.c.loadbalancer_id == root,
    )
    return select(func.max(OBSERVATION.c.seen_at)).where(*there).correlate(root.table).scalar_subquery()


def host_heard(host: ColumnElement[str]) -> ColumnElement[float]:
    """When the host was last heard of; null: never."""
    there = (OBSERVATION.c.kind == literal_column(f"'{HEARD}'"), OBSERVATION.c.id == host)
    return select(OBSERVATION.c.seen_at).where(*there).correlate(host.table).scalar_subquery()


def seen(tx: Tx, root_ids: Sequence[str]) -> dict[str, dict[tuple[str, str], tuple[str, float]]]:
    """For each of these load balancers (kind, id) → (operating status, when), of itself and all below it, amphorae
    apart."""
    found: dict[str, dict[tuple[str, str], tuple[str, float]]] = {root: {} for root in root_ids}
    if root_ids:
        dialect = tx.database.dialect
        for root, kind, key, status, at in tx.connection.execute(_seen(dialect), {"roots": listed(dialect, root_ids)}):
            found[root][kind, key] = status, at
    return found


@cache
def _seen(dialect: str) -> Select[Any]:
    table = OBSERVATION.c
    columns = (table.loadbalancer_id, table.kind, table.id, table.operating_status, table.seen_at)
    return select(*columns).where(among(dialect, table.loadbalancer_id, "roots"), table.kind.not_in((AMPHORA, ROLE)))


def lost_hosts(tx: Tx) -> frozenset[str]:
    """Hosts that are known to be dead: what runs there no longer counts."""
    return frozenset(key for key, (word, _) in standing(tx, HOST).items() if word == LOST)


def lost_amphorae(tx: Tx, root_id: str | None = None) -> frozenset[str]:
    """Amphorae (of the load balancer, or all) that their hosts could not start again."""
    mine = () if root_id is None else (OBSERVATION.c.loadbalancer_id == root_id,)
    return frozenset(key for key, (word, _) in standing(tx, AMPHORA, *mine).items() if word == LOST)


def roles(tx: Tx, root_id: str) -> dict[str, str]:
    """Amphora of the load balancer → what VRRP was last seen to make of it."""
    return {key: word for key, (word, _) in standing(tx, ROLE, OBSERVATION.c.loadbalancer_id == root_id).items()}


def roles_of(tx: Tx, amphora_ids: Sequence[str]) -> dict[str, str]:
    """The same of these amphorae."""
    found = standing(tx, ROLE, OBSERVATION.c.id.in_(amphora_ids)) if amphora_ids else {}
    return {key: word for key, (word, _) in found.items()}


def standing(tx: Tx, kind: str, *where: ColumnElement[bool]) -> dict[str, tuple[str, float]]:
    """Those of the kind → what was seen of each, and when."""
    columns = (OBSERVATION.c.id, OBSERVATION.c.operating_status, OBSERVATION.c.seen_at)
    found = tx.connection.execute(select(*columns).where(OBSERVATION.c.kind == kind, *where))
    return {row[0]: (row[1], row[2]) for row in found}


def write_statistics(tx: Tx, counters: Sequence[Counters]) -> None:
    """The counters stand so; what an earlier life of the process has counted is kept beside.

    Of several lives of one process the earlier comes first.
    """
    if not counters:
        return
    lives = {(c.listener_id, c.amphora_id, c.epoch): c for c in counters}
    # always in the same order, as in `write`; the sort is stable, so lives stay in theirs
    rows = [_row(c) for c in sorted(lives.values(), key=lambda c: (c.listener_id, c.amphora_id))]
    tx.connection.execute(_upsert_counters(tx.database.dialect), rows)


def _row(counters: Counters) -> dict[str, Any]:
    """Not `asdict`, which copies deeply: half the cost of writing a row."""
    return {name: getattr(counters, name) for name in COUNTED}


@cache
def _upsert_status(dialect: str) -> Any:
    statement = insert(dialect, OBSERVATION)
    values = {name: statement.excluded[name] for name in ("operating_status", "seen_at")}
    return statement.on_conflict_do_update(index_elements=[OBSERVATION.c.kind, OBSERVATION.c.id], set_=values)


@cache
def _upsert_heard(dialect: str) -> Any:
    """The later word stays: there may be several receivers."""
    statement = insert(dialect, OBSERVATION)
    new, old = statement.excluded.seen_at, OBSERVATION.c.seen_at
    later = case((new > old, new), else_=old)
    return statement.on_conflict_do_update(
        index_elements=[OBSERVATION.c.kind, OBSERVATION.c.id], set_={"seen_at": later}
    )


@cache
def _upsert_counters(dialect: str) -> Any:
    """Kept: to make it costs as much as to write a hundred rows."""
    statement = insert(dialect, STATISTIC).values({f"base_{name}": literal_column("0") for name in COUNTERS})
    new, old = statement.excluded, STATISTIC.c
    values: dict[str, Any] = {name: new[name] for name in ("epoch", "active_connections", *COUNTERS)}
    for name in COUNTERS:
        base = old[f"base_{name}"]
        full = base > literal_column(str(COUNT_MAX)) - old[name]
        values[f"base_{name}"] = case(
            (old.epoch == new.epoch, base), (full, literal_column(str(COUNT_MAX))), else_=base + old[name]
        )
    return statement.on_conflict_do_update(index_elements=[old.listener_id, old.amphora_id], set_=values)


def statistics(
    tx: Tx, *, loadbalancer_id: str | None = None, listener_id: str | None = None, amphora_id: str | None = None
) -> dict[str, int]:
    """The counters of model.quota.Statistics, summed over all that is named and all lives of its processes."""
    where = _named(loadbalancer_id, listener_id, amphora_id)
    row = tx.connection.execute(_summed().where(*where)).mappings().one()
    return {name: _whole(value) for name, value in row.items()}


def statistics_by_listener(tx: Tx, *, amphora_id: str) -> list[dict[str, Any]]:
    """The same for each listener of an amphora, with listener_id, loadbalancer_id and amphora_id."""
    names = (STATISTIC.c.listener_id, STATISTIC.c.loadbalancer_id, STATISTIC.c.amphora_id)
    statement = _summed().add_columns(*names).where(STATISTIC.c.amphora_id == amphora_id).group_by(*names)
    rows = tx.connection.execute(statement.order_by(STATISTIC.c.listener_id)).mappings()
    texts = {column.name for column in names}
    return [{name: value if name in texts else _whole(value) for name, value in row.items()} for row in rows]


def amphora_gone(tx: Tx, amphora_id: str) -> None:
    """The amphora has no connections any more; what it has counted stays counted. Nothing is seen of it."""
    gone = update(STATISTIC).where(STATISTIC.c.amphora_id == amphora_id)
    tx.connection.execute(gone.values(active_connections=0))
    seen_of_it = (OBSERVATION.c.kind.in_((AMPHORA, ROLE)), OBSERVATION.c.id == amphora_id)
    tx.connection.execute(delete(OBSERVATION).where(*seen_of_it))


def purge(tx: Tx) -> int:
    """What was still reported of load balancers and hosts after they went is gone; how many rows that were."""
    living, hosts = select(TABLES["loadbalancer"].c.id), select(TABLES["host"].c.id)
    is_host = OBSERVATION.c.kind.in_(OF_HOSTS)
    gone = (
        delete(OBSERVATION).where(~is_host, OBSERVATION.c.loadbalancer_id.not_in(living)),
        delete(OBSERVATION).where(is_host, OBSERVATION.c.id.not_in(hosts)),
        delete(STATISTIC).where(STATISTIC.c.loadbalancer_id.not_in(living)),
    )
    return sum(tx.connection.execute(statement).rowcount for statement in gone)


_NO_WORD = {"loadbalancer_id": "", "operating_status": ""}


def _whole(total: float | None) -> int:
    return min(int(total or 0), COUNT_MAX)


def _summed() -> Select[Any]:
    """In floating point, which is exact up to 2**53 and has no end: sums of integers may fail."""
    sums: list[ColumnElement[Any]] = [func.sum(_real(name) + _real(f"base_{name}")).label(name) for name in COUNTERS]
    return select(*sums, func.sum(_real("active_connections")).label("active_connections"))


def _real(name: str) -> ColumnElement[float]:
    return cast(STATISTIC.c[name], Float(53))


def _named(loadbalancer_id: str | None, listener_id: str | None, amphora_id: str | None) -> list[ColumnElement[bool]]:
    wanted = {"loadbalancer_id": loadbalancer_id, "listener_id": listener_id, "amphora_id": amphora_id}
    return [STATISTIC.c[name] == value for name, value in wanted.items() if value is not None]
