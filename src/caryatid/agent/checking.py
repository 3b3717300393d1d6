# SPDX-License-Identifier: Apache-2.0
"""The members for datagrams of one amphora are checked, each in its rhythm; what of them works is known at any time."""

import asyncio
import random
from collections.abc import Callable, Collection, Iterable
from contextlib import AbstractContextManager, closing
from typing import NamedTuple

import structlog

from caryatid.agent.checks import Asker, Verdict
from caryatid.wire.datagrams import Datagrams, Member, Monitor, Pool
from caryatid.wire.heartbeat import MemberStatus

FIRST_AFTER_S = 0.3
"""By then VIPs are claimed; there may be no other address to ask from."""
FIRST_WITHIN_S = 1.0

log = structlog.get_logger()


class Checked(NamedTuple):
    """What decides how a member is checked."""

    member: str
    address: str
    port: int
    monitor: Monitor


class Checking:
    """`changed()` is called on the event loop when a member works, or does not any more."""

    def __init__(
        self,
        gate: asyncio.Semaphore,
        enter: Callable[[], AbstractContextManager[None]],
        refused: Callable[[str], bool],
        changed: Callable[[], None],
    ) -> None:
        """`gate`: so many checks are under way at a time. `enter` leads to where is asked from. `refused` says whether
        a member has refused flows just now; it takes a moment, and is called by a thread."""
        self._gate = gate
        self._enter = enter
        self._refused = refused
        self._changed = changed
        self._verdicts: dict[str, Verdict] = {}
        self._tasks: dict[Checked, asyncio.Task[None]] = {}

    @property
    def down(self) -> frozenset[str]:
        """Members that do not pass their checks."""
        return frozenset(member for member, verdict in self._verdicts.items() if not verdict.up)

    def recall(self, wanted: Datagrams, down: Collection[str]) -> None:
        """What an earlier agent found out counts."""
        self._verdicts = {one.member: Verdict(one.member not in down, known=True) for one in _checked(wanted)}

    def heed(self, wanted: Datagrams) -> None:
        """What was found out counts for those that still are to be checked."""
        members = {one.member for one in _checked(wanted)}
        self._verdicts = {member: self._verdicts.get(member, Verdict()) for member in members}

    def attend(self, wanted: Datagrams) -> None:
        """From now on these are checked, and nobody else; whoever is checked as before is not disturbed."""
        due = set(_checked(wanted))
        for gone in self._tasks.keys() - due:
            self._tasks.pop(gone).cancel()
        for one in due - self._tasks.keys():
            self._tasks[one] = asyncio.get_running_loop().create_task(self._keep_checking(one))

    def close(self) -> None:
        """Nobody is checked any more."""
        for task in self._tasks.values():
            task.cancel()
        self._tasks.clear()

    def status(self, pool: Pool, member: Member) -> MemberStatus:
        """In the words of reports."""
        if not member.enabled:
            return "MAINT"
        if pool.monitor is None:
            return "no check"
        if member.id in self.down:
            return "DOWN"
        return "UP" if member.weight else "DRAIN"

    async def _keep_checking(self, one: Checked) -> None:
        monitor, loop = one.monitor, asyncio.get_running_loop()
        spread_s = min(monitor.delay_s, FIRST_WITHIN_S)
        await asyncio.sleep(FIRST_AFTER_S + random.random() * spread_s)  # noqa: S311 - spreads load
        with closing(Asker(monitor, one.address, one.port, self._enter)) as asker:
            while True:
                began = loop.time()
                async with self._gate:
                    good = await asker.ask()
                if good and monitor.type == "UDP-CONNECT":
                    good = not await asyncio.to_thread(self._refused, one.member)
                if good is not None and self._verdicts[one.member].hear(monitor, good=good):
                    log.info("member works" if good else "member does not work", member=one.member)
                    self._changed()
                await asyncio.sleep(max(began + monitor.delay_s - loop.time(), 0.0))


def _checked(wanted: Datagrams) -> Iterable[Checked]:
    for pool in wanted.pools:
        for member in pool.members if pool.monitor else ():
            if member.enabled and pool.monitor:
                yield Checked(member.id, member.check_address, member.check_port, pool.monitor)
