# SPDX-License-Identifier: Apache-2.0
"""Doubts about this checker itself: while its own network is not well, it holds nothing and says nothing.

The operator may name controls, which can be reached whenever the network is well. They are tried every few seconds, and
before anybody is said to be down. Where too many go down together, the controls decide whose fault it is; without them
the checker steps back for a while, and then believes what it sees: a doubt delays, it denies nothing.
"""

import asyncio
import contextlib
import heapq
from collections.abc import Callable, Sequence

import structlog

from caryatid import metrics
from caryatid.wire.checks import Check

TARGETS_MIN = 20
"""So many checks must have a word for going down together to be suspicious."""
CONTROL_EVERY_S = 5.0
CONTROL_TIMEOUT_S = 2.5
"""One lost packet of a connection's first is sent again after a second."""
RECENT_S = 0.25
"""A control that was reached so shortly before counts as reached since."""
RECOVER_EVERY_S = 1.0
RECOVER_TIMES = 2
"""Successes in a row of the controls after which all is well again."""
DOUBT_S = 30.0
"""Without controls: for how long nothing is held."""
BELIEVE_S = 300.0
"""Without controls: for how long after that going down together is no reason for doubt."""
MANY = "More than {} % of the targets went down within one interval."
UNREACHABLE = "The controls cannot be reached: {}."

log = structlog.get_logger()


class Quarantine:
    """Whether this checker can be believed. `changed` is called when that is otherwise."""

    def __init__(self, percent: int, changed: Callable[[], None]) -> None:
        self._percent, self._changed = percent, changed
        self._loop = asyncio.get_running_loop()
        self._controls: tuple[str, ...] = ()
        self._falls: list[float] = []
        """When each check that went down lately did so longer than its interval ago: a heap."""
        self._reached = float("-inf")
        self._ends = 0.0
        self._believes = float("-inf")
        self._look = asyncio.Event()
        self.reason = ""
        """Why nothing is held; empty: all is well."""

    def retarget(self, controls: Sequence[str]) -> None:
        """These are the controls from now on."""
        if tuple(controls) != self._controls:
            self._controls = tuple(controls)
            self._look.set()

    def fell(self, check: Check, words: int) -> None:
        """A check that was UP is DOWN. `words`: of how many checks something is said."""
        now = self._loop.time()
        while self._falls and self._falls[0] <= now:
            heapq.heappop(self._falls)
        heapq.heappush(self._falls, now + check.interval_s)
        if words < TARGETS_MIN or len(self._falls) * 100 <= self._percent * words:
            return
        if self.reason or now < self._believes:
            return
        self._falls.clear()
        if self._controls:
            self._look.set()
            return
        self._ends = now + DOUBT_S
        self._enter(MANY.format(self._percent))

    async def well(self, since: float) -> bool:
        """Whether the network was well after that moment. If not, nothing is held from now on."""
        if self.reason:
            return False
        return not self._controls or self._reached >= since - RECENT_S or await self._try()

    async def run(self) -> None:
        """Look after the controls, until cancelled."""
        while True:
            if self.reason:
                await self._recover()
            elif self._controls:
                await self._try()
            await self._pause(CONTROL_EVERY_S if not self.reason else RECOVER_EVERY_S)

    async def _recover(self) -> None:
        if not self._controls:
            if self._loop.time() >= self._ends:
                self._believes = self._loop.time() + BELIEVE_S
                self._leave()
            return
        for _ in range(RECOVER_TIMES - 1):
            if not await _reachable(self._controls):
                return
            await asyncio.sleep(RECOVER_EVERY_S / 2)
        if await _reachable(self._controls):
            self._reached = self._loop.time()
            self._leave()

    async def _try(self) -> bool:
        began, controls = self._loop.time(), self._controls
        if await _reachable(controls):
            self._reached = max(self._reached, began)
            return True
        if controls == self._controls and not self.reason:
            self._enter(UNREACHABLE.format(", ".join(controls)[:400]))
        return False

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._look.wait()
        self._look.clear()

    def _enter(self, reason: str) -> None:
        self.reason = reason
        metrics.CHECKER_QUARANTINED.set(1)
        log.error("checker quarantined", reason=reason)
        self._look.set()
        self._changed()

    def _leave(self) -> None:
        self.reason = ""
        self._falls.clear()
        metrics.CHECKER_QUARANTINED.set(0)
        log.warning("checker is believed again")
        self._changed()


async def _reachable(controls: Sequence[str]) -> bool:
    """Whether half of the controls or more take a connection."""
    trying = [asyncio.create_task(_connects(control)) for control in controls]
    reached = 0
    try:
        for one in asyncio.as_completed(trying, timeout=CONTROL_TIMEOUT_S):
            reached += await one
            if reached * 2 >= len(trying):
                return True
    except TimeoutError:
        pass
    finally:
        for task in trying:
            task.cancel()
        await asyncio.gather(*trying, return_exceptions=True)
    return False


async def _connects(control: str) -> bool:
    host, _, port = control.rpartition(":")
    try:
        _, writer = await asyncio.open_connection(host.strip("[]"), int(port))
    except (OSError, ValueError):
        return False
    writer.close()
    return True
