# SPDX-License-Identifier: Apache-2.0
"""What regions say of checks. A row is written when something else is said; that it is still so, says its share."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from sqlalchemy import Float, and_, bindparam, case, delete, func, or_, select, tuple_, update

from caryatid.model import GSLB_MEMBER, GSLB_MONITOR, GSLB_REGION
from caryatid.model.gslb.parameters import PASSIVE
from caryatid.store.database import Tx
from caryatid.store.gslb.tables import GSLB_SHARE, GSLB_VOTE
from caryatid.store.sql import among, insert, listed
from caryatid.store.tables import TABLES

NO_SHARE = -1
"""Of what users tell: no checker has it."""
NO_FENCE = 0
"""Lower than any that a share has."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What a region says of a check. Times are seconds since the epoch."""

    member_id: str
    monitor_id: str
    region_id: str
    word: str
    at: float
    """When it was said."""
    since: float
    """When it became so."""
    confirmed_at: float
    """When it was last known to be unchanged."""
    checker: str
    reason: str
    rtt_ms: float | None


@dataclass(frozen=True, slots=True)
class Said:
    """A vote, as it is to be kept."""

    member_id: str
    monitor_id: str
    word: str
    at: float
    share: int
    fence: int
    reason: str
    rtt_ms: float | None


@dataclass(frozen=True, slots=True)
class Told:
    """What users tell of a member."""

    member_id: str
    region_id: str
    word: str
    reason: str


@dataclass(frozen=True, slots=True)
class Aging:
    """Of a vote only what says when it expires."""

    member_id: str
    monitor_id: str
    confirmed_at: float
    kept: bool
    """Whoever has its share now stands by it, as long as the share is confirmed."""


def of_members(tx: Tx, member_ids: Sequence[str]) -> dict[str, list[Seen]]:
    """By member, in one statement; of whom nothing was ever said is not in it."""
    found: dict[str, list[Seen]] = {}
    if member_ids:
        dialect = tx.database.dialect
        for row in tx.connection.execute(_of_members(dialect), {"ids": listed(dialect, member_ids)}):
            found.setdefault(row[0], []).append(Seen(*row))
    return found


def words(tx: Tx, region_id: str, shares: Collection[int]) -> dict[tuple[str, str], str]:
    """(monitor, member) → what the region says of it, fresh or not."""
    mine = (GSLB_VOTE.c.region_id == region_id, GSLB_VOTE.c.share.in_(sorted(shares)))
    rows = tx.connection.execute(select(GSLB_VOTE.c.monitor_id, GSLB_VOTE.c.member_id, GSLB_VOTE.c.word).where(*mine))
    return {(row[0], row[1]): row[2] for row in rows}


def of_region(tx: Tx, region_id: str, member_ids: Sequence[str]) -> dict[tuple[str, str], tuple[str, int]]:
    """(monitor, member) → what the region says of it, fresh or not, and under which fence; of these members."""
    dialect = tx.database.dialect
    found = tx.connection.execute(_of_region(dialect), {"region": region_id, "ids": listed(dialect, member_ids)})
    return {(row[0], row[1]): (row[2], row[3]) for row in found}


def write(tx: Tx, region_id: str, checker: str, said: Iterable[Said], now: float) -> None:
    """The region says so from now on, unless it has said something later, or under a higher fence."""
    rows = [
        {name: getattr(one, name) for name in Said.__slots__}
        | {"region_id": region_id, "checker": checker, "since": one.at, "_now": now}
        for one in sorted(said, key=lambda one: (one.member_id, one.monitor_id))  # in one order: no circles
    ]
    if rows:
        tx.connection.execute(_write(tx.database.dialect), rows)


def known_pools(tx: Tx, member_ids: Sequence[str]) -> dict[str, str]:
    """Member → its pool, of those that there are."""
    return _column(tx, GSLB_MEMBER.name, "pool_id", member_ids)


def known_monitors(tx: Tx, monitor_ids: Sequence[str]) -> set[str]:
    """Those that there are, and that are tried."""
    if not monitor_ids:
        return set()
    dialect = tx.database.dialect
    return set(tx.connection.execute(_tried(dialect), {"ids": listed(dialect, monitor_ids)}).scalars())


