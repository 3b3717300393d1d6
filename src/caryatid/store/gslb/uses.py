# SPDX-License-Identifier: Apache-2.0
"""Which gslbs use a part, and in which generation of theirs it changed last: a part's status is read off that."""

from collections.abc import Collection, Mapping, Sequence
from functools import cache
from typing import Any

from sqlalchemy import BigInteger, bindparam, delete, func, select, update

from caryatid.model import GSLB, GSLB_POOL
from caryatid.model.gslb.tree import Part
from caryatid.store.database import Tx
from caryatid.store.gslb.tables import GSLB_USE
from caryatid.store.sql import among, listed
from caryatid.store.tables import TABLES


def replace(tx: Tx, gslb_id: str, parts: Collection[Part], generation: int) -> None:
    """These are the parts that the gslb uses; new ones since `generation`."""
    this = {"gslb": gslb_id}
    known: set[Part] = {(row.kind, row.id) for row in tx.connection.execute(_OF, this)}
    gone = [{**this, "of": kind, "key": key} for kind, key in sorted(known - set(parts))]
    new = [
        {"gslb_id": gslb_id, "kind": kind, "id": key, "generation": generation}
        for kind, key in sorted(set(parts) - known)
    ]
    if gone:
        tx.connection.execute(_FORGET, gone)
    if new:
        tx.connection.execute(GSLB_USE.insert(), new)


def changed(tx: Tx, part: Part, generations: Mapping[str, int]) -> None:
    """The part has changed in these generations of the gslbs that use it."""
    kind, key = part
    rows = [{"gslb": gslb_id, "of": kind, "key": key, "asked": number} for gslb_id, number in generations.items()]
    if rows:
        tx.connection.execute(_CHANGE, rows)


def users(tx: Tx, kind: str, ids: Sequence[str]) -> list[str]:
    """The gslbs, those on their way out too, that use any of these, in order."""
    dialect = tx.database.dialect
    return list(tx.connection.execute(_users(dialect), {"of": kind, "ids": listed(dialect, ids)}).scalars())


def speakers(tx: Tx, kind: str, ids: Sequence[str]) -> dict[str, str]:
    """Part → the one of the gslbs that use it that says how it stands: always the same, as long as it is there."""
    dialect = tx.database.dialect
    rows = tx.connection.execute(_speakers(dialect), {"of": kind, "ids": listed(dialect, ids)})
    return {row.id: row.speaker for row in rows}


def users_of_loadbalancers(tx: Tx, ids: Sequence[str]) -> list[str]:
    """The gslbs that use a member which is one of these load balancers, in order."""
    dialect = tx.database.dialect
    return list(tx.connection.execute(_users_of_loadbalancers(dialect), {"ids": listed(dialect, ids)}).scalars())


_THIS = (GSLB_USE.c.gslb_id == bindparam("gslb"), GSLB_USE.c.kind == bindparam("of"), GSLB_USE.c.id == bindparam("key"))
_OF = select(GSLB_USE.c.kind, GSLB_USE.c.id).where(GSLB_USE.c.gslb_id == bindparam("gslb"))
_FORGET = delete(GSLB_USE).where(*_THIS)
_CHANGE = update(GSLB_USE).where(*_THIS).values(generation=bindparam("asked", type_=BigInteger))


@cache
def _users(dialect: str) -> Any:
    found = select(GSLB_USE.c.gslb_id).where(GSLB_USE.c.kind == bindparam("of"), among(dialect, GSLB_USE.c.id, "ids"))
    return found.distinct().order_by(GSLB_USE.c.gslb_id)


@cache
def _speakers(dialect: str) -> Any:
    living = TABLES[GSLB.name]
    these = (GSLB_USE.c.kind == bindparam("of"), among(dialect, GSLB_USE.c.id, "ids"))
    used = GSLB_USE.join(living, living.c.id == GSLB_USE.c.gslb_id)
    found = select(GSLB_USE.c.id, func.min(GSLB_USE.c.gslb_id).label("speaker")).select_from(used)
    return found.where(*these, living.c.deleted_generation.is_(None)).group_by(GSLB_USE.c.id)


@cache
def _users_of_loadbalancers(dialect: str) -> Any:
    member = TABLES["gslb_member"]
    pools = select(member.c.pool_id).where(among(dialect, member.c.loadbalancer_id, "ids"))
    found = select(GSLB_USE.c.gslb_id).where(GSLB_USE.c.kind == GSLB_POOL.name, GSLB_USE.c.id.in_(pools))
    living = TABLES[GSLB.name]
    found = found.join(living, living.c.id == GSLB_USE.c.gslb_id).where(living.c.deleted_generation.is_(None))
    return found.distinct().order_by(GSLB_USE.c.gslb_id)
