# SPDX-License-Identifier: Apache-2.0
"""Which listener has a port of an address that load balancers share. One has it at a time, until it is gone."""

from collections.abc import Iterable
from typing import NamedTuple

from sqlalchemy import delete, select

from .database import Tx
from .sql import insert
from .tables import BINDING


class Place(NamedTuple):
    """Where a listener listens. `protocol`: the one below, TCP or UDP or SCTP."""

    address: str
    port: int
    protocol: str


def holder(tx: Tx, place: Place) -> str | None:
    """The load balancer whose listener has the place; None: it is free."""
    same = [BINDING.c[name] == value for name, value in place._asdict().items()]
    return tx.connection.execute(select(BINDING.c.loadbalancer_id).where(*same)).scalar()


def bind(tx: Tx, place: Place, listener_id: str, root_id: str) -> bool:
    """The listener has the place, which may have been that of another listener of its load balancer. False: another
    load balancer has it."""
    own = {"listener_id": listener_id, "loadbalancer_id": root_id}
    statement = insert(tx.database.dialect, BINDING).values(**place._asdict(), **own)
    mine = BINDING.c.loadbalancer_id == root_id
    taken = statement.on_conflict_do_update(index_elements=list(place._fields), set_=own, where=mine)
    return tx.connection.execute(taken.returning(BINDING.c.listener_id)).first() is not None


def release(tx: Tx, root_id: str) -> None:
    """The load balancer's listeners have no places."""
    tx.connection.execute(delete(BINDING).where(BINDING.c.loadbalancer_id == root_id))


def held_by(tx: Tx, root_id: str) -> Iterable[Place]:
    """The places of a load balancer's listeners."""
    columns = [BINDING.c[name] for name in Place._fields]
    return [Place(*row) for row in tx.connection.execute(select(*columns).where(BINDING.c.loadbalancer_id == root_id))]
