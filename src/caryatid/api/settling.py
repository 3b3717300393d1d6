# SPDX-License-Identifier: Apache-2.0
"""Waiting until what was asked for is in effect: any number of requests, one look for all of them a wake-up."""

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from contextlib import contextmanager, suppress
from typing import Any, Final

from caryatid import metrics
from caryatid.errors import Busy
from caryatid.model.kind import Kind
from caryatid.store import rows
from caryatid.store.database import Database

from .call import aside
from .news import LOOK_AGAIN_S, News

CHANNEL: Final = "jobs"
"""Rings whenever an attempt has ended."""
WAIT_MAX_S: Final = 60.0
WAITERS_MAX: Final = 20_000
PENDING: Final = "PENDING_"
Turn = asyncio.Future[None]


class Settling:
    """Those who wait in this process."""

    def __init__(self, news: News) -> None:
        self._news = news
        self._waiting: dict[Kind, dict[str, set[Turn]]] = {}
        self._count = 0
        self._looking: asyncio.Task[None] | None = None

    @property
    def closing(self) -> bool:
        """Nobody shall wait any longer."""
        return self._news.closing

    @contextmanager
    def turn(self, kind: Kind, key: str) -> Iterator[Turn]:
        """Done when the resource, as it is from now on, is pending no more, or gone. Raises Busy when too many wait."""
        if self._count >= WAITERS_MAX:
            raise Busy(f"{WAITERS_MAX} requests wait here already. Try again.")
        turn = asyncio.get_running_loop().create_future()
        turns = self._waiting.setdefault(kind, {}).setdefault(key, set())
        turns.add(turn)
        self._count += 1
        metrics.WAITING.inc()
        try:
            yield turn
        finally:
            self._count -= 1
            metrics.WAITING.dec()
            turns.discard(turn)
            if not turns and self._waiting[kind].get(key) is turns:
                del self._waiting[kind][key]

    async def wait(self, database: Database, turns: AbstractSet[Turn], timeout_s: float) -> None:
        """Until the first of them is done, `timeout_s` have passed, or the process is about to end."""
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look(database))
        await asyncio.wait(turns, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)

    async def _look(self, database: Database) -> None:
        """As long as anybody waits, and no more than half of the time."""
        loop = asyncio.get_running_loop()
        while self._count and not self._news.closing:
            began, number = loop.time(), self._news.number(CHANNEL)
            for kind in list(self._waiting):
                with suppress(Busy):  # it is looked for again
                    self._call(kind, await aside(_settled, database, kind, list(self._waiting[kind])))
            took_s = loop.time() - began
            await self._news.after(CHANNEL, number, LOOK_AGAIN_S)
            await asyncio.sleep(took_s)
        for kind, waited in self._waiting.items():
            self._call(kind, list(waited))

    def _call(self, kind: Kind, keys: Iterable[str]) -> None:
        for key in keys:
            for turn in self._waiting[kind].pop(key, ()):
                if not turn.done():
                    turn.set_result(None)


def pending(document: Mapping[str, Any]) -> bool:
    return str(document["provisioning_status"]).startswith(PENDING)


def _settled(database: Database, kind: Kind, ids: list[str]) -> list[str]:
    """Those of the ids that are pending no more, or gone."""
    with database.read() as tx:
        found = rows.provisioning(tx, kind, ids) if ids else {}
    return [key for key in ids if not found.get(key, "").startswith(PENDING)]
