# SPDX-License-Identifier: Apache-2.0
"""What is due: generations asked for, who works on a root now, and what came of it (decisions 1 and 4)."""

import random
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Final

from sqlalchemy import Integer, Row, String, and_, bindparam, case, delete, func, null, or_, select, update

from caryatid.errors import LeaseLost
from caryatid.model import BY_NAME, GSLB, LOADBALANCER
from caryatid.model.kind import Kind

from . import attempts, clock, jobs, wake
from .claim import Again, Claim, Done, Failed, Outcome
from .database import Database, Tx
from .gone import find_gone, mark_refused, remove_gone
from .jobs import End
from .rows import RootState, lock_root
from .sql import among, insert, listed
from .tables import TABLES, WORK

LEASE_S: Final = 10.0
PAUSE_S: Final = 0.5
PAUSE_MAX_S: Final = 60.0
PAUSE_DOUBLINGS_MAX: Final = 10
PROVISIONING_DEADLINE_S: Final = 300.0
WISH: Final = 40
"""Priority of what users ask for (octavia.md §1.13): before what nobody has asked for."""
ALL: Final = (1 << 63) - 1
"""More than any generation."""
CHANNELS: Final = {LOADBALANCER.name: "work", GSLB.name: "gslbs"}
"""Who waits for work on roots of a kind listens here."""


def ask(tx: Tx, root_id: str, *, kind: Kind = LOADBALANCER, priority: int = WISH) -> int:
    """A new generation of the root is wanted, at once; returned. The caller has the root's lock."""
    row = tx.connection.execute(_raise(kind.name), {"root": root_id}).one()
    generation, failed = int(row[0]), int(row[1])
    _make_due(tx, root_id, kind, priority=priority, asked=True, afresh=failed >= generation - 1 > 0)
    return generation


def ask_all(tx: Tx, root_ids: Collection[str], *, kind: Kind, priority: int = WISH) -> dict[str, int]:
    """`ask` of them all, in two statements: their generations, by root, in order."""
    if not root_ids:
        return {}
    dialect = tx.database.dialect
    rows = tx.connection.execute(_raise_all(kind.name, dialect), {"ids": listed(dialect, root_ids)}).all()
    asked = {row[0]: (int(row[1]), int(row[2])) for row in sorted(rows)}
    now = clock.now(tx)
    shared = {"kind": kind.name, "now": now, "urgency": priority, "since": now}
    due = [
        {"root": root_id, **shared, "anew": now if failed >= generation - 1 > 0 else None}
        for root_id, (generation, failed) in asked.items()
    ]
    tx.connection.execute(_due(dialect), due)
    wake.notify(tx, CHANNELS[kind.name])
    return {root_id: generation for root_id, (generation, _) in asked.items()}


def begin(tx: Tx, root_id: str, *, kind: Kind = LOADBALANCER) -> None:
    """The root, just inserted, is wanted in its first generation, at once."""
    _make_due(tx, root_id, kind, priority=WISH, asked=True, afresh=False)


def wake_root(tx: Tx, root_id: str, *, kind: Kind = LOADBALANCER, priority: int = 0) -> None:
    """Somebody shall look at the root, at once; nothing new is wanted."""
    _make_due(tx, root_id, kind, priority=priority, asked=False, afresh=False)


def wake_roots(tx: Tx, root_ids: Collection[str], *, kind: Kind = LOADBALANCER, priority: int = 0) -> None:
    """`wake_root` of them all, in one statement. Always in the same order: two who wake do not wait in a circle."""
    if root_ids:
        now = clock.now(tx)
        shared = {"kind": kind.name, "now": now, "urgency": priority, "since": None, "anew": None}
        rows = [{"root": root_id, **shared} for root_id in sorted(set(root_ids))]
        tx.connection.execute(_due(tx.database.dialect), rows)
        wake.notify(tx, CHANNELS[kind.name])


def retry_all(tx: Tx) -> None:
    """What waits for its next try is tried now: something has come that it may have waited for."""
    now = clock.now(tx)
    tx.connection.execute(update(WORK).where(WORK.c.due_at > now).values(due_at=now, tries=0))
    for channel in CHANNELS.values():
        wake.notify(tx, channel)


