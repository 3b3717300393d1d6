# SPDX-License-Identifier: Apache-2.0
"""Waiting for news of jobs: any number of requests, one look for all of them a wake-up.

A waiter holds no thread and no connection. The board reads what has been written since it last looked, and only the
jobs that somebody waits for and that there is something new of; all who wait for a job get the same document.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from caryatid import log
from caryatid.errors import Busy
from caryatid.store import attempts, clock, jobs
from caryatid.store.attempts import Changes
from caryatid.store.database import Database

from .call import aside
from .news import LOOK_AGAIN_S, News

WAITERS_MAX: Final = 20_000
CALLED_AT_ONCE: Final = 20
"""Waiters that go on before others are served again."""
READ_AT_ONCE: Final = 200
OVERLAP_S: Final = 1.0
"""How far before the last look the next one reads: what was written before that and committed after it."""
LATE_S: Final = 10.0
"""The same for a look every LOOK_AGAIN_S seconds: transactions that took long to commit."""
Document = dict[str, Any]
Turn = asyncio.Future[None]


@dataclass(eq=False)
class Watched:
    """A job that somebody waits for."""

    key: str
    document: Document | None = None
    """As it was last read; None: it has not been yet."""
    content: bytes = b""
    """The document as an answer shows it; empty: nobody has been answered with it yet."""
    turns: dict[Turn, int | None] = field(default_factory=dict)
    """Those who wait, and for news after which serial; None: for its end."""
    watchers: int = 0
    reading: asyncio.Future[Document] | None = None
    """Somebody reads it for the first time; all who come meanwhile get what is read."""

    def has(self, since: int | None) -> bool:
        """Whether there is what is waited for."""
        known = self.document
        if known is None:
            return False
        return known["ended_at"] is not None or (since is not None and known["serial"] > since)


class Board:
    """Those who wait in this process."""

    def __init__(self, news: News) -> None:
        self._news = news
        self._watched: dict[str, Watched] = {}
        self._unread: set[Watched] = set()
        self._roots: dict[str | None, set[Watched]] = {}
        self._pulses: dict[str | None, tuple[int, int]] = {}
        """Root → fence of its latest attempt, and how often that was written to, as last seen."""
        self._watchers = 0
        self._looking: asyncio.Task[None] | None = None

    @property
    def closing(self) -> bool:
        """Nobody shall wait any longer."""
        return self._news.closing

    @contextmanager
    def watch(self, key: str) -> Iterator[Watched]:
        """The job; all that is new of it from now on reaches it. Raises Busy when too many watch."""
        if self._watchers >= WAITERS_MAX:
            raise Busy(f"{WAITERS_MAX} requests wait for jobs here already. Try again.")
        watched = self._watched.get(key)
        if watched is None:
            watched = self._watched[key] = Watched(key)
            self._unread.add(watched)
        watched.watchers += 1
        self._watchers += 1
        try:
            yield watched
        finally:
            self._watchers -= 1
            watched.watchers -= 1
            if not watched.watchers:
                self._forget(watched)

    async def read(self, watched: Watched, read: Callable[[], Awaitable[Document]]) -> Document:
        """The job as it is known; `read` is asked if it is not yet, once for all who come meanwhile."""
        if watched.document is None:
            reading = watched.reading = watched.reading or asyncio.ensure_future(read())
            try:
                document = await asyncio.shield(reading)
            finally:
                watched.reading = None
            for turn in self._show(watched, document):
                _go_on(turn)
        return watched.document or {}

    def _show(self, watched: Watched, document: Document) -> list[Turn]:
        """The job is so, unless something newer is known; those who have waited for that."""
        if watched.document is None:
            self._unread.discard(watched)
            self._roots.setdefault(document["root_id"], set()).add(watched)
        elif document["serial"] <= watched.document["serial"]:
            return []
        watched.document, watched.content = document, b""
        return [turn for turn, since in watched.turns.items() if watched.has(since)]

    async def wait(
        self, database: Database, watched: Watched, since: int | None, timeout_s: float, gone: Turn | None = None
    ) -> Document:
        """The job, which has been read, once there is news of it after `since` (None: once it has ended), or as it is
        after `timeout_s`, or when whoever waits has `gone`."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        while not (watched.has(since) or self.closing or (gone and gone.done())):
            if (left_s := deadline - loop.time()) <= 0:
                break
            if self._looking is None or self._looking.done():
                self._looking = asyncio.create_task(self._look(database))
            turn: Turn = loop.create_future()
            watched.turns[turn] = since
            end = loop.call_later(left_s, _go_on, turn)
            go_on = partial(_go_on, turn)
            if gone is not None:
                gone.add_done_callback(go_on)
            try:
                await turn
            finally:
                end.cancel()
                del watched.turns[turn]
                if gone is not None:
                    gone.remove_done_callback(go_on)
        return watched.document or {}

    async def _look(self, database: Database) -> None:
        """As long as anybody waits, and no more than half of the time."""
        loop = asyncio.get_running_loop()
        last, late_at = 0.0, 0.0
        while self._watchers and not self.closing:
            began, number = loop.time(), self._news.number(attempts.CHANNEL)
            late = began >= late_at
            try:
                last, found = await aside(_changes, database, last, LATE_S if late else OVERLAP_S)
                await self._tell(database, [watched.key for watched in self._concerned(found)])
                late_at = began + LOOK_AGAIN_S if late else late_at
            except Busy:
                self._pulses.clear()  # what was seen may not have been told: it is looked for again
            except Exception:  # noqa: BLE001  whatever it was, thousands wait for the next look
                self._pulses.clear()
                log.get().exception("looking for news of jobs failed")
            await asyncio.sleep(loop.time() - began)
            await self._news.after(attempts.CHANNEL, number, LOOK_AGAIN_S)
        await self._call([turn for watched in self._watched.values() for turn in watched.turns])

    def _concerned(self, found: Changes) -> set[Watched]:
        """The jobs that are waited for and may have changed."""
        concerned = set(self._unread)  # who is reading them may have begun before this was written
        beating: dict[str, tuple[int, int]] = {}
        for (root_id, fence), news in found.pulses.items():
            if root_id in self._roots:
                beating[root_id] = max(beating.get(root_id, (0, 0)), (fence, news))
        for root_id, pulse in beating.items():
            if self._pulses.get(root_id) != pulse:
                self._pulses[root_id] = pulse
                concerned |= self._roots[root_id]
        concerned.update(self._watched[key] for key in found.ended if key in self._watched)
        return {one for one in concerned if one.document is None or one.document["ended_at"] is None}

    async def _tell(self, database: Database, keys: list[str]) -> None:
        """What is new of these jobs is known to those who wait for them."""
        for start in range(0, len(keys), READ_AT_ONCE):
            called: list[Turn] = []
            for document in await aside(_read, database, keys[start : start + READ_AT_ONCE]):
                watched = self._watched.get(document["id"])
                if watched is not None:
                    called += self._show(watched, document)
            await self._call(called)

    async def _call(self, turns: Iterable[Turn]) -> None:
        """Those who wait go on, some at a time, others being served between."""
        for number, turn in enumerate(turns, start=1):
            _go_on(turn)
            if not number % CALLED_AT_ONCE:
                await asyncio.sleep(0)

    def _forget(self, watched: Watched) -> None:
        del self._watched[watched.key]
        self._unread.discard(watched)
        if watched.document is not None:
            root_id = watched.document["root_id"]
            self._roots[root_id].discard(watched)
            if not self._roots[root_id]:
                del self._roots[root_id]
                self._pulses.pop(root_id, None)


def _go_on(turn: Turn, _gone: Turn | None = None) -> None:
    if not turn.done():
        turn.set_result(None)


def _changes(database: Database, last: float, overlap_s: float) -> tuple[float, Changes]:
    """When this look was (by the database's clock), and what was written since shortly before the `last`."""
    with database.read() as tx:
        now = clock.now(tx)
        return now, attempts.changes(tx, (last or now) - overlap_s)


def _read(database: Database, keys: list[str]) -> list[Document]:
    with database.read() as tx:
        return jobs.some(tx, keys)
