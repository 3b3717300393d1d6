# SPDX-License-Identifier: Apache-2.0
"""One delivery: it is sent to its receiver, and something comes of it."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import TypeVar

from caryatid import metrics
from caryatid.drivers.outbound import Outbound, Unreachable
from caryatid.plan import webhooks as plan
from caryatid.plan.webhooks import Message, Verdict
from caryatid.store.database import Tx

from .door import Door
from .webhooks import Trial

T = TypeVar("T")
AT_ONCE = 256
AT_ONCE_FAILING = 64
"""To receivers that failed last: those that hang do not hold up the others."""


@dataclass(frozen=True)
class Sent:
    """What came of one attempt."""

    verdict: Verdict
    status: int | None
    reason: str
    """Why not."""
    took_s: float


async def send(outbound: Outbound, url: str, message: Message, keys: tuple[bytes, ...]) -> Sent:
    began = time.monotonic()
    try:
        answer = await outbound.post(url, message.body, plan.headers(message, int(time.time()), keys))
    except Unreachable as error:
        return Sent("failed", None, str(error), time.monotonic() - began)
    verdict = plan.verdict(answer.status)
    reason = "" if verdict == "delivered" else f"The receiver answers {answer.status}."
    return Sent(verdict, answer.status, reason, time.monotonic() - began)


async def try_out(door: Door, trial: Trial) -> Sent:
    """What comes of a test."""
    outbound = await asyncio.to_thread(Outbound, door.settings.webhook_networks, door.settings.webhook_ca)
    async with outbound:
        return await send(outbound, trial.url, trial.message, trial.keys)


class Roads:
    """What all that is delivered shares."""

    def __init__(self, door: Door, outbound: Outbound, threads: Executor) -> None:
        self.door = door
        self._outbound = outbound
        self._threads = threads
        self._good = asyncio.Semaphore(AT_ONCE)
        self._failing = asyncio.Semaphore(AT_ONCE_FAILING)

    async def send(self, url: str, message: Message, keys: tuple[bytes, ...], *, failing: bool) -> Sent:
        async with self._failing if failing else self._good:
            sent = await send(self._outbound, url, message, keys)
        metrics.WEBHOOKS.labels(sent.verdict).inc()
        return sent

    async def write(self, act: Callable[[Tx], T]) -> T:
        """What `act` does in a transaction of its own, on a thread."""

        def whole() -> T:
            with self.door.database.transaction() as tx:
                return act(tx)

        return await asyncio.get_running_loop().run_in_executor(self._threads, whole)

    async def read(self, act: Callable[[Tx], T]) -> T:
        def whole() -> T:
            with self.door.database.read() as tx:
                return act(tx)

        return await asyncio.get_running_loop().run_in_executor(self._threads, whole)
