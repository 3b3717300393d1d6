# SPDX-License-Identifier: Apache-2.0
"""What is due: generations asked for, who works on a root now, and what came of it (decisions 1 and 4)."""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Row, and_, case, func, or_, select, update

from caryatid.model import LOADBALANCER

from . import clock, events, jobs, wake
from .claim import Again, Claim, Done, Failed, Outcome
from .database import POSTGRESQL, Database, Tx
from .gone import mark_refused, remove_gone
from .rows import RootState, lock_root
from .sql import insert
from .tables import TABLES, WORK
from caryatid.errors import LeaseLost

__all__ = ["Again", "Claim", "Done", "Failed", "Outcome", "ask", "claim", "next_due", "renew", "settle", "still_mine", "wake_root"]

LEASE_S: Final = 10.0
PAUSE_S: Final = 0.5
PAUSE_MAX_S: Final = 60.0
PAUSE_DOUBLINGS_MAX: Final = 10
PROVISIONING_DEADLINE_S: Final = 300.0
ROOT = TABLES[LOADBALANCER.name]
"""Roots of other kinds will find their table by `work.root_kind`."""


def ask(tx: Tx, root_id: str, *, priority: int = 0) -> int:
    """A new generation of the root is wanted, at once; returned. The caller has the root's lock."""
    raised = update(ROOT).where(ROOT.c.id == root_id).values(generation=ROOT.c.generation + 1)
    row = tx.connection.execute(raised.returning(ROOT.c.generation, ROOT.c.failed_generation)).one()
    generation, failed = int(row[0]), int(row[1])
    _make_due(tx, root_id, priority=priority, asked=True, afresh=failed >= generation - 1 > 0)
    return generation


def wake_root(tx: Tx, root_id: str, *, priority: int = 0) -> None:
    """Somebody shall look at the root, at once; nothing new is wanted."""
    _make_due(tx, root_id, priority=priority, asked=False, afresh=False)


def retry_all(tx: Tx) -> None:
    """What waits for its next try is tried now: something has come that it may have waited for."""
    now = clock.now(tx)
    tx.connection.execute(update(WORK).where(WORK.c.due_at > now).values(due_at=now, tries=0))
    wake.notify(tx, "work")


def retry_all(tx: Tx) -> None:
    """What is waiting for its next try is tried at once: something that may have been in its way has changed."""
    now = clock.now(tx)
    waiting = update(WORK).where(WORK.c.due_at > now, WORK.c.tries > 0)
    if tx.connection.execute(waiting.values(due_at=now)).rowcount:
        wake.notify(tx, "work")


def claim(database: Database, worker: str) -> Claim | None:
    """The most urgent root that is due and nobody's, now the worker's for LEASE_S seconds; None: nothing is due."""
    with database.read() as tx:
        if tx.connection.execute(select(WORK.c.root_id).where(_claimable(clock.now(tx))).limit(1)).first() is None:
            return None
    with database.transaction() as tx:
        now = clock.now(tx)
        urgent = select(WORK.c.root_id).where(_claimable(now)).order_by(WORK.c.priority.desc(), WORK.c.due_at).limit(1)
        urgent = urgent.with_for_update(skip_locked=True)
        mine = update(WORK).where(WORK.c.root_id == urgent.scalar_subquery())
        mine = mine.values(lease_until=now + LEASE_S, fence=WORK.c.fence + 1, worker=worker)
        row = tx.connection.execute(mine.returning(WORK.c.root_id, WORK.c.fence, WORK.c.asks, WORK.c.tries)).first()
        return Claim(*row) if row else None


def renew(database: Database, held: Claim) -> bool:
    """The lease is good for another LEASE_S seconds; False: the root is another worker's, or settled."""
    with database.transaction() as tx:
        mine = update(WORK).where(_mine(held), WORK.c.lease_until.is_not(None))
        return bool(tx.connection.execute(mine.values(lease_until=clock.now(tx) + LEASE_S)).rowcount)


def still_mine(tx: Tx, held: Claim) -> bool:
    """Whether what the holder does still counts."""
    return tx.connection.execute(select(WORK.c.root_id).where(_mine(held))).first() is not None


def next_due(database: Database) -> float | None:
    """Seconds until something can be claimed (0: now); None: nothing is due."""
    free = func.coalesce(WORK.c.lease_until, 0.0)
    soonest = select(func.min(case((WORK.c.due_at > free, WORK.c.due_at), else_=free))).where(WORK.c.due_at.is_not(None))
    with database.read() as tx:
        at = tx.connection.execute(soonest).scalar()
        return None if at is None else max(0.0, float(at) - clock.now(tx))


