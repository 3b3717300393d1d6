# SPDX-License-Identifier: Apache-2.0
"""Attempts to carry out what was asked for, with what they said and how far they came."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import and_, bindparam, delete, or_, select, tuple_, union_all, update

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
    tx.connection.execute(_LOSE, {**_named(held), "when": when})
    tx.connection.execute(_BEGIN, _begun(held, generation, when))
    wake.notify(tx, CHANNEL)


def begin_all(tx: Tx, wanted: Mapping[Claim, int]) -> list[Claim]:
    """The attempts of these claims are on their way, and cover jobs up to these generations; those of them that were
    not already. Earlier ones of theirs are not, any more."""
    known = _logs(tx, wanted)
    more = [{**_named(held), "covered": wanted[held]} for held in wanted if held in known]
    if more:
        tx.connection.execute(_EXTEND, more)
    new = {held: generation for held, generation in wanted.items() if held not in known}
    if new:
        when = clock.text(clock.now(tx))
        tx.connection.execute(_LOSE, [{**_named(held), "when": when} for held in new])
        tx.connection.execute(_BEGIN, [_begun(held, generation, when) for held, generation in new.items()])
    if wanted:
        wake.notify(tx, CHANNEL)
    return list(new)


def write(database: Database, held: Claim, said: Said) -> None:
    """What the claim's attempt has said is in its log, up to LINES_MAX lines."""
    with database.transaction() as tx:
        note_all(tx, {held: said})


def note_all(tx: Tx, said: Mapping[Claim, Said]) -> None:
    """What the attempts of these claims have said is in their logs, if the transaction commits."""
    logs = _logs(tx, said)
    changed = [
        {**_named(held), "lines": [*logs[held], *_lines(one)][:LINES_MAX], "so_far": one.done, "of": one.known}
        for held, one in said.items()
        if held in logs and len(logs[held]) < LINES_MAX
    ]
    if changed:
        tx.connection.execute(_WRITE, changed)
        wake.notify(tx, CHANNEL)


def end_all(tx: Tx, outcomes: Mapping[Claim, Outcome], now: float) -> None:
    """The attempts of these claims have come to this; who settles work calls it."""
    tx.connection.execute(_END, [{**_named(held), **_how(outcome, now)} for held, outcome in outcomes.items()])


def _how(outcome: Outcome, now: float) -> dict[str, Any]:
    reason = None if isinstance(outcome, Done) else outcome.reason
    remedy = None if isinstance(outcome, Done) else outcome.remedy or None
    return {"when": clock.text(now), "how": OUTCOMES[type(outcome)], "said": reason, "cure": remedy}


def _named(held: Claim) -> dict[str, Any]:
    return {"root": held.root_id, "token": held.fence}


def _begun(held: Claim, generation: int, when: str) -> dict[str, Any]:
    row = {"root_id": held.root_id, "fence": held.fence, "generation": generation}
    return {**row, "started_at": when, "log": [], "news": 1, "done": 0, "known": 0}


def _lines(said: Said) -> list[list[str]]:
    return [[clock.text(at), text[:LINE_LENGTH_MAX]] for at, text in said.lines]


def _logs(tx: Tx, held: Iterable[Claim]) -> dict[Claim, list[Any]]:
    """What the attempts of these claims that there are have said; nobody else adds to it before the transaction
    ends."""
    claims = {(one.root_id, one.fence): one for one in held}
    found = tx.connection.execute(_LOGS, {"these": sorted(claims)}) if claims else ()
    return {claims[root, fence]: log for root, fence, log in found}


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
_PAIR = tuple_(ATTEMPT.c.root_id, ATTEMPT.c.fence)
_LOGS = (
    select(ATTEMPT.c.root_id, ATTEMPT.c.fence, ATTEMPT.c.log)
    .where(_PAIR.in_(bindparam("these", expanding=True)))
    .order_by(ATTEMPT.c.root_id, ATTEMPT.c.fence)
    .with_for_update()
)
_EXTEND = update(ATTEMPT).where(_THIS).values(generation=bindparam("covered"), news=_MORE)
_SO_FAR: dict[str, Any] = {"log": bindparam("lines"), "done": bindparam("so_far"), "known": bindparam("of")}
_WRITE = update(ATTEMPT).where(_THIS).values(news=_MORE, **_SO_FAR)
_HOW: dict[str, Any] = {"ended_at": bindparam("when"), "outcome": bindparam("how"), "reason": bindparam("said")}
_END = update(ATTEMPT).where(_THIS).values(news=_MORE, remedy=bindparam("cure"), **_HOW)
_PULSE = select(ATTEMPT.c.root_id, ATTEMPT.c.fence, ATTEMPT.c.news)
_PULSES = union_all(_PULSE.where(_UNENDED), _PULSE.where(ATTEMPT.c.ended_at >= bindparam("since")))
_ENDED = select(JOB.c.id).where(JOB.c.ended_at >= bindparam("since"))
_ABANDONED = and_(_UNENDED, ATTEMPT.c.started_at < bindparam("before"))
_PURGE = delete(ATTEMPT).where(or_(ATTEMPT.c.ended_at < bindparam("before"), _ABANDONED))
