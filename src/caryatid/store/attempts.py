# SPDX-License-Identifier: Apache-2.0
"""Attempts to carry out what was asked for, with what they said and how far they came."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import and_, bindparam, delete, or_, select, union_all, update

from . import clock, wake
from .claim import Again, Claim, Done, Failed, Outcome
from .database import Database, Tx
from .tables import ATTEMPT, JOB

CHANNEL: Final = "jobs"
LINES_MAX: Final = 1000
LINE_LENGTH_MAX: Final = 2000
LOST: Final = "lost"
WORKER_GONE: Final = "Its worker did not end it; another attempt took its place."
OUTCOMES: dict[type, str] = {Done: "done", Again: "again", Failed: "failed"}


@dataclass(frozen=True, slots=True)
class Said:
    """What an attempt has to tell since it was last written to."""

    lines: Sequence[tuple[float, str]]
    """(seconds since the epoch, text)."""
    done: int
    """Steps that are done, of those that it knows."""
    known: int


@dataclass(frozen=True, slots=True)
class Changes:
    """What there may be to tell of jobs."""

    pulses: dict[tuple[str, int], int]
    """(root, fence) of an attempt → how often it has been written to."""
    ended: Sequence[str]
    """Jobs that have ended."""


def begin(tx: Tx, held: Claim, generation: int) -> None:
    """The attempt of this claim is on its way; it covers jobs up to `generation`. Earlier ones are not, any more."""
    when = clock.text(clock.now(tx))
    tx.connection.execute(_LOSE, {"root": held.root_id, "token": held.fence, "when": when})
    row = {"root_id": held.root_id, "fence": held.fence, "generation": generation}
    row |= {"started_at": when, "log": [], "news": 1, "done": 0, "known": 0}
    tx.connection.execute(_BEGIN, row)
    wake.notify(tx, CHANNEL)


def extend(tx: Tx, held: Claim, generation: int) -> bool:
    """The attempt of this claim, if it is on its way already, covers jobs up to `generation` from now on; False: it is
    not."""
    values = {"root": held.root_id, "token": held.fence, "covered": generation}
    return bool(tx.connection.execute(_EXTEND, values).rowcount)


def write(database: Database, held: Claim, said: Said) -> None:
    """What the claim's attempt has said is in its log, up to LINES_MAX lines."""
    with database.transaction() as tx:
        note(tx, held, said)


def note(tx: Tx, held: Claim, said: Said) -> None:
    """The same, if the transaction commits."""
    new = [[clock.text(at), text[:LINE_LENGTH_MAX]] for at, text in said.lines]
    this = {"root": held.root_id, "token": held.fence}
    log = tx.connection.execute(_LOG, this).scalar()
    if log is not None and len(log) < LINES_MAX:
        lines = [*log, *new][:LINES_MAX]
        tx.connection.execute(_WRITE, {**this, "lines": lines, "so_far": said.done, "of": said.known})
        wake.notify(tx, CHANNEL)


def end(tx: Tx, held: Claim, outcome: Outcome, now: float) -> None:
    """The attempt has come to this; work.settle calls it."""
    reason = None if isinstance(outcome, Done) else outcome.reason
    remedy = None if isinstance(outcome, Done) else outcome.remedy or None
    said = {"when": clock.text(now), "how": OUTCOMES[type(outcome)], "said": reason, "cure": remedy}
    tx.connection.execute(_END, {"root": held.root_id, "token": held.fence, **said})


def changes(tx: Tx, since: float) -> Changes:
    """What jobs may have to tell that was written after `since` (seconds since the epoch, by the database's clock):
    attempts under way, and what has ended."""
    when = {"since": clock.text(since)}
    pulses = {(root, fence): news for root, fence, news in tx.connection.execute(_PULSES, when)}
    return Changes(pulses, list(tx.connection.execute(_ENDED, when).scalars()))


def purge(tx: Tx, before: str) -> int:
    """Attempts that ended before `before` are gone; how many. One that never ended is as old as its beginning."""
    return tx.connection.execute(_PURGE, {"before": before}).rowcount


_THIS = and_(ATTEMPT.c.root_id == bindparam("root"), ATTEMPT.c.fence == bindparam("token"))
_BEGIN = ATTEMPT.insert()
_UNENDED = ATTEMPT.c.ended_at.is_(None)
_MORE = ATTEMPT.c.news + 1
_LOSE = (
    update(ATTEMPT)
    .where(ATTEMPT.c.root_id == bindparam("root"), ATTEMPT.c.fence != bindparam("token"), _UNENDED)
    .values(ended_at=bindparam("when"), outcome=LOST, reason=WORKER_GONE, news=_MORE)
)
_EXTEND = update(ATTEMPT).where(_THIS).values(generation=bindparam("covered"), news=_MORE)
_LOG = select(ATTEMPT.c.log).where(_THIS).with_for_update()
_SO_FAR: dict[str, Any] = {"log": bindparam("lines"), "done": bindparam("so_far"), "known": bindparam("of")}
_WRITE = update(ATTEMPT).where(_THIS).values(news=_MORE, **_SO_FAR)
_HOW: dict[str, Any] = {"ended_at": bindparam("when"), "outcome": bindparam("how"), "reason": bindparam("said")}
_END = update(ATTEMPT).where(_THIS).values(news=_MORE, remedy=bindparam("cure"), **_HOW)
_PULSE = select(ATTEMPT.c.root_id, ATTEMPT.c.fence, ATTEMPT.c.news)
_PULSES = union_all(_PULSE.where(_UNENDED), _PULSE.where(ATTEMPT.c.ended_at >= bindparam("since")))
_ENDED = select(JOB.c.id).where(JOB.c.ended_at >= bindparam("since"))
_ABANDONED = and_(_UNENDED, ATTEMPT.c.started_at < bindparam("before"))
_PURGE = delete(ATTEMPT).where(or_(ATTEMPT.c.ended_at < bindparam("before"), _ABANDONED))