def claim(database: Database, worker: str) -> Claim | None:
    """The most urgent load balancer that is due and nobody's, now the worker's for LEASE_S seconds; None: none is."""
    return next(iter(claim_some(database, worker, LOADBALANCER, 1)), None)


def claim_some(database: Database, worker: str, kind: Kind, limit: int) -> list[Claim]:
    """The same of the `limit` most urgent roots of the kind."""
    with database.read() as tx:
        if tx.connection.execute(_ANY_DUE, {"kind": kind.name, "now": clock.now(tx)}).first() is None:
            return []
    with database.transaction() as tx:
        now = clock.now(tx)
        given = {"kind": kind.name, "now": now, "until": now + LEASE_S, "by": worker, "limit": limit}
        return [Claim(*row) for row in tx.connection.execute(_CLAIM, given)]


def renew(database: Database, held: Claim) -> bool:
    """The lease is good for another LEASE_S seconds; False: the root is another worker's, or settled."""
    with database.transaction() as tx:
        values = {"root": held.root_id, "token": held.fence, "until": clock.now(tx) + LEASE_S}
        return bool(tx.connection.execute(_RENEW, values).rowcount)


def renew_some(database: Database, held: Collection[Claim]) -> None:
    """The same of many, where they are still the holder's."""
    with database.transaction() as tx:
        until = clock.now(tx) + LEASE_S
        ordered = sorted(held, key=lambda one: one.root_id)
        tx.connection.execute(_RENEW, [{"root": one.root_id, "token": one.fence, "until": until} for one in ordered])


def raise_fence(tx: Tx, root_id: str, seen: int) -> None:
    """The next claim has a higher fence than `seen`."""
    higher = case((WORK.c.fence < seen, seen), else_=WORK.c.fence)
    tx.connection.execute(update(WORK).where(WORK.c.root_id == root_id).values(fence=higher))


def still_mine(tx: Tx, held: Claim) -> bool:
    """Whether what the holder does still counts."""
    return tx.connection.execute(_STILL_MINE, {"root": held.root_id, "token": held.fence}).first() is not None


def asked_again(database: Database, held: Collection[Claim]) -> list[Claim]:
    """Those of these claims, still the holder's, whose roots have been asked for since; they cover that from now on."""
    claims = {one.root_id: one for one in held}
    with database.read() as tx:
        rows = tx.connection.execute(_asked(database.dialect), {"ids": listed(database.dialect, claims)}).all()
    return [
        replace(claims[root_id], asks=asks)
        for root_id, asks, _, fence in rows
        if fence == claims[root_id].fence and asks > claims[root_id].asks
    ]


def mine_of(tx: Tx, held: Collection[Claim]) -> set[Claim]:
    """Those of these claims that are still the holder's; nobody takes their roots before the transaction has ended."""
    dialect = tx.database.dialect
    rows = tx.connection.execute(_holders(dialect), {"ids": listed(dialect, {one.root_id for one in held})})
    fences: dict[str, int] = dict(rows.all())
    return {one for one in held if fences.get(one.root_id) == one.fence}


def next_due(database: Database, kind: Kind = LOADBALANCER) -> float | None:
    """Seconds until a root of the kind can be claimed (0: now); None: nothing is due."""
    with database.read() as tx:
        at = tx.connection.execute(_SOONEST, {"kind": kind.name}).scalar()
        return None if at is None else max(0.0, float(at) - clock.now(tx))


