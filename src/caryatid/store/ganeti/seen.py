# SPDX-License-Identifier: Apache-2.0
"""How clusters were when they were last asked: one row each."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from sqlalchemy import delete, select

from caryatid.store.database import Tx
from caryatid.store.ganeti.tables import CLUSTER_JOB, CLUSTER_SEEN
from caryatid.store.sql import insert


@dataclass(frozen=True)
class Seen:
    """Times are seconds since the epoch."""

    cluster_id: str
    status: Literal["ONLINE", "ERROR", "OFFLINE"]
    since: float
    """When it became so."""
    reason: str | None = None
    """Why it is not ONLINE, and what helps."""
    answered_at: float | None = None
    """When its RAPI answered last."""
    config_at: float | None = None
    """As of when the configuration of its instances is known."""
    live_at: float | None = None
    """As of when it is known how they run."""
    seen: Mapping[str, Any] = field(default_factory=dict)
    """`software_version`, `answered_at` (ISO 8601, UTC), `master`, `nodes`, `orphans`: what is shown of it."""


_NAMES = tuple(one.name for one in fields(Seen))


def get(tx: Tx, cluster_id: str) -> Seen | None:
    """None: nobody has asked it yet."""
    row = tx.connection.execute(
        select(*(CLUSTER_SEEN.c[name] for name in _NAMES)).where(CLUSTER_SEEN.c.cluster_id == cluster_id)
    ).first()
    return Seen(*row) if row else None


def write(tx: Tx, seen: Seen) -> None:
    """The cluster was so."""
    values = {name: getattr(seen, name) for name in _NAMES} | {"seen": dict(seen.seen)}
    new = insert(tx.database.dialect, CLUSTER_SEEN).values(values)
    tx.connection.execute(new.on_conflict_do_update(index_elements=[CLUSTER_SEEN.c.cluster_id], set_=values))


def forget(tx: Tx, cluster_id: str) -> None:
    """Nothing is known of it, nor of its jobs."""
    tx.connection.execute(delete(CLUSTER_SEEN).where(CLUSTER_SEEN.c.cluster_id == cluster_id))
    tx.connection.execute(delete(CLUSTER_JOB).where(CLUSTER_JOB.c.cluster_id == cluster_id))
