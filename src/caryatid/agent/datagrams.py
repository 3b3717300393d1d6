# SPDX-License-Identifier: Apache-2.0
"""The datagrams of one amphora: its members are checked, and what its ruleset looks up says who has which flows.

A member that works no more, or shall not, loses its flows at once: their next packets begin anew. One that is to take
no new flows (weight 0) keeps those it has. What is in the kernel outlives the agent, and what the agent knows of it is
kept where it goes with the kernel: in the runtime directory.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable, Mapping

import orjson
import structlog
from pydantic import BaseModel, ConfigDict

from caryatid.agent import firewall, netfilter
from caryatid.agent.checking import Checking
from caryatid.agent.files import Files
from caryatid.agent.namespace import SYSCTL, Namespace, NamespaceError, set_sysctls
from caryatid.agent.reading import Reading
from caryatid.agent.shares import Maps, serving, shares, takers, update
from caryatid.places import write_atomically
from caryatid.wire.datagrams import Datagrams as Wanted
from caryatid.wire.datagrams import Pool
from caryatid.wire.heartbeat import Listener
from caryatid.wire.heartbeat import Pool as SeenPool

FORWARDING = ("net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding")
EVERYWHERE = {
    "net/ipv4/conf/all/send_redirects": "0",  # members are not to be found without us
    "net/ipv4/conf/default/send_redirects": "0",
}
EACH = {
    "net/ipv4/conf/{}/send_redirects": "0",
    **{
        f"net/{family}/neigh/{{}}/{name}": value
        for family in ("ipv4", "ipv6")
        for name, value in {
            "base_reachable_time_ms": "3000",  # a machine that is gone is found out in seconds, not in a minute
            "delay_first_probe_time": "1",
            "retrans_time_ms": "500",
        }.items()
    },
}
"""Of each interface."""
AGAIN_S = 1.0
WHOLE_MARK = 0xFFFF_FFFF

log = structlog.get_logger()


class State(BaseModel):
    """What is known of the kernel's side."""

    model_config = ConfigDict(extra="ignore")

    epoch: str
    """Of its counters."""
    numbers: dict[str, int] = {}
    """Member → what its flows are marked with."""
    down: list[str] = []
    """Members that do not pass their checks."""