def settle(tx: Tx, held: Claim, outcome: Outcome, *, provisioning_deadline_s: float = PROVISIONING_DEADLINE_S) -> None:
    """The claim is given back, and what came of it is kept: statuses, jobs, events, when to look again.

    Raises LeaseLost, with nothing written, if the root is another worker's by now.
    """
    root = lock_root(tx, held.root_id, BY_NAME[held.root_kind])  # before the work: the order in which wishes lock
    row = tx.connection.execute(_LOCK, {"root": held.root_id}).first()
    if row is None or row.fence != held.fence:
        raise LeaseLost(f"The work on {held.root_id} is another worker's now.")
    now = clock.now(tx)
    attempts.end_all(tx, {held: outcome}, now)
    settling = _Settling(tx, held, root, row, now)
    match outcome:
        case Done():
            settling.done(outcome)
        case Again():
            settling.again(outcome, provisioning_deadline_s)
        case Failed():
            settling.failed(outcome)
    wake.notify(tx, "jobs")


def done_all(tx: Tx, kind: Kind, done: Mapping[Claim, Done], roots: Mapping[str, RootState]) -> None:
    """These claims, still the holder's, are given back, and their generations are in effect. `roots`: of the kind,
    which the holder has locked, nobody has deleted, and on which nothing hangs."""
    if not done:
        return
    now = clock.now(tx)
    attempts.end_all(tx, done, now)
    seen = {held: max(one.generation, roots[held.root_id].observed_generation) for held, one in done.items()}
    tx.connection.execute(_observed(kind.name), [{"root": held.root_id, "seen": at} for held, at in seen.items()])
    jobs.end_all(tx, {held: End(outcome.generation) for held, outcome in done.items()}, now)
    leave_all(tx, {held: outcome.look_after_s for held, outcome in done.items()})
    wake.notify(tx, attempts.CHANNEL)


def leave_all(tx: Tx, held: Mapping[Claim, float | None]) -> None:
    """These claims, still the holder's, whose roots he has locked, are given back, and nothing has come of them that
    anybody waits for. Claim → seconds after which to look again (None: nothing will be otherwise by itself)."""
    if not held:
        return
    dialect, now = tx.database.dialect, clock.now(tx)
    claims = {one.root_id: one for one in held}
    left = []
    for root_id, asks, priority, _ in tx.connection.execute(_asked(dialect), {"ids": listed(dialect, claims)}):
        newer, after = asks > claims[root_id].asks, held[claims[root_id]]
        due = now if newer else None if after is None else now + after
        since, urgency = (now, priority) if newer else (None, 0)
        left.append({"root": root_id, "due": due, "tried": 0, "since": since, "urgency": urgency})
    tx.connection.execute(_LEAVE, left)
    if any(one["due"] is not None for one in left):
        wake.notify(tx, CHANNELS[next(iter(held)).root_kind])