def told(tx: Tx, monitor_id: str, member_ids: Sequence[str]) -> dict[tuple[str, str], tuple[str, float]]:
    """(member, region) → what users told of it last, and until when that counts."""
    dialect = tx.database.dialect
    found = tx.connection.execute(_told(dialect), {"monitor": monitor_id, "ids": listed(dialect, member_ids)})
    return {(row[0], row[1]): (row[2], row[3] or 0.0) for row in found}


def tell(tx: Tx, monitor_id: str, said: Iterable[Told], teller: str, now: float, until: float) -> None:
    """Users say so from now on; it counts until then."""
    shared = {"monitor_id": monitor_id, "at": now, "since": now, "until": until, "checker": teller}
    shared |= {"share": NO_SHARE, "fence": NO_FENCE, "rtt_ms": None}
    ordered = sorted(said, key=lambda one: (one.member_id, one.region_id))  # in one order: no circles
    rows = [{name: getattr(one, name) for name in Told.__slots__} | shared for one in ordered]
    if rows:
        tx.connection.execute(_tell(tx.database.dialect), rows)


def expired(tx: Tx, since: float, until: float) -> set[str]:
    """Members of whom something that users told has ceased to count between the two."""
    return set(tx.connection.execute(_EXPIRED, {"since": since, "to": until}).scalars())


def last(tx: Tx, monitor_id: str, lasts_s: float) -> None:
    """What users told of the monitor counts for so long after it was told."""
    own = GSLB_VOTE.c.monitor_id == monitor_id, GSLB_VOTE.c.until.is_not(None)
    tx.connection.execute(update(GSLB_VOTE).where(*own).values(until=GSLB_VOTE.c.at + lasts_s))


def forget_checkers(tx: Tx, region_id: str, checkers: Collection[str]) -> list[str]:
    """What these have said counts no more; the members that it was of."""
    if not checkers:
        return []
    theirs = GSLB_VOTE.c.region_id == region_id, GSLB_VOTE.c.checker.in_(sorted(checkers))
    gone = tx.connection.execute(delete(GSLB_VOTE).where(*theirs).returning(GSLB_VOTE.c.member_id))
    return list(dict.fromkeys(gone.scalars()))


def carry_over(tx: Tx, region_id: str, shares: Collection[int]) -> None:
    """What their present holders have confirmed of these shares stays confirmed until then, whoever has them next."""
    if shares:
        seen_at = select(GSLB_SHARE.c.seen_at).where(_MINE).correlate(GSLB_VOTE).scalar_subquery()
        theirs = (GSLB_VOTE.c.region_id == region_id, GSLB_VOTE.c.share.in_(sorted(shares)))
        tx.connection.execute(update(GSLB_VOTE).where(*theirs, seen_at > GSLB_VOTE.c.at).values(at=seen_at))


def forget(tx: Tx, region_id: str, fences: Mapping[int, int]) -> list[str]:
    """What was said of these shares under these fences counts no more; the members that it was of."""
    if not fences:
        return []
    theirs = (
        GSLB_VOTE.c.region_id == region_id,
        tuple_(GSLB_VOTE.c.share, GSLB_VOTE.c.fence).in_(sorted(fences.items())),
    )
    gone = tx.connection.execute(delete(GSLB_VOTE).where(*theirs).returning(GSLB_VOTE.c.member_id))
    return list(dict.fromkeys(gone.scalars()))


def aging(tx: Tx, region_id: str, share: int) -> list[Aging]:
    """All that the region says of checks in the share."""
    found = tx.connection.execute(_AGING, {"region": region_id, "number": share})
    return [Aging(row[0], row[1], row[2], bool(row[3])) for row in found]


def purge(tx: Tx) -> int:
    """What was said of members, by monitors or in regions that are no more is gone; how many votes that were."""
    gone = (
        GSLB_VOTE.c.member_id.not_in(select(TABLES[GSLB_MEMBER.name].c.id)),
        GSLB_VOTE.c.monitor_id.not_in(select(TABLES[GSLB_MONITOR.name].c.id)),
        GSLB_VOTE.c.region_id.not_in(select(TABLES[GSLB_REGION.name].c.id)),
    )
    return tx.connection.execute(delete(GSLB_VOTE).where(or_(*gone))).rowcount


