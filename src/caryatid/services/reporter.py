# SPDX-License-Identifier: Apache-2.0
"""Tells another installation's conductors how the load balancers here are: what has changed at once, and all of it
every few seconds. It comes through their door for checkers, with a token of the region that this one is there."""

import asyncio
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from caryatid import log
from caryatid.api.call import aside
from caryatid.api.news import News
from caryatid.checker import identity
from caryatid.checker.identity import Identity, Place
from caryatid.errors import CaryatidError
from caryatid.store import events
from caryatid.store.database import Database
from caryatid.store.gslb import loadbalancers
from caryatid.store.gslb.loadbalancers import Told
from caryatid.wire.checks import LoadBalancer, LoadBalancers
from caryatid.wire.conductor import ConductorError

INTERVAL_S: Final = 3.0
GOOD_S: Final = 3 * INTERVAL_S
PAUSE_S: Final = 0.05
AGAIN_S: Final = 1.0
ENROL_AGAIN_S: Final = 10.0
BATCH: Final = 1000
TOKEN: Final = "token"  # noqa: S105  a file's name


class Reporter:
    """They are told while this is entered."""

    def __init__(self, database: Database, news: News, state_dir: Path, urls: Sequence[str]) -> None:
        directory = state_dir / "reporter"
        self._place = Place(directory, "", [url.rstrip("/") for url in urls], directory / TOKEN)
        self._database, self._news = database, news

    async def __aenter__(self) -> None:
        self._running = asyncio.create_task(self._run())

    async def __aexit__(self, *_: object) -> None:
        self._running.cancel()
        await asyncio.gather(self._running, return_exceptions=True)

    async def _run(self) -> None:
        reason = ""
        while True:
            try:
                known = await identity.obtain(self._place)
            except CaryatidError as error:
                if reason != (reason := str(error)):
                    log.get().warning("load balancers are not reported", reason=reason)
                await asyncio.sleep(ENROL_AGAIN_S)
                continue
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(known.keep())
                    group.create_task(self._report(known))
            finally:
                await known.close()

    async def _report(self, known: Identity) -> None:
        """Until cancelled."""
        loop = asyncio.get_running_loop()
        said: dict[str, Told] = {}
        all_at, failed = 0.0, False
        while True:
            number, began = self._news.number(events.CHANNEL), loop.time()
            try:
                told = {one.id: one for one in await aside(_statuses, self._database)}
                everything = began >= all_at
                await _send(known, [one for one in told.values() if everything or said.get(one.id) != one])
                all_at = began + INTERVAL_S * random.uniform(0.8, 1.0) if everything else all_at  # noqa: S311  spreads
                said, failed = told, False
            except CaryatidError as error:
                if not failed or not isinstance(error, ConductorError):
                    log.get().warning("load balancers were not reported", reason=str(error))
                said, all_at, failed = {}, 0.0, True
                await asyncio.sleep(AGAIN_S)
                continue
            await asyncio.sleep(max(PAUSE_S, 3 * (loop.time() - began)))
            await self._news.after(events.CHANNEL, number, max(0.0, all_at - loop.time()))


def _statuses(database: Database) -> list[Told]:
    with database.read() as tx:
        return loadbalancers.statuses(tx, GOOD_S)


async def _send(known: Identity, told: Sequence[Told]) -> None:
    """Raises ConductorError."""
    for start in range(0, len(told), BATCH):
        some = told[start : start + BATCH]
        bodies = [LoadBalancer.model_validate(one, from_attributes=True) for one in some]
        await known.client().loadbalancers(LoadBalancers(loadbalancers=bodies))