@dataclass(frozen=True, slots=True)
class _Settling:
    tx: Tx
    held: Claim
    root: RootState | None
    work: Row[Any, Any, Any, Any, Any]
    now: float

    @property
    def newer(self) -> bool:
        """Something was asked for after the claim."""
        return bool(self.work.asks > self.held.asks)

    def done(self, outcome: Done) -> None:
        observed = max(outcome.generation, self.root.observed_generation if self.root else 0)
        self.tx.connection.execute(_observed(self.held.root_kind), {"root": self.held.root_id, "seen": observed})
        found = []
        if self.held.root_kind == LOADBALANCER.name:  # nothing hangs on a gslb
            mark_refused(self.tx, self.held.root_id, outcome.culprits, generation=outcome.generation)
            found = find_gone(self.tx, self.held.root_id, observed)
        gone = {key: generation for _, key, generation in found}
        if self.root is not None and (self.root.deleted_generation or ALL) <= observed:
            gone[self.held.root_id] = int(self.root.deleted_generation or 0)
        end = End(outcome.generation, remedy=outcome.remedy, culprits=outcome.culprits, gone=gone)
        jobs.end(self.tx, self.held, end, self.now)
        if remove_gone(self.tx, self.held.root_kind, self.held.root_id, observed, found) or self.root is None:
            nothing_left = End(ALL, gone={self.held.root_id: ALL})
            jobs.end(self.tx, self.held, nothing_left, self.now)
            self.tx.connection.execute(_NO_MORE, {"root": self.held.root_id})
            return
        if self.newer:
            self._leave(self.now, tries=0, since=self.now, priority=self.work.priority)
        elif outcome.left:
            self._leave(self.now + _pause_s(self.work.tries), tries=self.work.tries + 1, since=None, priority=0)
        else:
            after = outcome.look_after_s
            self._leave(None if after is None else self.now + after, tries=0, since=None, priority=0)

    def again(self, outcome: Again, deadline_s: float) -> None:
        since = self.work.pending_since
        if since is not None and self.now - since > deadline_s:
            self._give_up(outcome)
        self._try_again(outcome.after_s)

    def failed(self, outcome: Failed) -> None:
        self._give_up(outcome)
        self._try_again(None)

    def _give_up(self, outcome: Again | Failed) -> None:
        """The generation shows ERROR; it is tried further."""
        generation, reason = outcome.generation, outcome.reason
        if self.root is not None and generation > max(self.root.observed_generation, self.root.failed_generation):
            values = {"root": self.held.root_id, "tried": generation, "why": reason}
            self.tx.connection.execute(_given_up(self.held.root_kind), values)
        jobs.end(self.tx, self.held, End(generation, reason, outcome.remedy), self.now)

    def _try_again(self, after_s: float | None) -> None:
        since, priority = self.work.pending_since, self.work.priority
        if self.newer:
            self._leave(self.now, tries=0, since=since, priority=priority)
        else:
            pause = _pause_s(self.work.tries) if after_s is None else after_s
            self._leave(self.now + pause, tries=self.work.tries + 1, since=since, priority=priority)

    def _leave(self, due_at: float | None, *, tries: int, since: float | None, priority: int) -> None:
        values = {"root": self.held.root_id, "due": due_at, "tried": tries, "since": since, "urgency": priority}
        self.tx.connection.execute(_LEAVE, values)
        if due_at is not None:
            wake.notify(self.tx, CHANNELS[self.held.root_kind])


def _pause_s(tries: int) -> float:
    """Seconds until the next try: growing, capped, and not the same for all."""
    pause = min(PAUSE_MAX_S, PAUSE_S * float(1 << min(tries, PAUSE_DOUBLINGS_MAX)))
    return pause * random.uniform(0.75, 1.0)  # noqa: S311  spreads, protects nothing


def _make_due(tx: Tx, root_id: str, kind: Kind, *, priority: int, asked: bool, afresh: bool) -> None:
    """`asked`: for something new; `afresh`: what was pending has been given up, so that the deadline begins anew."""
    now = clock.now(tx)
    values = {"root": root_id, "kind": kind.name, "now": now, "urgency": priority}
    values |= {"since": now if asked else None, "anew": now if asked and afresh else None}
    tx.connection.execute(_due(tx.database.dialect), values)
    wake.notify(tx, CHANNELS[kind.name])


# Statements, built once. Their parameters are not called like columns: SQLAlchemy would set those.

_ROOT_ID = bindparam("root", type_=String)
_NOW = bindparam("now", type_=WORK.c.due_at.type)
_SINCE = bindparam("since", type_=WORK.c.due_at.type)
_URGENCY = bindparam("urgency", type_=Integer)


@cache
def _due(dialect: str) -> Any:
    statement = insert(dialect, WORK).values(
        root_id=_ROOT_ID,
        root_kind=bindparam("kind", type_=String),
        due_at=_NOW,
        fence=0,
        tries=0,
        asks=1,
        pending_since=_SINCE,
        priority=_URGENCY,
    )
    anew = bindparam("anew", type_=WORK.c.due_at.type)
    known = {
        "due_at": case((WORK.c.due_at < _NOW, WORK.c.due_at), else_=_NOW),
        "asks": WORK.c.asks + 1,
        "tries": 0,
        "priority": case((WORK.c.priority > _URGENCY, WORK.c.priority), else_=_URGENCY),
        "pending_since": func.coalesce(anew, WORK.c.pending_since, _SINCE),
    }
    return statement.on_conflict_do_update(index_elements=[WORK.c.root_id], set_=known)


