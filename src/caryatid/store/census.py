# SPDX-License-Identifier: Apache-2.0
"""How much there is of what an operator watches, counted now."""

from sqlalchemy import BigInteger, case, func, literal_column, select

from caryatid.model import AMPHORA, CLUSTER

from . import clock
from .database import POSTGRESQL, Tx
from .ganeti.tables import CLUSTER_SEEN, MACHINE
from .overview import statuses
from .tables import EVENT, JOB, TABLES, WORK

Counts = dict[tuple[str, ...], float]
"""By the values of labels."""


def loadbalancers(tx: Tx) -> Counts:
    """By provisioning and operating status."""
    status = statuses().subquery()
    labels = (status.c.provisioning_status, status.c.operating_status)
    rows = tx.connection.execute(select(*labels, func.count()).group_by(*labels))
    return {(row[0], row[1]): row[2] for row in rows}


def amphorae(tx: Tx) -> Counts:
    """By status."""
    status = TABLES[AMPHORA.name].c.status
    return {(row[0],): row[1] for row in tx.connection.execute(select(status, func.count()).group_by(status))}


def work(tx: Tx) -> tuple[int, float, int]:
    """How many roots are due and nobody's, for how long the first of them has been, and how many are somebody's."""
    now = clock.now(tx)
    held = func.coalesce(WORK.c.lease_until, 0.0) > now
    due = (WORK.c.due_at <= now) & ~held
    counted = select(
        func.sum(case((due, 1), else_=0)), func.min(case((due, WORK.c.due_at))), func.sum(case((held, 1), else_=0))
    )
    row = tx.connection.execute(counted).one()
    return int(row[0] or 0), max(0.0, now - float(row[1])) if row[1] is not None else 0.0, int(row[2] or 0)


def jobs(tx: Tx) -> Counts:
    """Those that have not ended, by state, as one job's is told."""
    now = clock.now(tx)
    state = case((WORK.c.lease_until > now, "running"), (WORK.c.tries > 0, "retrying"), else_="queued").label("state")
    opened = select(state).select_from(JOB.outerjoin(WORK, WORK.c.root_id == JOB.c.root_id))
    open_ = opened.where(JOB.c.ended_at.is_(None)).subquery()
    rows = tx.connection.execute(select(open_.c.state, func.count()).group_by(open_.c.state))
    return {("queued",): 0, ("running",): 0, ("retrying",): 0} | {(row[0],): row[1] for row in rows}


def machines(tx: Tx) -> Counts:
    """By cluster and phase."""
    cluster = TABLES[CLUSTER.name]
    labels = (cluster.c.name, MACHINE.c.phase)
    counted = select(*labels, func.count()).select_from(MACHINE.join(cluster, cluster.c.id == MACHINE.c.cluster_id))
    return {(row[0], row[1]): row[2] for row in tx.connection.execute(counted.group_by(*labels))}


def clusters_silent_s(tx: Tx) -> Counts:
    """Seconds since each cluster has answered; of one that never has, since it was first asked."""
    cluster, now = TABLES[CLUSTER.name], clock.now(tx)
    at = func.coalesce(CLUSTER_SEEN.c.answered_at, CLUSTER_SEEN.c.since)
    known = cluster.join(CLUSTER_SEEN, CLUSTER_SEEN.c.cluster_id == cluster.c.id)
    rows = tx.connection.execute(select(cluster.c.name, at).select_from(known))
    return {(row[0],): max(0.0, now - row[1]) for row in rows}


def events_held_s(tx: Tx) -> float:
    """Age of the oldest event that cannot be shown yet; 0: every one can."""
    if tx.database.dialect != POSTGRESQL:
        return 0.0
    oldest = literal_column("pg_snapshot_xmin(pg_current_snapshot())::text::bigint", BigInteger)
    at = tx.connection.execute(select(func.min(EVENT.c.at)).where(EVENT.c.xid >= oldest)).scalar()
    return max(0.0, clock.now(tx) - clock.epoch_s(at)) if at else 0.0
