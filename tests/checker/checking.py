# SPDX-License-Identifier: Apache-2.0
"""Checks, members and checkers for tests."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from itertools import count

from caryatid.checker.run import Checker
from caryatid.wire.checks import SHARES, Check

NUMBERS = count()


def check(member: str, port: int | None = None, **given: object) -> Check:
    """A TCP check, five times a second. Its timeout is longer than any pause of a machine that has much to do."""
    known = {
        "monitor_id": "monitor",
        "member_id": member,
        "share": next(NUMBERS) % SHARES,
        "version": "1",
        "type": "tcp",
        "address": "127.0.0.1",
        "port": port,
        "interval_s": 0.2,
        "timeout_s": 5.0,
        "retries": 0,
        "rise": 1,
        "fall": 2,
        "rapid_recheck": True,
        "inverted": False,
    }
    return Check.model_validate(known | given)


class Member:
    """Listens, or does not."""

    def __init__(self) -> None:
        self.connections = 0
        self.port = 0
        self._server: asyncio.Server | None = None

    async def start(self) -> "Member":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
            self._server = None

    async def _serve(self, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        writer.close()


@contextlib.asynccontextmanager
async def members(number: int) -> AsyncIterator[list[Member]]:
    """So many members that listen."""
    made = [await Member().start() for _ in range(number)]
    try:
        yield made
    finally:
        for one in made:
            await one.stop()
        await asyncio.sleep(0.01)  # the last connections have ended


@contextlib.asynccontextmanager
async def checker(conductor, **given: object) -> AsyncIterator[Checker]:
    """A checker at work; it leaves in good order."""
    client = conductor.client()
    one = Checker(lambda: client, **{"concurrency": 100, "percent": 60, **given})
    task = asyncio.create_task(one.run())
    try:
        yield one
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        await client.close()