def _column(tx: Tx, kind: str, column: str, ids: Sequence[str]) -> dict[str, str]:
    if not ids:
        return {}
    dialect = tx.database.dialect
    found = tx.connection.execute(_values(kind, column, dialect), {"ids": listed(dialect, ids)})
    return {row[0]: row[1] for row in found}


_MINE = and_(
    GSLB_SHARE.c.region_id == GSLB_VOTE.c.region_id,
    GSLB_SHARE.c.share == GSLB_VOTE.c.share,
    GSLB_SHARE.c.fence == GSLB_VOTE.c.fence,
)
_EXPIRED = select(GSLB_VOTE.c.member_id).where(
    GSLB_VOTE.c.until > bindparam("since", type_=Float(53)), GSLB_VOTE.c.until <= bindparam("to", type_=Float(53))
)
_CONFIRMED = case((GSLB_SHARE.c.seen_at > GSLB_VOTE.c.at, GSLB_SHARE.c.seen_at), else_=GSLB_VOTE.c.at)
_AGING = (
    select(GSLB_VOTE.c.member_id, GSLB_VOTE.c.monitor_id, _CONFIRMED, GSLB_SHARE.c.fence.is_not(None))
    .select_from(GSLB_VOTE.outerjoin(GSLB_SHARE, _MINE))
    .where(GSLB_VOTE.c.region_id == bindparam("region"), GSLB_VOTE.c.share == bindparam("number"))
)


@cache
def _of_members(dialect: str) -> Any:
    vote = GSLB_VOTE.c
    columns = (vote.member_id, vote.monitor_id, vote.region_id, vote.word, vote.at, vote.since)
    shown = select(*columns, _CONFIRMED, vote.checker, func.coalesce(vote.reason, ""), vote.rtt_ms)
    return shown.select_from(GSLB_VOTE.outerjoin(GSLB_SHARE, _MINE)).where(among(dialect, vote.member_id, "ids"))


@cache
def _of_region(dialect: str) -> Any:
    vote = GSLB_VOTE.c
    here = (vote.region_id == bindparam("region"), among(dialect, vote.member_id, "ids"))
    return select(vote.monitor_id, vote.member_id, vote.word, vote.fence).where(*here)


@cache
def _values(kind: str, column: str, dialect: str) -> Any:
    table = TABLES[kind]
    return select(table.c.id, table.c[column]).where(among(dialect, table.c.id, "ids"))


@cache
def _tried(dialect: str) -> Any:
    table = TABLES[GSLB_MONITOR.name]
    return select(table.c.id).where(among(dialect, table.c.id, "ids"), table.c.spec["type"].as_string() != PASSIVE)


@cache
def _told(dialect: str) -> Any:
    vote = GSLB_VOTE.c
    theirs = (vote.monitor_id == bindparam("monitor"), among(dialect, vote.member_id, "ids"))
    return select(vote.member_id, vote.region_id, vote.word, vote.until).where(*theirs)


@cache
def _tell(dialect: str) -> Any:
    statement = insert(dialect, GSLB_VOTE)
    new, old = statement.excluded, GSLB_VOTE.c
    values = {name: new[name] for name in ("word", "at", "until", "checker", "reason")}
    values["since"] = case((new.word == old.word, old.since), else_=new.since)
    return statement.on_conflict_do_update(index_elements=[old.member_id, old.monitor_id, old.region_id], set_=values)


@cache
def _write(dialect: str) -> Any:
    """A vote from the future (a clock has been set back) gives way."""
    statement = insert(dialect, GSLB_VOTE)
    new, old = statement.excluded, GSLB_VOTE.c
    now = bindparam("_now", type_=Float(53))
    later = or_(new.fence > old.fence, and_(new.fence == old.fence, or_(new.at >= old.at, old.at > now)))
    values = {name: new[name] for name in ("word", "at", "share", "fence", "checker", "reason", "rtt_ms")}
    values["since"] = case((new.word == old.word, old.since), else_=new.since)
    keys = [old.member_id, old.monitor_id, old.region_id]
    return statement.on_conflict_do_update(index_elements=keys, set_=values, where=later)
