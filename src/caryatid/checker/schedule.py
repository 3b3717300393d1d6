# SPDX-License-Identifier: Apache-2.0
"""When each check is made: one timer for all, what is due as tasks, so many at a time, and none stalls the others.

A check's turn comes every `interval_s`, at a moment of its own (`phase`), which differs from checker to checker. Who is
not well answers late, or not at all: of the slots, a quarter is kept from checks that took long the last time, so
however many targets hang, those that answer are checked in time. What was late all the same is told (`late`).
"""

import asyncio
import heapq
from binascii import crc32
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, replace
from itertools import count

import structlog
from prometheus_client import Counter, Histogram

from caryatid import metrics
from caryatid.wire.checks import Check, Word

from .outcome import Outcome
from .rising import Course

START_PER_S = 1000
"""Checks that are new together are made for the first time at this pace, or within their interval."""
RECHECK_S = 1.0
SLOW = 0.5
"""Of its timeout: what took longer is slow."""
SLOW_SHARE = 0.75
"""Of the slots, that slow ones may have."""
GRACE_S = 1.0
"""After its deadline, a check that has not ended is ended."""
DRIFT_S = 60.0
"""A word that stays is said again, with how long it takes now, when that has changed much, and not more often."""
DRIFT = 0.25
DRIFT_MS = 5.0
SMOOTHING = 0.2
"""Weight of the latest of the times that it takes."""
HEAP_SPARE = 1000
VOTE_INTERVALS = 3
"""That a vote lasts, and its timeout."""
UNWANTED = "It did not fail, and a failure is wanted."
STUCK = "The check did not end within its timeout."
BROKEN = "The check itself failed: {}."

Once = Callable[[Check], Awaitable[Outcome]]
Say = Callable[[Check, Word, Word | None, Outcome], None]
"""The check, what is said of it, and what was before."""
log = structlog.get_logger()


@dataclass(slots=True, eq=False)
class Kept:
    """A check that is ours."""

    check: Check
    course: Course
    phase: float
    due: float = 0.0
    began: float = 0.0
    said: bool = False
    """Its word has been said under the fence in force."""
    said_at: float = 0.0
    said_ms: float = 0.0
    rtt_ms: float | None = None
    """Smoothed."""
    known_at: float = 0.0
    """When it could be tried last."""
    slow: bool = False
    gone: bool = False
    task: "asyncio.Task[None] | None" = None


@dataclass(slots=True)
class Made:
    """Checks of a share that were made since it was said that it is on time."""

    all: int = 0
    ours: int = 0
    """Could not be tried."""

    @property
    def mostly_ours(self) -> bool:
        return self.ours * 2 > self.all