class Datagrams:
    """Of one amphora. `told()` is called on the event loop when a member's status has changed."""

    def __init__(
        self, files: Files, space: Namespace, gate: asyncio.Semaphore, told: Callable[[], None]
    ) -> None:
        """`gate`: so many checks are under way at a time, of all amphorae together."""
        self._files = files
        self._space = space
        self._told = told
        self._checking = Checking(gate, space.entered, self._refused, self._changed)
        self._wanted: Wanted | None = None
        self._state = State(epoch="")
        self._maps: Maps | None = None
        """What is in the kernel; None: that is not known."""
        self._holding: set[tuple[int, int]] = set()
        """(listener's mark, member's number) of those that may have flows."""
        self._news = asyncio.Event()
        self._following: asyncio.Task[None] | None = None
        self._lock = asyncio.Lock()

    async def apply(self, wanted: Wanted | None) -> bool:
        """Afterwards flows are shared out so; whether that was otherwise before. The ruleset is in effect already.

        Raises NamespaceError.
        """
        async with self._lock:
            known = self._files.datagrams_state.exists()
            if wanted == self._wanted and (known or wanted is None):
                return False
            if wanted is None:
                await self._end()
                return True
            if not known:
                await asyncio.to_thread(self._begin)
            self._number(wanted)
            before, self._wanted = self._wanted, wanted
            self._checking.heed(wanted)
            try:
                await self._put()
            except NamespaceError:
                self._wanted, self._maps = before, None
                raise
            write_atomically(self._files.datagrams, wanted.model_dump_json().encode(), durable=False)
            self._attend(wanted)
        return True

    async def restore(self) -> None:
        """Maps that the ruleset has made anew are filled again. Raises NamespaceError."""
        async with self._lock:
            self._maps = None
            if self._wanted is not None:
                await self._put()

    async def adopt(self) -> None:
        """After a restart of the agent nothing is touched; after a reboot all is made anew."""
        try:
            wanted = Wanted.model_validate_json(self._files.datagrams.read_bytes())
        except (OSError, ValueError):
            return
        try:
            self._state = State.model_validate_json(self._files.datagrams_state.read_bytes())
        except (OSError, ValueError):
            try:
                await self.apply(wanted)
            except NamespaceError as error:
                log.error("datagrams not carried", run=str(self._files.run), reason=str(error))  # noqa: TRY400  says it
            return
        self._wanted = wanted
        self._number(wanted)
        self._checking.recall(wanted, self._state.down)
        self._holding = takers(wanted, self._state.numbers, self._checking.down)
        self._attend(wanted)

    def close(self) -> None:
        """Let go of it without touching it."""
        self._checking.close()
        if self._following:
            self._following.cancel()
            self._following = None

    # -- what is in the kernel

    def _begin(self) -> None:
        """Nothing of it is there yet but the ruleset."""
        self._state = State(epoch=f"datagrams.{time.time_ns() // 1_000_000}")
        self._maps, self._holding = None, set()
        with self._space.entered():
            names = [path.name for path in (SYSCTL / "net/ipv4/conf").glob("eth*")]
            each = {path.format(name): value for path, value in EACH.items() for name in names}
            set_sysctls({**EVERYWHERE, **each, **dict.fromkeys(FORWARDING, "1")})

    async def _end(self) -> None:
        self.close()
        self._wanted = None
        for path in (self._files.datagrams, self._files.datagrams_state):
            path.unlink(missing_ok=True)
        await asyncio.to_thread(self._forget, self._holding)
        await asyncio.to_thread(self._space.set_sysctls, dict.fromkeys(FORWARDING, "0"))
        self._holding, self._maps = set(), None

    def _number(self, wanted: Wanted) -> None:
        """Each member has a number that no other has; those of members that are gone are free when their flows are.
        Raises NamespaceError."""
        known = self._state.numbers
        fresh = [member.id for pool in wanted.pools for member in pool.members if member.id not in known]
        taken, most = set(known.values()), 1 << wanted.member_bits
        free = (number for number in range(1, most) if number not in taken)
        self._state.numbers = {**known, **dict(zip(fresh, free, strict=False))}
        if len(self._state.numbers) < len(known) + len(fresh):
            raise NamespaceError(f"A load balancer cannot have {most} members for datagrams, or more.")

    async def _put(self) -> None:
        """Maps and flows are as they should be. Raises NamespaceError."""
        wanted, numbers, down = self._wanted, self._state.numbers, self._checking.down
        if wanted is None:
            return
        self._save()  # before numbers are in the kernel
        maps, holding = await asyncio.to_thread(self._write, wanted, numbers, down)
        self._maps, self._holding = maps, holding
        members = {member.id for pool in wanted.pools for member in pool.members}
        self._state.numbers = {member: number for member, number in numbers.items() if member in members}
        self._state.down = sorted(down)
        self._save()

    def _write(
        self, wanted: Wanted, numbers: Mapping[str, int], down: frozenset[str]
    ) -> tuple[Maps, set[tuple[int, int]]]:
        maps, holding = shares(wanted, numbers, down), takers(wanted, numbers, down)
        if script := update(wanted.table, self._maps, maps):
            firewall.load(script, self._space)
        self._forget(self._holding - holding)
        return maps, holding

    def _forget(self, holders: Iterable[tuple[int, int]]) -> None:
        """Their flows begin anew; else each would go on for as long as anybody sends."""
        with self._space.entered():
            for mark, number in holders:
                netfilter.forget(mark | number, WHOLE_MARK)

    def _save(self) -> None:
        content = orjson.dumps(self._state.model_dump())
        write_atomically(self._files.datagrams_state, content, durable=False)

    # -- who works

    def _attend(self, wanted: Wanted) -> None:
        self._checking.attend(wanted)
        if self._following is None:
            self._following = asyncio.get_running_loop().create_task(self._follow())

    def _changed(self) -> None:
        self._news.set()
        self._told()

    def _refused(self, member: str) -> bool:
        """Whether it has said so of flows that it has, just now."""
        wanted = self._wanted
        if wanted is None:
            return False
        with contextlib.suppress(NamespaceError), self._space.entered():
            refused = netfilter.elements(wanted.table, wanted.refused)
            return self._state.numbers.get(member) in {mark & (1 << wanted.member_bits) - 1 for mark in refused}
        return False

    async def _follow(self) -> None:
        """What checks find is put into effect, for ever; what comes meanwhile goes with the next."""
        while True:
            await self._news.wait()
            self._news.clear()
            try:
                async with self._lock:
                    await self._put()
            except NamespaceError as error:
                log.error("flows not moved", run=str(self._files.run), reason=str(error))  # noqa: TRY400  says it all
                self._maps = None
                await asyncio.sleep(AGAIN_S)
                self._news.set()

    # -- what is seen

    async def read(self) -> Reading | None:
        """Listeners, members and counters as they are now; None: there are none. Raises NamespaceError."""
        wanted = self._wanted
        if wanted is None:
            return None
        listeners = await asyncio.to_thread(self._count, wanted)
        pools: dict[str, SeenPool] = {}
        known = {pool.id: self._seen(pool) for pool in wanted.pools}
        for listener in wanted.listeners:
            if listener.pool:
                pools[f"{listener.pool}:{listener.id}"] = known[listener.pool]
        return Reading(self._state.epoch, running=True, at=0, listeners=listeners, pools=pools)

    def _count(self, wanted: Wanted) -> dict[str, Listener]:
        above = WHOLE_MARK ^ (1 << wanted.member_bits) - 1
        found: dict[str, Listener] = {}
        with self._space.entered():
            counted = netfilter.counters(wanted.table)
            for one in wanted.listeners:
                active = netfilter.flows(one.mark, above)
                size_in, size_out = (counted.get(name, (0, 0))[1] for name in (one.bytes_in, one.bytes_out))
                full = 0 < one.limit <= active
                total = counted.get(one.flows, (0, 0))[0]
                found[one.id] = ("FULL" if full else "OPEN", size_in, size_out, active, total, 0)
        return found

    def _seen(self, pool: Pool) -> SeenPool:
        well = not pool.members or any(serving(pool, share.version, self._checking.down) for share in pool.shares)
        return ("UP" if well else "DOWN", {member.id: self._checking.status(pool, member) for member in pool.members})