def _claim() -> Any:
    urgent = (
        select(WORK.c.root_id)
        .where(_CLAIMABLE)
        .order_by(WORK.c.priority.desc(), WORK.c.due_at)
        .limit(bindparam("limit", type_=Integer))
    )
    # a subquery that locks is run once, not once a row, when it is materialized
    chosen = urgent.with_for_update(skip_locked=True).cte("chosen").prefix_with("MATERIALIZED", dialect="postgresql")
    mine = update(WORK).where(WORK.c.root_id.in_(select(chosen.c.root_id)))
    mine = mine.values(lease_until=bindparam("until"), fence=WORK.c.fence + 1, worker=bindparam("by"))
    told = (WORK.c.root_id, WORK.c.fence, WORK.c.asks, WORK.c.tries, WORK.c.priority, WORK.c.root_kind, WORK.c.due_at)
    return mine.returning(*told)


_OF_KIND = WORK.c.root_kind == bindparam("kind", type_=String)
_CLAIMABLE = and_(_OF_KIND, WORK.c.due_at <= _NOW, or_(WORK.c.lease_until.is_(None), WORK.c.lease_until <= _NOW))
_ANY_DUE = select(WORK.c.root_id).where(_CLAIMABLE).limit(1)
_CLAIM = _claim()
_MINE = and_(WORK.c.root_id == _ROOT_ID, WORK.c.fence == bindparam("token"))
_STILL_MINE = select(WORK.c.root_id).where(_MINE)
_RENEW = update(WORK).where(_MINE, WORK.c.lease_until.is_not(None)).values(lease_until=bindparam("until"))
_FREE = func.coalesce(WORK.c.lease_until, 0.0)
_AT_BEST = case((WORK.c.due_at > _FREE, WORK.c.due_at), else_=_FREE)
_SOONEST = select(func.min(_AT_BEST)).where(_OF_KIND, WORK.c.due_at.is_not(None))
_LOCK = (
    select(WORK.c.fence, WORK.c.asks, WORK.c.tries, WORK.c.pending_since, WORK.c.priority)
    .where(WORK.c.root_id == _ROOT_ID)
    .with_for_update()
)
_LEAVE = (
    update(WORK)
    .where(WORK.c.root_id == _ROOT_ID)
    .values(due_at=bindparam("due"), tries=bindparam("tried"), pending_since=_SINCE, priority=_URGENCY)
    .values(lease_until=None, worker=None)
)
_NO_MORE = delete(WORK).where(WORK.c.root_id == _ROOT_ID)


@cache
def _holders(dialect: str) -> Any:
    these = select(WORK.c.root_id, WORK.c.fence).where(among(dialect, WORK.c.root_id, "ids"))
    return these.order_by(WORK.c.root_id).with_for_update()


@cache
def _asked(dialect: str) -> Any:
    told = (WORK.c.root_id, WORK.c.asks, WORK.c.priority, WORK.c.fence)
    return select(*told).where(among(dialect, WORK.c.root_id, "ids")).order_by(WORK.c.root_id)


@cache
def _raise(name: str) -> Any:
    root = TABLES[name]
    higher = update(root).where(root.c.id == _ROOT_ID).values(generation=root.c.generation + 1)
    return higher.returning(root.c.generation, root.c.failed_generation)


@cache
def _raise_all(name: str, dialect: str) -> Any:
    root = TABLES[name]
    higher = update(root).where(among(dialect, root.c.id, "ids")).values(generation=root.c.generation + 1)
    return higher.returning(root.c.id, root.c.generation, root.c.failed_generation)


@cache
def _observed(name: str) -> Any:
    root = TABLES[name]
    seen = bindparam("seen", type_=root.c.generation.type)
    still_failed = root.c.failed_generation > seen
    return (
        update(root)
        .where(root.c.id == _ROOT_ID)
        .values(observed_generation=seen)
        .values(failed_generation=case((still_failed, root.c.failed_generation), else_=0))
        .values(reason=case((still_failed, root.c.reason), else_=null()))
    )


@cache
def _given_up(name: str) -> Any:
    root = TABLES[name]
    return (
        update(root).where(root.c.id == _ROOT_ID).values(failed_generation=bindparam("tried"), reason=bindparam("why"))
    )
