# SPDX-License-Identifier: Apache-2.0
"""Which shares of its region's checks are this checker's: it says every second that it is there, and is told.

A share that it is not told to have any more is not checked from then on. While no conductor answers, it goes on with
those that it has, and keeps what it finds: a conductor that is being replaced shall cost nothing, and when all of a
region's checkers are cut off, nobody else would do it. If another one was given a share meanwhile, a target is checked
by two for a while, but only one is heard: fences decide (report.py). It does not go on for ever, though (`ALONE_S`): a
checker that everybody has forgotten must not go on knocking. Who is refused, stops at once.
"""

import asyncio
import contextlib
import random
from collections.abc import Callable, Mapping

import structlog

from caryatid.wire.checkers import WAIT_S, ChecksClient, ConductorDenied
from caryatid.wire.checks import Held, Known, Seat, Wanted
from caryatid.wire.conductor import ConductorError

from .quarantine import Quarantine
from .report import Report
from .schedule import Schedule

SEAT_EVERY_S = 1.0
SEAT_BACK_OFF_S = 0.3
ALONE_S = 600.0
DENIED_S = 10.0
BACK_OFF_S = (0.2, 0.5, 1.0, 2.0, 5.0)
READ_PER_S = 25_000
"""Checks that are read in a second on average: however often they change, most of the time is for making them."""
SAME_S = 0.2
"""A conductor that answers at once that nothing is new is not asked more often."""

log = structlog.get_logger()


class Shares:
    """What this checker has, kept in agreement with the conductor."""

    def __init__(
        self,
        checker: str,
        client: Callable[[], ChecksClient],
        fences: dict[int, int],
        schedule: Schedule,
        report: Report,
        quarantine: Quarantine,
    ) -> None:
        """`fences`: by share, of those that are ours; changed here alone."""
        self._checker, self._client, self._fences = checker, client, fences
        self._schedule, self._report, self._quarantine = schedule, report, quarantine
        self._loop = asyncio.get_running_loop()
        self._renewed = self._loop.time()
        self._known: tuple[str, frozenset[int]] = ("", frozenset())
        """The version of the checks that we have, and the shares that they are of."""
        self._look, self._moved = asyncio.Event(), asyncio.Event()

    async def sit(self, denied: Callable[[], None] = lambda: None) -> None:
        """Say that we are here, until cancelled. `denied` is called whenever we are not let in."""
        failed = False
        while True:
            began = self._loop.time()
            try:
                await self.renew()
                failed, pause = False, SEAT_EVERY_S
            except ConductorDenied as error:
                log.warning("checker is not let in", reason=str(error))
                self._have({})
                self._known = ("", frozenset())
                denied()
                pause = DENIED_S
            except ConductorError as error:
                if not failed:
                    log.warning("the conductor does not answer", reason=str(error))
                if began - self._renewed > ALONE_S and self._fences:
                    log.warning("nothing is checked any more", alone_s=ALONE_S)
                    self._have({})
                failed, pause = True, SEAT_BACK_OFF_S
            ends = began + pause * random.uniform(0.9, 1.0)  # noqa: S311 - spreads load
            await _rung(self._look, ends - self._loop.time())

    async def renew(self, *, leaving: bool = False) -> None:
        """We have said that we are here, and have what we are told. Raises ConductorError."""
        now = self._loop.time()
        late = self._schedule.late() | self._report.behind() | (set(self._fences) - self._known[1])
        doubted = bool(self._quarantine.reason)
        held = [Held(share=share, fence=fence, on_time=share not in late) for share, fence in self._fences.items()]
        told = await self._client().shares(
            Seat(checker=self._checker, held=[] if doubted else held, leaving=leaving, quarantined=doubted)
        )
        self._renewed = now
        self._schedule.punctual(late)
        if self._quarantine.reason or leaving:
            self._have({})
            return
        self._have({one.share: one.fence for one in told.held})
        if told.checks not in {"", self._known[0]}:
            self._moved.set()
        self._report.hurry()

    def lost(self, fences: Mapping[int, int]) -> None:
        """What we said of these shares under these fences was not heard: somebody else has them."""
        kept = {share: fence for share, fence in self._fences.items() if fences.get(share) != fence}
        if len(kept) < len(self._fences):
            log.info("shares lost", shares=sorted(set(self._fences) - set(kept)))
            self._have(kept)
            self._look.set()

    def doubt(self) -> None:
        """We are quarantined, or not any more."""
        if self._quarantine.reason:
            self._have({})
        self._look.set()

    async def follow(self, taken: Callable[[Wanted], None]) -> None:
        """Know which checks are ours, until cancelled. `taken` is called with each new answer, before it counts."""
        failures = 0
        while True:
            self._moved.clear()
            version, shares = self._known[0], frozenset(self._fences)
            known = version if shares == self._known[1] else ""
            question = Known(checker=self._checker, checks=known, shares=sorted(shares), wait_s=WAIT_S if known else 0)
            asking = asyncio.create_task(self._client().wanted(question))
            try:
                if known:
                    await _first(asking, self._moved)
                    if not asking.done():
                        continue
                wanted = await asking
            except ConductorError as error:
                failures += 1
                log.debug("checks not known", reason=str(error))
                await asyncio.sleep(BACK_OFF_S[min(failures, len(BACK_OFF_S)) - 1])
                continue
            finally:
                asking.cancel()
            failures = 0
            if wanted.checks in {"", known}:  # it does not know yet; or the time is over, and nothing is new
                await _rung(self._moved, SAME_S)
                continue
            taken(wanted)
            own = shares & set(self._fences)
            self._schedule.want([check for check in wanted.wanted if check.share in own], own)
            self._known = (wanted.checks, own)
            log.info("checks", shares=len(own), checks=len(self._schedule))
            await asyncio.sleep(len(wanted.wanted) / READ_PER_S)

    def _have(self, fences: Mapping[int, int]) -> None:
        """These shares are ours from now on, and no others."""
        gone = [share for share in self._fences if share not in fences]
        other = [share for share, fence in fences.items() if self._fences.get(share, fence) != fence]
        new = [share for share in fences if share not in self._fences]
        self._fences.clear()
        self._fences.update(fences)
        if gone or other:
            self._known = (self._known[0], self._known[1].difference(gone))  # they may be back before we ask again
            self._schedule.leave(gone)
            self._report.forget(fences)
        for share in other:
            self._schedule.again(share)
        if gone or new:
            self._moved.set()


async def _first(task: "asyncio.Task[Wanted]", bell: asyncio.Event) -> None:
    """The task has ended, or the bell has rung."""
    ringing = asyncio.create_task(bell.wait())
    try:
        await asyncio.wait({task, ringing}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        ringing.cancel()


async def _rung(bell: asyncio.Event, within_s: float) -> None:
    """The bell has rung, or the time is over."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(max(0.0, within_s)):
            await bell.wait()
    bell.clear()