class Schedule:
    """Makes checks again and again until told otherwise."""

    def __init__(self, once: Once, say: Say, checker: str, concurrency: int) -> None:
        self._once, self._say, self._checker = once, say, checker
        self._slots = concurrency
        self._slow_slots = max(1, int(concurrency * SLOW_SHARE))
        self._loop = asyncio.get_running_loop()
        self._kept: dict[tuple[str, str], Kept] = {}
        self._heap: list[tuple[float, int, Kept]] = []
        self.words = 0
        """Of how many checks something is said."""
        self._number = count()
        self._running: set[Kept] = set()
        self._slow_running = 0
        self._waiting: tuple[deque[Kept], deque[Kept]] = (deque(), deque())
        self._timer: asyncio.TimerHandle | None = None
        self._armed = 0.0
        """When the timer comes."""
        self._late: set[int] = set()
        self._made: dict[int, Made] = {}
        self._counted: dict[tuple[str, str], tuple[Counter, Histogram]] = {}

    def __len__(self) -> int:
        return len(self._kept)

    def want(self, checks: Iterable[Check], shares: Iterable[int]) -> None:
        """Of these shares exactly these checks are made from now on. What is known goes on as it was; what is new goes
        on from what the region says of it; what has become another check begins anew."""
        own = set(shares)
        wanted = {(check.monitor_id, check.member_id): check for check in checks if check.share in own}
        self._drop(kept for key, kept in self._kept.items() if kept.check.share in own and key not in wanted)
        new = []
        for key, check in wanted.items():
            kept = self._kept.get(key)
            if kept is not None and kept.check.version == check.version and kept.check.share == check.share:
                continue
            if kept is not None:
                self._drop([kept])
            new.append(self._new(check, None if kept else check.word))
        self._begin(new)
        metrics.CHECKS_HELD.set(len(self._kept))

    def leave(self, shares: Iterable[int]) -> None:
        """No check of these is made any more; those under way end at once."""
        own = set(shares)
        self._drop(kept for kept in self._kept.values() if kept.check.share in own)
        self._late -= own
        metrics.CHECKS_HELD.set(len(self._kept))

    def again(self, share: int) -> None:
        """The share has another fence: of each of its checks the word is said once more, when it is found again."""
        for kept in self._kept.values():
            if kept.check.share == share:
                kept.said = False

    def late(self) -> set[int]:
        """Shares some of whose checks were late since `punctual` was called last. What should have ended has ended."""
        now = self._loop.time()
        self._turn()  # if this process has not run for a while, the timer comes too late to say so
        for lane in self._waiting:
            self._late.update(kept.check.share for kept in lane if _is_late(kept, now) and not kept.gone)
        self._late.update(share for share, made in self._made.items() if made.mostly_ours)
        for kept in list(self._running):
            if kept.task and now > kept.began + kept.check.timeout_s * (kept.check.retries + 1) + GRACE_S:
                kept.task.cancel(STUCK)
        return set(self._late)

    def punctual(self, told: Iterable[int]) -> None:
        """It has been told that these were late, and the others were not."""
        self._late.difference_update(told)
        self._made.clear()

    def close(self) -> None:
        """No check is made any more."""
        self._drop(list(self._kept.values()))
        if self._timer is not None:
            self._timer.cancel()

    def _new(self, check: Check, word: Word | None) -> Kept:
        fraction = crc32(f"{check.monitor_id}{check.member_id}{self._checker}".encode()) / 2**32
        return Kept(check, Course(word), fraction * check.interval_s)

    def _begin(self, new: list[Kept]) -> None:
        """Not all at the same moment, and a few sooner than in an interval."""
        now = self._loop.time()
        if len(self._heap) > 2 * len(self._kept) + HEAP_SPARE:
            self._heap = [entry for entry in self._heap if not entry[2].gone]
            heapq.heapify(self._heap)
        for kept in new:
            self._kept[kept.check.monitor_id, kept.check.member_id] = kept
            within = min(kept.check.interval_s, (len(new) - 1) / START_PER_S)
            kept.known_at = now
            self.words += kept.course.word is not None
            self._put(kept, now + within * kept.phase / kept.check.interval_s)
        self._arm()

    def _drop(self, these: Iterable[Kept]) -> None:
        for kept in list(these):
            kept.gone = True
            del self._kept[kept.check.monitor_id, kept.check.member_id]
            self.words -= kept.course.word is not None
            if kept.task is not None:
                kept.task.cancel()

    def _put(self, kept: Kept, due: float) -> None:
        kept.due = due
        heapq.heappush(self._heap, (due, next(self._number), kept))

    def _arm(self) -> None:
        """The one timer is for the first that is due."""
        if self._timer is not None:
            if self._heap and self._armed <= self._heap[0][0]:
                return
            self._timer.cancel()
            self._timer = None
        if self._heap:
            self._armed = self._heap[0][0]
            self._timer = self._loop.call_at(self._armed, self._turn)

    def _turn(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        now = self._loop.time()
        while self._heap and self._heap[0][0] <= now:
            _, _, kept = heapq.heappop(self._heap)
            if not kept.gone:
                self._waiting[kept.slow].append(kept)
        self._fill(now)
        self._arm()

    def _fill(self, now: float) -> None:
        """Free slots are given to those who wait; first to those who are not slow."""
        quick, slow = self._waiting
        while quick and len(self._running) < self._slots:
            self._start(quick.popleft(), now)
        while slow and len(self._running) < self._slots and self._slow_running < self._slow_slots:
            self._start(slow.popleft(), now)

    def _start(self, kept: Kept, now: float) -> None:
        if kept.gone:
            return
        if _is_late(kept, now):
            self._late.add(kept.check.share)
            metrics.CHECKS_LATE.inc()
        kept.began = now
        self._running.add(kept)
        self._slow_running += kept.slow
        kept.task = self._loop.create_task(self._make(kept, slow=kept.slow))

    async def _make(self, kept: Kept, *, slow: bool) -> None:
        try:
            outcome = await self._tried(kept.check)
        except asyncio.CancelledError:
            if kept.gone:
                raise
            outcome = Outcome(up=False, reason=STUCK)
        finally:
            self._running.discard(kept)
            self._slow_running -= slow
            kept.task = None
            self._fill(self._loop.time())
        self._found(kept, outcome)

    async def _tried(self, check: Check) -> Outcome:
        """Once, or until it is well, as often as the check allows at once."""
        outcome = await wanted(self._once, check)
        for _ in range(check.retries):
            if outcome.up or outcome.ours:
                break
            outcome = await wanted(self._once, check)
        return outcome

    def _found(self, kept: Kept, outcome: Outcome) -> None:
        now, check = self._loop.time(), kept.check
        took = now - kept.began
        kept.slow = took > SLOW * check.timeout_s
        self._count(check.type, outcome, took)
        if kept.gone:
            return
        made = self._made.setdefault(check.share, Made())
        made.all += 1
        made.ours += outcome.ours
        if not outcome.ours:
            kept.known_at = now
        try:
            if not outcome.ours or self._is_forlorn(kept, now):
                self._judge(kept, outcome, now)
        finally:  # whatever happens, it comes again
            self._put(kept, self._next(kept, now))
            self._arm()

    def _count(self, kind: str, outcome: Outcome, took: float) -> None:
        verdict = "ours" if outcome.ours else "up" if outcome.up else "down"
        counted = self._counted.get((kind, verdict))
        if counted is None:
            counted = (metrics.CHECKS.labels(kind, verdict), metrics.CHECK_SECONDS.labels(kind))
            self._counted[kind, verdict] = counted
        counted[0].inc()
        counted[1].observe(took)

    def _is_forlorn(self, kept: Kept, now: float) -> bool:
        """For as long as a vote lasts, that we cannot try a check is no news of it. After that it counts as a failure,
        since nothing else would ever say that its word holds no longer; but not while most others cannot be tried."""
        check = kept.check
        lasts_s = VOTE_INTERVALS * check.interval_s + check.timeout_s
        return kept.said and now - kept.known_at > lasts_s and not self._made[check.share].mostly_ours

    def _judge(self, kept: Kept, outcome: Outcome, now: float) -> None:
        check, course = kept.check, kept.course
        if outcome.up and outcome.rtt_ms is not None:
            kept.rtt_ms = outcome.rtt_ms + (1 - SMOOTHING) * ((kept.rtt_ms or outcome.rtt_ms) - outcome.rtt_ms)
        before = course.word
        flipped = course.take(up=outcome.up, rise=check.rise, fall=check.fall)
        self.words += flipped and before is None
        if course.word is not None and (flipped or (not course.against and _is_news(kept, now))):
            kept.said, kept.said_at, kept.said_ms = True, now, kept.rtt_ms or 0.0
            self._say(check, course.word, before, replace(outcome, rtt_ms=kept.rtt_ms) if outcome.up else outcome)

    def _next(self, kept: Kept, now: float) -> float:
        check = kept.check
        if kept.course.against and check.rapid_recheck:
            return now + min(RECHECK_S, check.interval_s)
        reached = max(now, kept.due)
        due = reached + check.interval_s - (reached - kept.phase) % check.interval_s
        return due if due - reached > check.interval_s / 100 else due + check.interval_s


async def wanted(once: Once, check: Check) -> Outcome:
    """One try, turned round where a failure is what is wanted. What goes wrong in the check itself is ours."""
    try:
        outcome = await once(check)
    except Exception as error:
        log.exception("check failed by itself", type=check.type, monitor=check.monitor_id, member=check.member_id)
        return Outcome(up=False, reason=BROKEN.format(type(error).__name__), ours=True)
    if not check.inverted or outcome.ours:
        return outcome
    return Outcome(up=not outcome.up, reason=UNWANTED if outcome.up else "", rtt_ms=outcome.rtt_ms)


def _is_news(kept: Kept, now: float) -> bool:
    """Whether the same word is worth saying again."""
    if not kept.said:
        return True
    drift_ms = abs((kept.rtt_ms or 0.0) - kept.said_ms)
    return drift_ms > max(DRIFT_MS, DRIFT * kept.said_ms) and now - kept.said_at > DRIFT_S


def _is_late(kept: Kept, now: float) -> bool:
    """An interval after its turn it has still not been made."""
    return now - kept.due > kept.check.interval_s
