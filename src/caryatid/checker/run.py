# SPDX-License-Identifier: Apache-2.0
"""A checker's life: hold shares, make their checks, say what is found, until told to stop; then give them back."""

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from uuid import uuid4

from caryatid.wire.checkers import ChecksClient
from caryatid.wire.checks import Check, Wanted, Word
from caryatid.wire.conductor import ConductorError

from .outcome import Outcome
from .quarantine import Quarantine
from .report import Report
from .schedule import Schedule
from .shares import Shares
from .targets import Targets
from .trials import Trials
from .trying import Tries

LEAVE_S = 2.0
"""For what is still to be told at the end."""
RETIRE_S = 61.0
"""The longest timeout of a check, and a second."""


class Checker:
    """One process of a region."""

    def __init__(
        self, client: Callable[[], ChecksClient], *, concurrency: int, percent: int, programs: Sequence[str] = ()
    ) -> None:
        """`percent`: of the targets that go down together, above which this checker doubts itself."""
        self.id = str(uuid4())
        self._programs = programs
        self._limits: tuple[list[str], list[str]] = ([], [])
        self._tries = Tries(Targets([], []), programs)
        self._limited = asyncio.Event()
        """It is known what may be spoken to."""
        self._retired: set[asyncio.Task[None]] = set()
        fences: dict[int, int] = {}
        self.quarantine = Quarantine(percent, self._doubted)
        self.report = Report(self.id, client, fences, self.quarantine.well, self._lost)
        self.schedule = Schedule(self._once, self._say, self.id, concurrency)
        self.shares = Shares(self.id, client, fences, self.schedule, self.report, self.quarantine)
        self._trials = Trials(self.id, client, self._dry, self.quarantine)

    async def run(self) -> None:
        """Until cancelled; then what was held is given back."""
        sitting = self.shares.sit(self._denied)
        loops = (sitting, self.shares.follow(self._take), self.report.run(), self.quarantine.run())
        try:
            async with asyncio.TaskGroup() as group:
                for loop in (*loops, self._try_dry()):
                    group.create_task(loop)
        finally:
            await self._leave()

    async def _leave(self) -> None:
        self.schedule.close()
        with contextlib.suppress(TimeoutError, ConductorError):
            async with asyncio.timeout(LEAVE_S / 2):
                await self.report.tell()
        with contextlib.suppress(TimeoutError, ConductorError):
            async with asyncio.timeout(LEAVE_S / 2):
                await self.shares.renew(leaving=True)
        for task in self._retired:
            task.cancel()
        await self._tries.close()

    async def _once(self, check: Check) -> Outcome:
        return await self._tries.once(check)

    async def _dry(self, check: Check, contents: Mapping[str, str]) -> Outcome:
        return await self._tries.once(check, contents)

    async def _try_dry(self) -> None:
        await self._limited.wait()
        await self._trials.run()

    def _say(self, check: Check, word: Word, before: Word | None, outcome: Outcome) -> None:
        if (before, word) == ("UP", "DOWN"):
            self.quarantine.fell(check, self.schedule.words)
        self.report.say(check, word, outcome)

    def _doubted(self) -> None:
        self.shares.doubt()

    def _lost(self, fences: Mapping[int, int]) -> None:
        self.shares.lost(fences)

    def _denied(self) -> None:
        """We are not let in: what we were trusted with is forgotten."""
        self._tries.know({})

    def _take(self, wanted: Wanted) -> None:
        """What may be spoken to, what must be reachable, and what checks need."""
        self.quarantine.retarget(wanted.controls)
        if (wanted.allowed, wanted.refused) != self._limits:
            self._limits = (wanted.allowed, wanted.refused)
            old, self._tries = self._tries, Tries(Targets(*self._limits), self._programs)
            old.know({})
            task = asyncio.create_task(_retire(old))
            self._retired.add(task)
            task.add_done_callback(self._retired.discard)
        self._tries.know(wanted.contents)
        self._limited.set()


async def _retire(tries: Tries) -> None:
    """It is closed when nothing that has begun with it can be under way any more."""
    try:
        await asyncio.sleep(RETIRE_S)
    finally:
        await tries.close()
