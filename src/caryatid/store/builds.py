# SPDX-License-Identifier: Apache-2.0
"""How many machines are being built, and who waits for a turn."""

from sqlalchemy import func, select

from . import clock
from .database import Tx
from .tables import TABLES, WORK

_AMPHORA = TABLES["amphora"].c


def under_way(tx: Tx) -> int:
    """Machines that the compute driver has been asked for and that are not there yet."""
    return int(tx.connection.execute(_UNDER_WAY).scalar_one())


def waiting(tx: Tx, *, above: int, within_s: float) -> int:
    """Machines that more urgent work waits for, of roots that are looked at within so many seconds."""
    soon = clock.now(tx) + within_s
    urgent = _WAITING.where(WORK.c.priority > above, WORK.c.due_at <= soon)
    return int(tx.connection.execute(urgent).scalar_one())


_UNDER_WAY = select(func.count()).where(_AMPHORA.status == "BOOTING")
_WAITING = (
    select(func.count())
    .select_from(TABLES["amphora"].join(WORK, WORK.c.root_id == _AMPHORA.loadbalancer_id))
    .where(_AMPHORA.status == "PENDING_CREATE")
)