def settle(
    tx: Tx, held: Claim, outcome: Outcome, *, provisioning_deadline_s: float = PROVISIONING_DEADLINE_S
) -> None:
    """The claim is given back, and what came of it is kept: statuses, jobs, events, when to look again.

    Raises LeaseLost, with nothing written, if the root is another worker's by now.
    """
    root = lock_root(tx, held.root_id)  # before the work: the order in which wishes lock
    row = tx.connection.execute(_of(held).with_for_update()).first()
    if row is None or row.fence != held.fence:
        raise LeaseLost(f"The work on {held.root_id} is another worker's now.")
    now = clock.now(tx)
    jobs.end_attempt(tx, held, outcome)
    settling = _Settling(tx, held, root, row, now)
    match outcome:
        case Done():
            settling.done(outcome)
        case Again():
            settling.again(outcome, provisioning_deadline_s)
        case Failed():
            settling.failed(outcome)
    wake.notify(tx, "jobs")


@dataclass(frozen=True, slots=True)
class _Settling:
    tx: Tx
    held: Claim
    root: RootState | None
    work: Row[Any]
    now: float

    @property
    def newer(self) -> bool:
        """Something was asked for after the claim."""
        return bool(self.work.asks > self.held.asks)

    def done(self, outcome: Done) -> None:
        observed = max(outcome.generation, self.root.observed_generation if self.root else 0)
        self._set_root(observed_generation=observed, failed_generation=_forgotten(observed))
        mark_refused(self.tx, self.held.root_id, outcome.culprits, generation=outcome.generation)
        jobs.end(self.tx, self.held.root_id, outcome.generation, self.now, culprits=outcome.culprits)
        if remove_gone(self.tx, self.held.root_id, observed):
            return
        if self.newer:
            self._leave(due_at=self.now, tries=0, pending_since=self.now)
        else:
            self._leave(due_at=None, tries=0, pending_since=None, priority=0)

    def again(self, outcome: Again, deadline_s: float) -> None:
        since = self.work.pending_since
        if since is not None and self.now - since > deadline_s:
            self._give_up(outcome.generation, outcome.reason)
        self._try_again(outcome.after_s)

    def failed(self, outcome: Failed) -> None:
        self._give_up(outcome.generation, outcome.reason)
        self._try_again(None)

    def _give_up(self, generation: int, reason: str) -> None:
        """The generation shows ERROR; it is tried further."""
        if self.root is not None and generation > max(self.root.observed_generation, self.root.failed_generation):
            self._set_root(failed_generation=generation, reason=reason)
        jobs.end(self.tx, self.held.root_id, generation, self.now, reason=reason)

    def _try_again(self, after_s: float | None) -> None:
        if self.newer:
            self._leave(due_at=self.now, tries=0)
        else:
            pause = _pause_s(self.work.tries) if after_s is None else after_s
            self._leave(due_at=self.now + pause, tries=self.work.tries + 1)

    def _set_root(self, **values: Any) -> None:
        self.tx.connection.execute(update(ROOT).where(ROOT.c.id == self.held.root_id).values(values))

    def _leave(self, **values: Any) -> None:
        given_back = update(WORK).where(WORK.c.root_id == self.held.root_id)
        self.tx.connection.execute(given_back.values(lease_until=None, worker=None, **values))
        if values["due_at"] is not None:
            wake.notify(self.tx, "work")


def _pause_s(tries: int) -> float:
    """Seconds until the next try: growing, capped, and not the same for all."""
    pause = min(PAUSE_MAX_S, PAUSE_S * 2 ** min(tries, PAUSE_DOUBLINGS_MAX))
    return pause * random.uniform(0.75, 1.0)  # noqa: S311  spreads, protects nothing


def _forgotten(observed: int) -> Any:
    """failed_generation once `observed` is in effect."""
    return case((ROOT.c.failed_generation <= observed, 0), else_=ROOT.c.failed_generation)


def _make_due(tx: Tx, root_id: str, *, priority: int, asked: bool, afresh: bool) -> None:
    """`afresh`: what was pending has been given up, so that the deadline begins anew."""
    now = clock.now(tx)
    new = {"root_id": root_id, "root_kind": LOADBALANCER.name, "due_at": now, "fence": 0, "tries": 0, "asks": 1}
    new |= {"pending_since": now if asked else None, "priority": priority}
    known: Mapping[str, Any] = {
        "due_at": case((WORK.c.due_at < now, WORK.c.due_at), else_=now),
        "asks": WORK.c.asks + 1,
        "tries": 0,
        "priority": case((WORK.c.priority > priority, WORK.c.priority), else_=priority),
    }
    if asked:
        known = {**known, "pending_since": now if afresh else func.coalesce(WORK.c.pending_since, now)}
    statement = insert(tx.database.dialect, WORK).values(new)
    tx.connection.execute(statement.on_conflict_do_update(index_elements=[WORK.c.root_id], set_=known))
    wake.notify(tx, "work")


def _claimable(now: float) -> Any:
    return and_(WORK.c.due_at <= now, or_(WORK.c.lease_until.is_(None), WORK.c.lease_until <= now))


def _mine(held: Claim) -> Any:
    return and_(WORK.c.root_id == held.root_id, WORK.c.fence == held.fence)


def _of(held: Claim) -> Any:
    columns = (WORK.c.fence, WORK.c.asks, WORK.c.tries, WORK.c.pending_since)
    return select(*columns).where(WORK.c.root_id == held.root_id)
