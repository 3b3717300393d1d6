# SPDX-License-Identifier: Apache-2.0
"""Which amphorae there shall be, and in which generation: what hosts are compared with."""

from typing import NamedTuple

from sqlalchemy import and_, case, func, select

from .database import Tx
from .tables import TABLES, WORK


class AmphoraWanted(NamedTuple):
    """Members as in plan.drift.Expected."""

    host_id: str | None
    loadbalancer_id: str | None
    generation: int
    settled: bool


def amphorae(tx: Tx) -> dict[str, AmphoraWanted]:
    """Every amphora by its id; one query."""
    return {row[0]: AmphoraWanted(row[1], row[2], row[3], bool(row[4])) for row in tx.connection.execute(_WANTED)}


_AMPHORA, _ROOT = TABLES["amphora"], TABLES["loadbalancer"]
_IDLE = and_(
    _AMPHORA.c.status == "ALLOCATED",
    _ROOT.c.deleted_generation.is_(None),
    _ROOT.c.generation == _ROOT.c.observed_generation,
    WORK.c.due_at.is_(None),
    WORK.c.lease_until.is_(None),
)
_WANTED = select(
    _AMPHORA.c.id,
    _AMPHORA.c.compute_id,
    _AMPHORA.c.loadbalancer_id,
    func.coalesce(_ROOT.c.observed_generation, 0),
    case((_IDLE, 1), else_=0),
).select_from(
    _AMPHORA.outerjoin(_ROOT, _ROOT.c.id == _AMPHORA.c.loadbalancer_id).outerjoin(WORK, WORK.c.root_id == _ROOT.c.id)
)
