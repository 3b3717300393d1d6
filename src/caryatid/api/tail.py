# SPDX-License-Identifier: Apache-2.0
"""The end of the log of events: read once as it grows, and handed to all who follow it.

Who follows holds no thread and no connection, and costs nothing while nothing happens that it may see.
"""

import asyncio
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cached_property, partial
from typing import Any, Final

from anyio import CapacityLimiter, to_thread

from caryatid import log, metrics
from caryatid.errors import Busy
from caryatid.model.event import BEGINNING, Cursor, Sought, cursor_of, shown
from caryatid.store import events
from caryatid.store.database import Database

from .news import LOOK_AGAIN_S, News
from .stream import frame

PAGE: Final = 500
FOLLOWERS_MAX: Final = 20_000
QUEUE_MAX: Final = 1000
"""Events that may wait for one follower; who is slower than that reads on from the database."""
HELD_S: Final = 0.002
HELD_MAX_S: Final = 0.25
"""Pauses before looking again, when something is committed that an older transaction keeps from being shown."""
PAUSE_S: Final = 0.5
"""Before reading again, when the database did not answer."""


class Told:
    """One event, on its way to any number of followers."""

    def __init__(self, row: Mapping[str, Any]) -> None:
        self.row = row
        self.cursor = cursor_of(row)

    @cached_property
    def document(self) -> dict[str, Any]:
        return shown(self.row)

    @cached_property
    def frame(self) -> bytes:
        return frame(self.document, event=self.document["type"], key=self.document["id"])


class Follower:
    """Somebody who is told what happens from `start` on."""

    def __init__(self, sought: Sought, start: Cursor) -> None:
        self.sought = sought
        self.start = start
        """What is before it has to be read."""
        self.ended = False
        """Nothing more is told."""
        self.said_at = time.monotonic()
        """When its client was last told where the log ends."""
        self._queue: list[Told] = []
        self._coming = asyncio.Event()

    def tell(self, told: Told) -> None:
        if self.ended or not self.sought.matches(told.row):
            return
        if len(self._queue) >= QUEUE_MAX:
            self._queue.clear()
            self.start = told.cursor
        else:
            self._queue.append(told)
        self._coming.set()

    def end(self) -> None:
        self.ended = True
        self._coming.set()

    async def wait(self, timeout_s: float) -> None:
        """Until there is something to take, it has ended, or `timeout_s` have passed."""
        if not self._coming.is_set():
            try:
                async with asyncio.timeout(timeout_s):
                    await self._coming.wait()
            except TimeoutError:
                pass

    def take(self, limit: int = QUEUE_MAX) -> list[Told]:
        """What has come, the oldest `limit` of it."""
        taken, self._queue = self._queue[:limit], self._queue[limit:]
        if not self._queue and not self.ended:
            self._coming.clear()
        return taken


class Tail:
    """One for a process; used on one loop."""

    def __init__(self, news: News) -> None:
        self._news = news
        self._followers: dict[str | None, set[Follower]] = {}
        """By the project that they are limited to; None: they may see everything."""
        self._count = 0
        self._limiter = CapacityLimiter(1)
        self._beginning = asyncio.Lock()
        self._reading: asyncio.Task[None] | None = None
        self.position = BEGINNING
        """All events up to here have been told to those who follow."""

    async def begin(self, database: Database) -> None:
        """What happens from now on is told. Raises Busy."""
        async with self._beginning:
            if self._reading is None or self._reading.done():
                self.position = await self._aside(_last, database)
                self._reading = asyncio.create_task(self._read(database))

    @contextmanager
    def follower(self, sought: Sought) -> Iterator[Follower]:
        """After `begin`, without a pause between. Raises Busy when too many follow."""
        if self._count >= FOLLOWERS_MAX:
            raise Busy(f"{FOLLOWERS_MAX} requests follow events here already. Try again.")
        follower = Follower(sought, self.position)
        group = self._followers.setdefault(sought.project_id, set())
        group.add(follower)
        self._count += 1
        metrics.EVENT_FOLLOWERS.inc()
        try:
            if self._news.closing:
                follower.end()
            yield follower
        finally:
            self._count -= 1
            metrics.EVENT_FOLLOWERS.dec()
            group.discard(follower)
            if not group and self._followers.get(sought.project_id) is group:
                del self._followers[sought.project_id]

    async def _read(self, database: Database) -> None:
        """As long as anybody follows."""
        held_s = HELD_S
        try:
            while self._count and not self._news.closing:
                number = self._news.number(events.CHANNEL)
                try:
                    rows, held = await self._aside(_page, database, self.position)
                except Busy:
                    await asyncio.sleep(PAUSE_S)
                    continue
                self._tell(rows)
                if held and len(rows) < PAGE:
                    held_s = HELD_S if rows else min(HELD_MAX_S, held_s * 2)
                    await self._news.after(events.CHANNEL, number, held_s)
                elif len(rows) < PAGE:
                    held_s = HELD_S
                    await self._news.after(events.CHANNEL, number, LOOK_AGAIN_S)
        except Exception:  # noqa: BLE001  nobody waits for this task: its end is told to those who follow
            log.get().exception("the log of events cannot be read")
        finally:
            self._reading = None
            for follower in [one for group in self._followers.values() for one in group]:
                follower.end()

    def _tell(self, rows: list[dict[str, Any]]) -> None:
        for row in rows:
            told = Told(row)
            for project_id in {None, row["project_id"]}:
                for follower in self._followers.get(project_id, ()):
                    follower.tell(told)
            self.position = told.cursor
        if rows:
            metrics.EVENT_LAG.observe(max(0.0, time.time() - _epoch_s(rows[-1]["at"])))

    async def _aside(self, function: Any, *arguments: Any) -> Any:
        """On a thread of its own: never behind requests that wait for a lock."""
        return await to_thread.run_sync(partial(function, *arguments), limiter=self._limiter)


def _epoch_s(at: str) -> float:
    return datetime.fromisoformat(at).replace(tzinfo=UTC).timestamp()


def _last(database: Database) -> Cursor:
    with database.read() as tx:
        return events.last(tx)


def _page(database: Database, after: Cursor) -> tuple[list[dict[str, Any]], bool]:
    with database.read() as tx:
        rows = events.after(tx, after, limit=PAGE)
        return rows, events.held(tx, after)
