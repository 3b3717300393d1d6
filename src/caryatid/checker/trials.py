# SPDX-License-Identifier: Apache-2.0
"""Dry runs: somebody wants to know what this region would find. Nothing of them is remembered."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

import structlog

from caryatid.wire.checkers import WAIT_S, ChecksClient
from caryatid.wire.checks import Check, Done, Trial, Tried
from caryatid.wire.checks import Trials as Told
from caryatid.wire.conductor import ConductorError

from .outcome import Outcome
from .quarantine import Quarantine
from .schedule import wanted

AT_ONCE = 20
BACK_OFF_S = (0.2, 0.5, 1.0, 2.0, 5.0)
SAME_S = 0.2
TELL_TRIES = 3
REASON_MAX = 500

Dry = Callable[[Check, Mapping[str, str]], Awaitable[Outcome]]
"""One try, with what it needs of the key store."""
log = structlog.get_logger()


class Trials:
    """Asks for dry runs, makes them side by side, and tells what came of each."""

    def __init__(self, checker: str, client: Callable[[], ChecksClient], once: Dry, quarantine: Quarantine) -> None:
        self._checker, self._client, self._once, self._quarantine = checker, client, once, quarantine
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._running: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Until cancelled."""
        failures = 0
        try:
            while True:
                if self._quarantine.reason:
                    await asyncio.sleep(1)
                    continue
                try:
                    told = await self._client().tests(Done(checker=self._checker, wait_s=WAIT_S))
                except ConductorError as error:
                    failures += 1
                    log.debug("dry runs not known", reason=str(error))
                    await asyncio.sleep(BACK_OFF_S[min(failures, len(BACK_OFF_S)) - 1])
                    continue
                failures = 0
                self._begin(told)
                await asyncio.sleep(0 if told.trials else SAME_S)
        finally:
            for task in self._running:
                task.cancel()

    def _begin(self, told: Told) -> None:
        for trial in told.trials:
            task = asyncio.create_task(self._make(trial, told.contents))
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    async def _make(self, trial: Trial, contents: Mapping[str, str]) -> None:
        async with self._slots:
            outcome = await wanted(lambda check: self._once(check, contents), trial.check)
        tried = Tried(
            id=trial.id,
            word="UP" if outcome.up else "DOWN",
            reason=outcome.reason[:REASON_MAX],
            rtt_ms=outcome.rtt_ms,
        )
        for pause_s in BACK_OFF_S[:TELL_TRIES]:
            try:
                told = await self._client().tests(Done(checker=self._checker, tried=[tried]))
            except ConductorError:
                await asyncio.sleep(pause_s)
            else:
                self._begin(told)
                return
