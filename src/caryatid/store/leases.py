# SPDX-License-Identifier: Apache-2.0
"""Duties that one process at a time has: who judges silence, who does the housekeeping."""

from sqlalchemy import delete, or_, select

from . import clock
from .database import Database, Tx
from .sql import insert
from .tables import LEASE


def acquire(database: Database, name: str, holder: str, seconds: float) -> bool:
    """The duty is the holder's for so long, if it was already, or nobody's."""
    with database.transaction() as tx:
        now = clock.now(tx)
        new = insert(database.dialect, LEASE).values(name=name, holder=holder, until=now + seconds)
        free = or_(LEASE.c.holder == holder, LEASE.c.until <= now)
        values = {"holder": holder, "until": now + seconds}
        taken = new.on_conflict_do_update(index_elements=[LEASE.c.name], set_=values, where=free)
        return tx.connection.execute(taken.returning(LEASE.c.name)).first() is not None


def held(tx: Tx, name: str) -> bool:
    """Whether somebody has the duty now."""
    mine = select(LEASE.c.holder).where(LEASE.c.name == name, LEASE.c.until > clock.now(tx))
    return tx.connection.execute(mine).first() is not None


def release(database: Database, name: str, holder: str) -> None:
    """The duty is nobody's, if it was the holder's."""
    with database.transaction() as tx:
        tx.connection.execute(delete(LEASE).where(LEASE.c.name == name, LEASE.c.holder == holder))
