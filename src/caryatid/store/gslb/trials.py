# SPDX-License-Identifier: Apache-2.0
"""Dry runs: asked for in one process, handed out by another, answered by a third."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import delete, insert, select, update

from caryatid.store import clock, wake
from caryatid.store.database import Tx
from caryatid.store.gslb.tables import GSLB_TRIAL
from caryatid.store.sql import among, listed

Json = Mapping[str, Any]
ASKED: Final = "trials"
"""Channel: dry runs are asked for."""
TRIED: Final = "tried"
"""Channel: something has come of one."""
AT_ONCE: Final = 20


def ask(tx: Tx, wanted: Mapping[str, tuple[str, Json]], wait_s: float) -> None:
    """Id → region and check, each to be tried there within `wait_s` seconds."""
    until = clock.now(tx) + wait_s
    rows = [
        {"id": key, "region_id": region_id, "wanted": dict(check), "until": until}
        for key, (region_id, check) in wanted.items()
    ]
    if rows:
        tx.connection.execute(insert(GSLB_TRIAL), rows)
        wake.notify(tx, ASKED)


def any_for(tx: Tx, region_id: str) -> bool:
    """Whether somebody waits for one in the region that nobody makes yet."""
    waiting = select(GSLB_TRIAL.c.id).where(*_open(tx, region_id)).limit(1)
    return tx.connection.execute(waiting).first() is not None


def hand_out(tx: Tx, region_id: str, checker: str) -> dict[str, Json]:
    """Id → check of those that the checker makes now, and nobody else."""
    chosen = select(GSLB_TRIAL.c.id).where(*_open(tx, region_id)).order_by(GSLB_TRIAL.c.id).limit(AT_ONCE)
    ids = list(tx.connection.execute(chosen.with_for_update(skip_locked=True)).scalars())
    if not ids:
        return {}
    dialect = tx.database.dialect
    mine = update(GSLB_TRIAL).where(among(dialect, GSLB_TRIAL.c.id, "ids"), GSLB_TRIAL.c.checker.is_(None))
    taken = mine.values(checker=checker).returning(GSLB_TRIAL.c.id, GSLB_TRIAL.c.wanted)
    return {row.id: row.wanted for row in tx.connection.execute(taken, {"ids": listed(dialect, ids)})}


def keep(tx: Tx, region_id: str, tried: Mapping[str, Json]) -> None:
    """What came of these, which were the region's to make."""
    for key, found in tried.items():
        mine = update(GSLB_TRIAL).where(GSLB_TRIAL.c.id == key, GSLB_TRIAL.c.region_id == region_id)
        tx.connection.execute(mine.values(tried=dict(found)))
    if tried:
        wake.notify(tx, TRIED)


def found(tx: Tx, ids: Sequence[str]) -> dict[str, Json]:
    """Id → what came of it; those of which nothing has come are not in it."""
    dialect = tx.database.dialect
    those = select(GSLB_TRIAL.c.id, GSLB_TRIAL.c.tried).where(among(dialect, GSLB_TRIAL.c.id, "ids"))
    rows = tx.connection.execute(those.where(GSLB_TRIAL.c.tried.is_not(None)), {"ids": listed(dialect, ids)})
    return {row.id: row.tried for row in rows}


def forget(tx: Tx, ids: Sequence[str]) -> None:
    """Nobody waits for these."""
    dialect = tx.database.dialect
    tx.connection.execute(
        delete(GSLB_TRIAL).where(among(dialect, GSLB_TRIAL.c.id, "ids")), {"ids": listed(dialect, ids)}
    )


def purge(tx: Tx) -> int:
    """Those that nobody waits for any more are gone; how many they were."""
    return tx.connection.execute(delete(GSLB_TRIAL).where(GSLB_TRIAL.c.until < clock.now(tx))).rowcount


def _open(tx: Tx, region_id: str) -> tuple[Any, ...]:
    alive = GSLB_TRIAL.c.until > clock.now(tx)
    return (GSLB_TRIAL.c.region_id == region_id, GSLB_TRIAL.c.checker.is_(None), alive)
