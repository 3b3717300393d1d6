# SPDX-License-Identifier: Apache-2.0
"""Tells the conductor what was found: edges at once, and while it is away the newest word of each check, with its age.

A vote is said under the fence that its share has when it is found. Who has the share later has a higher fence; what is
said under the lower one then does not count, so nothing old can take the place of something newer.
"""

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from itertools import count, islice

import structlog

from caryatid import metrics
from caryatid.wire.checkers import ChecksClient
from caryatid.wire.checks import Check, Vote, Votes, Word
from caryatid.wire.conductor import ConductorError

from .outcome import Outcome

COALESCE_S = 0.02
"""Between two requests."""
BATCH = 2000
BACK_OFF_S = (0.2, 0.5, 1.0, 2.0, 5.0)
AGE_MAX_S = 86_400.0
UNSAID_S = 1.0
"""Whose flip is not with the conductor for so long is not confirmed to be as it was."""
REASON_MAX = 500

Well = Callable[[float], Awaitable[bool]]
"""Whether this checker's own network was well after that moment: nobody is said to be DOWN otherwise."""
Key = tuple[str, str]
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Unsaid:
    """A vote that the conductor does not know."""

    vote: Vote
    at: float
    """When it was found, in the loop's time."""


class Report:
    """Holds the newest word of each check until the conductor has it."""

    def __init__(
        self,
        checker: str,
        client: Callable[[], ChecksClient],
        fences: Mapping[int, int],
        well: Well,
        lost: Callable[[Mapping[int, int]], None],
    ) -> None:
        """`fences`: of the shares that are ours. `lost` is told of shares (and their fences) that are not any more."""
        self._checker, self._client, self._fences, self._well, self._lost = checker, client, fences, well, lost
        self._unsaid: dict[Key, Unsaid] = {}
        self._number = count(1)
        self._loop = asyncio.get_running_loop()
        self._news, self._back = asyncio.Event(), asyncio.Event()
        self._sending = asyncio.Lock()

    def __len__(self) -> int:
        return len(self._unsaid)

    def say(self, check: Check, word: Word, outcome: Outcome) -> None:
        """The conductor will know it; what it does not know of the same check is forgotten."""
        fence = self._fences.get(check.share)
        if fence is None:
            return
        vote = Vote.model_construct(
            monitor_id=check.monitor_id,
            member_id=check.member_id,
            share=check.share,
            fence=fence,
            word=word,
            seq=next(self._number),
            age_s=0.0,
            reason=outcome.reason[:REASON_MAX],
            rtt_ms=outcome.rtt_ms,
        )
        key = check.monitor_id, check.member_id
        self._unsaid.pop(key, None)  # so that they stay in the order in which they were found
        self._unsaid[key] = Unsaid(vote, self._loop.time())
        self._changed()
        self._news.set()

    def hurry(self) -> None:
        """The conductor is there: what it does not know is told now."""
        self._back.set()
        if self._unsaid:
            self._news.set()

    def forget(self, kept: Mapping[int, int] | None = None) -> None:
        """Whatever was found under other fences than these is not told any more; None: nothing is."""
        own = kept or {}
        self._unsaid = {key: one for key, one in self._unsaid.items() if own.get(one.vote.share) == one.vote.fence}
        self._changed()

    def behind(self) -> set[int]:
        """Shares of which the conductor should know something else by now."""
        before = self._loop.time() - UNSAID_S
        found = set()
        for one in self._unsaid.values():
            if one.at > before:
                break
            found.add(one.vote.share)
        return found

    async def run(self) -> None:
        """Tell, until cancelled."""
        failures = 0
        while True:
            await self._wait(failures)
            try:
                await self.tell()
            except ConductorError as error:
                if not failures:
                    log.warning("votes are kept", reason=str(error), votes=len(self._unsaid))
                failures += 1
            else:
                if failures:
                    log.info("votes are told again")
                failures = 0
                await asyncio.sleep(COALESCE_S)

    async def tell(self) -> None:
        """The conductor knows all that there was to tell. Raises ConductorError."""
        async with self._sending:
            while self._unsaid and await self._well(self._newest_down()):
                await self._send(dict(islice(self._unsaid.items(), BATCH)))

    async def _wait(self, failures: int) -> None:
        """Until there is something to tell; while the conductor is away, until it may be there again."""
        if not failures:
            await self._news.wait()
            self._news.clear()
            return
        pause_s = BACK_OFF_S[min(failures, len(BACK_OFF_S)) - 1] * random.uniform(0.7, 1)  # noqa: S311 - spreads load
        self._back.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(pause_s):
                await self._back.wait()

    def _newest_down(self) -> float:
        """When the latest was found that says of somebody that it is down."""
        return max((one.at for one in self._unsaid.values() if one.vote.word == "DOWN"), default=0.0)

    async def _send(self, batch: Mapping[Key, Unsaid]) -> None:
        now = self._loop.time()
        votes = [one.vote.model_copy(update={"age_s": min(AGE_MAX_S, now - one.at)}) for one in batch.values()]
        taken = await self._client().votes(Votes.model_construct(checker=self._checker, votes=votes))
        for key, one in batch.items():
            if self._unsaid.get(key) is one:
                del self._unsaid[key]
        self._changed()
        if taken.stale:
            stale = set(taken.stale)
            self._lost({one.vote.share: one.vote.fence for one in batch.values() if one.vote.share in stale})

    def _changed(self) -> None:
        metrics.CHECKS_BUFFERED.set(len(self._unsaid))
