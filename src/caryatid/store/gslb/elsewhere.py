# SPDX-License-Identifier: Apache-2.0
"""Members of which others know where and how they are, as these said last (control/gslb/following.py)."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any, Final, Literal, cast

from sqlalchemy import bindparam, delete, func, select, update

from caryatid.model import GSLB_MEMBER
from caryatid.store.database import Tx
from caryatid.store.gslb.tables import GSLB_FOLLOWED
from caryatid.store.sql import among, insert, listed
from caryatid.store.tables import TABLES

Word = Literal["UP", "DOWN", "UNKNOWN"]
HERE: Final = frozenset({"ip", "hostname", "load_balancer"})
"""Types of members of which nobody else has to be asked where they are."""


@dataclass(frozen=True, slots=True)
class Followed:
    """What is known of a member. Times are seconds since the epoch."""

    member_id: str
    addresses: tuple[str, ...] = ()
    """What is answered, the first one first."""
    word: Word | None = "UNKNOWN"
    """None: whoever has it says nothing about how it is."""
    reason: str = ""
    """Of that."""
    problem: str = ""
    """Why it could not be asked for last; empty: it could."""
    since: float = 0.0
    """When the word became so."""
    moved_at: float = 0.0
    """When it came to these addresses."""
    asked_at: float = 0.0
    seen_at: float = 0.0
    """When all this was last known to be so."""
    good_s: float = 0.0
    """For so long after that the word counts."""


def of(tx: Tx, member_ids: Sequence[str]) -> dict[str, Followed]:
    """What is known of these, by member; of whom nothing is known is not in it."""
    if not member_ids:
        return {}
    dialect = tx.database.dialect
    found = tx.connection.execute(_some(dialect), {"ids": listed(dialect, member_ids)})
    return {row.member_id: _read(row) for row in found}


def longest_ago(tx: Tx, limit: int) -> list[Followed]:
    """So many of those whose members are there, first who has not been asked for the longest time."""
    return [_read(row) for row in tx.connection.execute(_OLDEST, {"_limit": limit})]


def keep(tx: Tx, known: Iterable[Followed]) -> None:
    """From now on that is known of them."""
    rows = [_row(one) for one in sorted(known, key=lambda one: one.member_id)]
    if rows:
        tx.connection.execute(_keep(tx.database.dialect), rows)


def confirm(tx: Tx, member_ids: Sequence[str], now: float, good_s: float) -> None:
    """What is known of these is still so, in one statement."""
    if member_ids:
        dialect = tx.database.dialect
        given = {"ids": listed(dialect, sorted(member_ids)), "_now": now, "_good": good_s}
        tx.connection.execute(_confirm(dialect), given)


def expired(tx: Tx, since: float, until: float) -> list[str]:
    """Members of which the last word has ceased to count between the two."""
    ends = GSLB_FOLLOWED.c.seen_at + GSLB_FOLLOWED.c.good_s
    found = select(GSLB_FOLLOWED.c.member_id).where(ends > since, ends <= until, GSLB_FOLLOWED.c.word.is_not(None))
    return list(tx.connection.execute(found.order_by(GSLB_FOLLOWED.c.member_id)).scalars())


def purge(tx: Tx) -> int:
    """What was known of members that are no more is gone; how many those were."""
    gone = GSLB_FOLLOWED.c.member_id.not_in(select(TABLES[GSLB_MEMBER.name].c.id))
    return tx.connection.execute(delete(GSLB_FOLLOWED).where(gone)).rowcount


FINGERPRINT: Final = select(func.count(), func.max(GSLB_FOLLOWED.c.moved_at)).select_from(GSLB_FOLLOWED)
"""The same twice: nobody has moved between."""


def _read(row: Any) -> Followed:
    word = cast(Word | None, row.word)
    told = (row.reason or "", row.problem or "", row.since, row.moved_at, row.asked_at, row.seen_at, row.good_s)
    return Followed(row.member_id, tuple(row.addresses), word, *told)


def _row(one: Followed) -> dict[str, Any]:
    return {
        **asdict(one),
        "addresses": list(one.addresses),
        "reason": one.reason or None,
        "problem": one.problem or None,
    }


_LIVING = TABLES[GSLB_MEMBER.name]
_OLDEST = (
    select(GSLB_FOLLOWED)
    .join(_LIVING, _LIVING.c.id == GSLB_FOLLOWED.c.member_id)
    .order_by(GSLB_FOLLOWED.c.asked_at, GSLB_FOLLOWED.c.member_id)
    .limit(bindparam("_limit"))
)


@cache
def _some(dialect: str) -> Any:
    return select(GSLB_FOLLOWED).where(among(dialect, GSLB_FOLLOWED.c.member_id, "ids"))


@cache
def _confirm(dialect: str) -> Any:
    now = bindparam("_now", type_=GSLB_FOLLOWED.c.seen_at.type)
    good = bindparam("_good", type_=GSLB_FOLLOWED.c.good_s.type)
    these = update(GSLB_FOLLOWED).where(among(dialect, GSLB_FOLLOWED.c.member_id, "ids"))
    return these.values(asked_at=now, seen_at=now, good_s=good)


@cache
def _keep(dialect: str) -> Any:
    statement = insert(dialect, GSLB_FOLLOWED)
    own = [column.name for column in GSLB_FOLLOWED.columns if not column.primary_key]
    values = {name: statement.excluded[name] for name in own}
    return statement.on_conflict_do_update(index_elements=[GSLB_FOLLOWED.c.member_id], set_=values)
