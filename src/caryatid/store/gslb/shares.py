# SPDX-License-Identifier: Apache-2.0
"""Which checker of a region has which part of its checks, and for how long."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Float, Select, bindparam, case, delete, func, literal, select, true, update

from caryatid.model import GSLB_REGION
from caryatid.store import clock
from caryatid.store.database import POSTGRESQL, Tx
from caryatid.store.gslb.tables import GSLB_CHECKER, GSLB_SHARE
from caryatid.store.sql import insert
from caryatid.store.tables import TABLES

NOBODY: Final = ""
_LOCK = int.from_bytes(b"share")


@dataclass(frozen=True, slots=True)
class Share:
    """A part of a region's checks. Times are seconds since the epoch."""

    region_id: str
    number: int
    checker: str
    """Who has it; empty: nobody."""
    until: float
    """For so long, without another word."""
    fence: int
    seen_at: float
    """Until then all that its checker said of its checks was so."""


@dataclass(frozen=True, slots=True)
class Seated:
    """A checker that has been heard of."""

    id: str
    region_id: str
    seen_at: float
    quarantined: bool


def lock(tx: Tx, region_id: str) -> list[Share]:
    """Those that anybody has ever had, in order. Until this transaction ends nobody else changes who has what in the
    region."""
    if tx.database.dialect == POSTGRESQL:
        name = func.hashtext(literal(region_id))
        tx.connection.execute(select(func.pg_advisory_xact_lock(literal(_LOCK & 0x7FFFFFFF), name)))
    return [Share(*row) for row in tx.connection.execute(_of(region_id).with_for_update())]


def of(tx: Tx, region_id: str) -> list[Share]:
    """The same, to be read."""
    return [Share(*row) for row in tx.connection.execute(_of(region_id))]


def every(tx: Tx) -> list[Share]:
    """Those of all regions."""
    return [Share(*row) for row in tx.connection.execute(_EVERY)]


def fences(tx: Tx, region_id: str, checker: str, numbers: Collection[int]) -> dict[int, int]:
    """Those of these shares that are the checker's, which none of them ceases to be before the transaction ends."""
    mine = (GSLB_SHARE.c.region_id == region_id, GSLB_SHARE.c.checker == checker)
    theirs = select(GSLB_SHARE.c.share, GSLB_SHARE.c.fence).where(*mine, GSLB_SHARE.c.share.in_(sorted(numbers)))
    found = tx.connection.execute(theirs.order_by(GSLB_SHARE.c.share).with_for_update(read=True))
    return {row[0]: row[1] for row in found}


def take(tx: Tx, region_id: str, checker: str, numbers: Collection[int], now: float, until: float) -> None:
    """These are the checker's, under higher fences than ever before."""
    rows = [
        {"region_id": region_id, "share": one, "checker": checker, "until": until, "fence": 1, "seen_at": now}
        for one in sorted(numbers)
    ]
    if rows:
        statement = insert(tx.database.dialect, GSLB_SHARE)
        values: dict[str, Any] = {name: statement.excluded[name] for name in ("checker", "until", "seen_at")}
        taken = statement.on_conflict_do_update(
            index_elements=[GSLB_SHARE.c.region_id, GSLB_SHARE.c.share],
            set_={**values, "fence": GSLB_SHARE.c.fence + 1},
        )
        tx.connection.execute(taken, rows)


def renew(tx: Tx, region_id: str, kept: Collection[int], on_time: Collection[int], now: float, until: float) -> None:
    """Who has these has them until then; of those of them that are `on_time` all that was said is confirmed. One
    statement."""
    if kept:
        confirmed = GSLB_SHARE.c.share.in_(bindparam("confirmed", expanding=True))
        mine = (GSLB_SHARE.c.region_id == region_id, GSLB_SHARE.c.share.in_(bindparam("kept", expanding=True)))
        seen = case((confirmed, bindparam("now", type_=Float(53))), else_=GSLB_SHARE.c.seen_at)
        values = {"kept": sorted(kept), "confirmed": sorted(on_time), "now": now, "ends": until}
        tx.connection.execute(update(GSLB_SHARE).where(*mine).values(until=bindparam("ends"), seen_at=seen), values)


def give_back(tx: Tx, region_id: str, numbers: Collection[int]) -> None:
    """These are nobody's."""
    if numbers:
        mine = (GSLB_SHARE.c.region_id == region_id, GSLB_SHARE.c.share.in_(sorted(numbers)))
        tx.connection.execute(update(GSLB_SHARE).where(*mine).values(checker=NOBODY, until=0.0))


def seat(
    tx: Tx, region_id: str, checker: str, now: float, *, quarantined: bool, enrolled_id: str | None = None
) -> bool:
    """The checker was heard of, showing the certificate of `enrolled_id`. False: somebody of another region is called
    so."""
    statement = insert(tx.database.dialect, GSLB_CHECKER)
    values = {"seen_at": clock.text(now), "quarantined": quarantined, "enrolled_id": enrolled_id}
    known = statement.values(id=checker, region_id=region_id, **values).on_conflict_do_update(
        index_elements=[GSLB_CHECKER.c.id], set_=values, where=GSLB_CHECKER.c.region_id == region_id
    )
    return tx.connection.execute(known.returning(GSLB_CHECKER.c.id)).first() is not None


def unseat(tx: Tx, region_id: str, checker: str) -> None:
    """The checker has gone."""
    mine = (GSLB_CHECKER.c.id == checker, GSLB_CHECKER.c.region_id == region_id)
    tx.connection.execute(delete(GSLB_CHECKER).where(*mine))


def seated(tx: Tx, region_id: str) -> list[Seated]:
    """Those of the region, in order."""
    found = select(GSLB_CHECKER).where(GSLB_CHECKER.c.region_id == region_id).order_by(GSLB_CHECKER.c.id)
    return [
        Seated(row.id, row.region_id, clock.epoch_s(row.seen_at), row.quarantined)
        for row in tx.connection.execute(found)
    ]


def seated_as(tx: Tx, enrolled_id: str) -> list[str]:
    """Processes that show this certificate."""
    theirs = select(GSLB_CHECKER.c.id).where(GSLB_CHECKER.c.enrolled_id == enrolled_id).order_by(GSLB_CHECKER.c.id)
    return list(tx.connection.execute(theirs).scalars())


def with_checkers(tx: Tx) -> set[str]:
    """Regions that have one which can be believed."""
    there = select(GSLB_CHECKER.c.region_id).where(GSLB_CHECKER.c.quarantined.is_(False)).distinct()
    return set(tx.connection.execute(there).scalars())


def unseat_silent(tx: Tx, before: float) -> int:
    """Who was last heard of before then has gone; how many they were."""
    return tx.connection.execute(delete(GSLB_CHECKER).where(GSLB_CHECKER.c.seen_at < clock.text(before))).rowcount


def any_silent(tx: Tx, before: float) -> bool:
    silent = select(true()).where(GSLB_CHECKER.c.seen_at < clock.text(before))
    return tx.connection.execute(silent.limit(1)).first() is not None


def purge(tx: Tx) -> int:
    """Shares and checkers of regions that are no more are gone; how many these were."""
    living = select(TABLES[GSLB_REGION.name].c.id)
    gone = (delete(table).where(table.c.region_id.not_in(living)) for table in (GSLB_SHARE, GSLB_CHECKER))
    return sum(tx.connection.execute(statement).rowcount for statement in gone)


def _of(region_id: str) -> Select[Any]:
    return select(GSLB_SHARE).where(GSLB_SHARE.c.region_id == region_id).order_by(GSLB_SHARE.c.share)


_EVERY = select(GSLB_SHARE)
