# SPDX-License-Identifier: Apache-2.0
"""Events are delivered to subscriptions, by one process at a time."""

import asyncio
import os
import socket
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any
from uuid import uuid4

from caryatid import log
from caryatid.api.news import News
from caryatid.control.delivering import Courier, Outrun, stand
from caryatid.control.door import Door
from caryatid.control.posting import Roads
from caryatid.drivers.outbound import Outbound
from caryatid.errors import CaryatidError
from caryatid.model.event import Cursor, cursor_of
from caryatid.store import events, leases, subscriptions
from caryatid.store.database import Tx
from caryatid.store.wake import Wakeups

LEASE = "webhooks"
LEASE_S = 10.0
RENEW_S = 2.0
LOOK_S = 30.0
"""After which subscriptions are read, though nobody rang."""
HELD_S = 0.01
HELD_MAX_S = 0.5
"""How soon the log is read again when something in it cannot be shown yet."""
GRACE_S = 1.0
"""For what is under way when the process is about to end."""
LOG_S = 2.0
"""After which the log is read, though nobody rang."""
OUTRUN_S = 0.2
AGAIN_MAX_S = 30.0
THREADS = 4
PAGE = 500


class Webhooks:
    """Events are delivered while this is entered, if no other process does it."""

    def __init__(self, door: Door, wakeups: Wakeups) -> None:
        self._door = door
        self._news = News(wakeups)
        self._holder = f"{socket.gethostname()}:{os.getpid()}-{uuid4().hex[:8]}"
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="webhooks")

    async def __aenter__(self) -> None:
        self._task = asyncio.create_task(self._forever())

    async def __aexit__(self, *_: object) -> None:
        self._news.close()
        await self._task
        self._threads.shutdown()

    async def _forever(self) -> None:
        while not self._news.closing:
            try:
                if await self._hold():
                    await self._deliver()
            except Exception:  # noqa: BLE001  it is tried again
                log.get().exception("webhooks failed")
            await self._news.after(subscriptions.CHANNEL, self._news.number(subscriptions.CHANNEL), RENEW_S)
        with suppress(Exception):
            await asyncio.to_thread(leases.release, self._door.database, LEASE, self._holder)

    async def _hold(self) -> bool:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(
            self._threads, leases.acquire, self._door.database, LEASE, self._holder, LEASE_S
        )

    async def _deliver(self) -> None:
        """Until the process is about to end, or has not the lease any more."""
        settings = self._door.settings
        outbound = await asyncio.to_thread(Outbound, settings.webhook_networks, settings.webhook_ca)
        async with outbound:
            office = Office(Roads(self._door, outbound, self._threads), self._news)
            try:
                await office.work(self._hold)
            finally:
                await office.close()


class Office:
    """A courier for each subscription, and who reads the log for all of them."""

    def __init__(self, roads: Roads, news: News) -> None:
        self._roads = roads
        self._news = news
        self._couriers: dict[str, Courier] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._known: dict[str, tuple[str, int]] = {}
        self._closing = False

    async def work(self, hold: Callable[[], Awaitable[bool]]) -> None:
        """Until the process is about to end, or `hold` says that another has the duty."""
        reader = asyncio.create_task(self._read_log())
        number, looked_at = -1, 0.0
        try:
            while not self._news.closing and await hold():
                now = time.monotonic()
                if self._news.number(subscriptions.CHANNEL) != number or now - looked_at > LOOK_S:
                    number, looked_at = self._news.number(subscriptions.CHANNEL), now
                    await self._look()
                await self._news.after(subscriptions.CHANNEL, number, RENEW_S)
        finally:
            reader.cancel()

    async def close(self) -> None:
        """Nothing is under way any more, and it is written down how far everything is."""
        self._closing = True
        for courier in self._couriers.values():
            courier.end()
        if self._tasks:
            await asyncio.wait(self._tasks.values(), timeout=GRACE_S)
        for key in list(self._tasks):
            await self._dismiss(key)

    async def _look(self) -> None:
        """There is a courier for each subscription, and each knows how it now is."""
        known = await self._roads.read(subscriptions.enabled)
        for key in self._tasks.keys() - known.keys():
            await self._dismiss(key)
        for key, version in known.items():
            if key not in self._tasks or self._tasks[key].done():
                self._tasks[key] = asyncio.create_task(self._serve(key))
            elif version != self._known.get(key) and key in self._couriers:
                self._couriers[key].end()  # and another begins
        self._known = known

    async def _serve(self, key: str) -> None:
        """One courier after the other works, each as the subscription is then. One that fails does so by itself."""
        failures = 0
        while not self._closing:
            try:
                standing = await stand(self._roads, key)
                if standing is None:
                    return
                self._couriers[key] = Courier(self._roads, standing)
                await self._couriers[key].work()
                failures = 0
            except Outrun:
                await asyncio.sleep(OUTRUN_S)
            except Exception:  # noqa: BLE001  one subscription's fault is not another's
                log.get().exception("courier failed", subscription=key)
                failures += 1
                await asyncio.sleep(min(AGAIN_MAX_S, 2**failures / 4))

    async def _dismiss(self, key: str) -> None:
        """What is under way for it ends now."""
        task = self._tasks.pop(key)
        task.cancel()
        await asyncio.wait([task])
        courier = self._couriers.pop(key, None)
        if courier is not None:
            with suppress(Outrun, CaryatidError):
                await courier.keep()

    async def _read_log(self) -> None:
        """What is new in the log is told to those whom it concerns."""
        at: Cursor | None = None
        pause_s = HELD_S
        while True:
            number = self._news.number(events.CHANNEL)
            try:
                page, until, held = await self._roads.read(partial(_page, at))
            except CaryatidError:
                await asyncio.sleep(HELD_MAX_S)
                continue
            since, at = at, until
            if page and since is not None:
                self._tell(page, since, until)
                pause_s = HELD_S
            elif held:
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, HELD_MAX_S)
            else:
                await self._news.after(events.CHANNEL, number, LOG_S)

    def _tell(self, page: list[dict[str, Any]], since: Cursor, until: Cursor) -> None:
        theirs: dict[str | None, list[dict[str, Any]]] = {}
        for row in page:
            theirs.setdefault(row["project_id"], []).append(row)
        for courier in self._couriers.values():
            project_id = courier.sought.project_id
            courier.passed(page if project_id is None else theirs.get(project_id, ()), since, until)


def _page(at: Cursor | None, tx: Tx) -> tuple[list[dict[str, Any]], Cursor, bool]:
    """What comes after, to where that is, and whether there is more that cannot be shown yet. None: now."""
    at = at or events.last(tx)
    page = events.after(tx, at, limit=PAGE)
    return page, cursor_of(page[-1]) if page else at, not page and events.held(tx, at)
