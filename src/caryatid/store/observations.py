# SPDX-License-Identifier: Apache-2.0
"""What was seen: operating statuses and counters. Never in a row with what is wanted (decision 13)."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import ColumnElement, Select, case, delete, func, select, update

from .database import Tx
from .sql import insert
from .tables import COUNTERS, OBSERVATION, STATISTIC, TABLES

Status = tuple[str, str, str, str]
"""(kind, id, id of the load balancer, operating status)."""


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


def write(tx: Tx, statuses: Sequence[Status], at: float) -> None:
    """These operating statuses were seen at `at` (seconds since the epoch)."""
    if not statuses:
        return
    names = ("kind", "id", "loadbalancer_id", "operating_status")
    # one row once, and always in the same order: two writers do not wait for each other in a circle
    seen = {status[:2]: dict(zip(names, status, strict=True)) | {"seen_at": at} for status in sorted(statuses)}
    statement = insert(tx.database.dialect, OBSERVATION)
    new = statement.excluded
    values = {"operating_status": new.operating_status, "seen_at": new.seen_at}
    keys = [OBSERVATION.c.kind, OBSERVATION.c.id]
    tx.connection.execute(statement.on_conflict_do_update(index_elements=keys, set_=values), list(seen.values()))


def seen(tx: Tx, root_id: str) -> dict[tuple[str, str], tuple[str, float]]:
    """(kind, id) → (operating status, when), of the load balancer and all below it."""
    columns = (OBSERVATION.c.kind, OBSERVATION.c.id, OBSERVATION.c.operating_status, OBSERVATION.c.seen_at)
    rows = tx.connection.execute(select(*columns).where(OBSERVATION.c.loadbalancer_id == root_id))
    return {(row[0], row[1]): (row[2], row[3]) for row in rows}


def write_statistics(tx: Tx, counters: Sequence[Counters]) -> None:
    """The counters stand so; what an earlier life of the process has counted is kept beside."""
    if not counters:
        return
    rows = {(c.listener_id, c.amphora_id): asdict(c) | {f"base_{name}": 0 for name in COUNTERS} for c in counters}
    statement = insert(tx.database.dialect, STATISTIC)
    new, old = statement.excluded, STATISTIC.c
    values: dict[str, Any] = {name: new[name] for name in ("epoch", "active_connections", *COUNTERS)}
    for name in COUNTERS:
        base = old[f"base_{name}"]
        values[f"base_{name}"] = case((old.epoch == new.epoch, base), else_=base + old[name])
    keys = [old.listener_id, old.amphora_id]
    upsert = statement.on_conflict_do_update(index_elements=keys, set_=values)
    tx.connection.execute(upsert, [rows[key] for key in sorted(rows)])


def statistics(
    tx: Tx, *, loadbalancer_id: str | None = None, listener_id: str | None = None, amphora_id: str | None = None
) -> dict[str, int]:
    """The counters of model.quota.Statistics, summed over all that is named and all lives of its processes."""
    where = _named(loadbalancer_id, listener_id, amphora_id)
    row = tx.connection.execute(_summed().where(*where)).mappings().one()
    return {name: int(value or 0) for name, value in row.items()}


def statistics_by_listener(tx: Tx, *, amphora_id: str) -> list[dict[str, Any]]:
    """The same for each listener of an amphora, with listener_id, loadbalancer_id and amphora_id."""
    names = (STATISTIC.c.listener_id, STATISTIC.c.loadbalancer_id, STATISTIC.c.amphora_id)
    statement = _summed().add_columns(*names).where(STATISTIC.c.amphora_id == amphora_id).group_by(*names)
    rows = tx.connection.execute(statement.order_by(STATISTIC.c.listener_id)).mappings()
    texts = {column.name for column in names}
    return [{name: value if name in texts else int(value or 0) for name, value in row.items()} for row in rows]


def amphora_gone(tx: Tx, amphora_id: str) -> None:
    """The amphora has no connections any more; what it has counted stays counted. Nothing is seen of it."""
    gone = update(STATISTIC).where(STATISTIC.c.amphora_id == amphora_id)
    tx.connection.execute(gone.values(active_connections=0))
    seen_of_it = (OBSERVATION.c.kind == "amphora", OBSERVATION.c.id == amphora_id)
    tx.connection.execute(delete(OBSERVATION).where(*seen_of_it))


def purge(tx: Tx) -> int:
    """What was still reported of load balancers after they went is gone; how many rows that were."""
    living = select(TABLES["loadbalancer"].c.id)
    removed = 0
    for table in (OBSERVATION, STATISTIC):
        removed += tx.connection.execute(delete(table).where(table.c.loadbalancer_id.not_in(living))).rowcount
    return removed


def _summed() -> Select[Any]:
    sums = [func.sum(STATISTIC.c[name] + STATISTIC.c[f"base_{name}"]).label(name) for name in COUNTERS]
    return select(*sums, func.sum(STATISTIC.c.active_connections).label("active_connections"))


def _named(
    loadbalancer_id: str | None, listener_id: str | None, amphora_id: str | None
) -> list[ColumnElement[bool]]:
    wanted = {"loadbalancer_id": loadbalancer_id, "listener_id": listener_id, "amphora_id": amphora_id}
    return [STATISTIC.c[name] == value for name, value in wanted.items() if value is not None]
