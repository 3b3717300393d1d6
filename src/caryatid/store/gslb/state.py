# SPDX-License-Identifier: Apache-2.0
"""What the engine remembers of gslbs, what name servers have been told, and how everything was last decided to be."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, Final

from sqlalchemy import BigInteger, and_, bindparam, case, delete, select, update

from caryatid.store.database import Tx
from caryatid.store.gslb.tables import GSLB_STATE, GSLB_STATUS
from caryatid.store.sql import among, insert, listed

Json = Mapping[str, Any]
GUARD: Final = "guard"
"""Kind of what is remembered of members that went out of answers, or were kept in them, without agreeing evidence."""
GONE: Final = "GONE"
KEPT: Final = "KEPT"
"""What is remembered of them."""


@dataclass(frozen=True, slots=True)
class State:
    """Of one gslb."""

    gslb_id: str
    memory: Json = field(default_factory=dict)
    """plan.gslb.Memory, as a document."""
    published: Json = field(default_factory=dict)
    """Record type → what name servers have been told: as the engine writes it."""
    generation: int = 0
    """Of that; rises with each change."""
    published_at: str | None = None
    """When they had all been seen to answer so."""
    why: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Status:
    """How a gslb, a pool or a member was when it was last decided about."""

    kind: str
    id: str
    operating_status: str
    reason: str | None
    since: float
    """Seconds since the epoch."""


def load(tx: Tx, gslb_ids: Sequence[str]) -> dict[str, State]:
    """By gslb; those that have never been decided about are not in it."""
    dialect = tx.database.dialect
    rows = tx.connection.execute(_states(dialect), {"ids": listed(dialect, gslb_ids)})
    return {row.gslb_id: State(*row) for row in rows}


def remember(tx: Tx, states: Iterable[State]) -> None:
    """These are remembered, but for their generations, which only `advance` raises."""
    rows = [_row(replace(state, generation=0)) for state in sorted(states, key=lambda one: one.gslb_id)]
    if rows:
        tx.connection.execute(_remember(tx.database.dialect), rows)


def _row(state: State) -> dict[str, Any]:
    return {
        "gslb_id": state.gslb_id,
        "memory": dict(state.memory),
        "published": dict(state.published),
        "generation": state.generation,
        "published_at": state.published_at,
        "why": list(state.why),
    }


def advance(tx: Tx, gslb_ids: Collection[str], above: int = 0) -> dict[str, int]:
    """The next generation of each, higher than `above`: nobody else has it, and what was seen of lower ones does not
    count any more."""
    dialect = tx.database.dialect
    if not gslb_ids:
        return {}
    new = [{"gslb_id": key, "memory": {}, "published": {}, "generation": 0, "why": []} for key in sorted(gslb_ids)]
    tx.connection.execute(_begin(dialect), new)
    rows = tx.connection.execute(_advance(dialect), {"ids": listed(dialect, gslb_ids), "above": above})
    return {row.gslb_id: row.generation for row in rows}


def all_of(tx: Tx, kind: str) -> list[Status]:
    """All that is kept of the kind."""
    return [Status(*row) for row in tx.connection.execute(_ALL, {"of": kind})]


def statuses(tx: Tx, kind: str, ids: Sequence[str]) -> dict[str, Status]:
    """By id; those that have never been decided about are not in it."""
    dialect = tx.database.dialect
    rows = tx.connection.execute(_statuses(dialect), {"of": kind, "ids": listed(dialect, ids)})
    return {row.id: Status(*row) for row in rows}


def keep_statuses(tx: Tx, seen: Collection[Status]) -> None:
    """These are so."""
    if seen:
        ordered = sorted(seen, key=lambda one: (one.kind, one.id))
        rows = [{name: getattr(one, name) for name in Status.__slots__} for one in ordered]
        tx.connection.execute(_keep_statuses(tx.database.dialect), rows)


def forget_statuses(tx: Tx, kind: str, ids: Sequence[str]) -> None:
    """Nothing is known of these any more."""
    dialect = tx.database.dialect
    these = and_(GSLB_STATUS.c.kind == kind, among(dialect, GSLB_STATUS.c.id, "ids"))
    tx.connection.execute(delete(GSLB_STATUS).where(these), {"ids": listed(dialect, ids)})


_ALL = select(GSLB_STATUS).where(GSLB_STATUS.c.kind == bindparam("of"))


@cache
def _begin(dialect: str) -> Any:
    return insert(dialect, GSLB_STATE).on_conflict_do_nothing(index_elements=["gslb_id"])


@cache
def _advance(dialect: str) -> Any:
    above = bindparam("above", type_=BigInteger)
    next_one = case((GSLB_STATE.c.generation > above, GSLB_STATE.c.generation), else_=above) + 1
    raised = update(GSLB_STATE).where(among(dialect, GSLB_STATE.c.gslb_id, "ids")).values(generation=next_one)
    return raised.returning(GSLB_STATE.c.gslb_id, GSLB_STATE.c.generation)


@cache
def _states(dialect: str) -> Any:
    return select(GSLB_STATE).where(among(dialect, GSLB_STATE.c.gslb_id, "ids"))


@cache
def _statuses(dialect: str) -> Any:
    return select(GSLB_STATUS).where(GSLB_STATUS.c.kind == bindparam("of"), among(dialect, GSLB_STATUS.c.id, "ids"))


@cache
def _remember(dialect: str) -> Any:
    new = insert(dialect, GSLB_STATE)
    own = ("memory", "published", "published_at", "why")
    return new.on_conflict_do_update(index_elements=["gslb_id"], set_={name: new.excluded[name] for name in own})


@cache
def _keep_statuses(dialect: str) -> Any:
    new = insert(dialect, GSLB_STATUS)
    own = ("operating_status", "reason", "since")
    return new.on_conflict_do_update(index_elements=["kind", "id"], set_={name: new.excluded[name] for name in own})
