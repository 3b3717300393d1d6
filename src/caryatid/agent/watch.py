# SPDX-License-Identifier: Apache-2.0
"""Who else claims an amphora's VIPs, and when that means to give them up."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from dataclasses import dataclass, field

import structlog

from caryatid.agent.amphora import Amphora
from caryatid.agent.claim import Ear
from caryatid.wire.network import Plug

DOUBT_S = 60.0
"""How long somebody else's claim counts after it was last heard."""
ASK_EVERY_S = 5.0
ASK_TIMES = 3
"""Once may be an accident."""
ASK_AGAIN_S = 0.5

log = structlog.get_logger()


async def _there() -> bool:
    return True


@dataclass
class Watch:
    """What is heard about the VIPs of one amphora."""

    ears: list[Ear] = field(default_factory=list)
    heard_at: float = float("-inf")
    doubting: bool = False


class Watches:
    """`release` gives an amphora's VIPs up; its lock is held."""

    def __init__(self, release: Callable[[Amphora], Awaitable[None]]) -> None:
        self._release = release
        self.reachable: Callable[[], Awaitable[bool]] = _there
        """Whether any controller can be reached; asked only when somebody else claims a VIP."""
        self._watches: dict[str, Watch] = {}

    def listen(self, amphora: Amphora, plug: Plug) -> None:
        """Hear who claims the VIPs, but for a pair's, where keepalived does that. Raises NamespaceError."""
        self.forget(amphora)
        if plug.shared or amphora.space is None:
            return
        watch = self._watches[amphora.id] = Watch()
        with ExitStack() as inside:
            inside.enter_context(amphora.space.entered())
            for index, leg in enumerate(plug.legs):
                if leg.attachment == "uplink":
                    watch.ears += [Ear(f"eth{index}", vip) for vip in leg.vips]
        for ear in watch.ears:
            asyncio.get_running_loop().add_reader(ear.socket, self._heard, amphora, watch, ear)

    def forget(self, amphora: Amphora) -> None:
        """Stop listening."""
        watch = self._watches.pop(amphora.id, None)
        for ear in watch.ears if watch else ():
            asyncio.get_running_loop().remove_reader(ear.socket)
            ear.close()

    def _heard(self, amphora: Amphora, watch: Watch, ear: Ear) -> None:
        sightings = ear.heard()
        if not sightings or not amphora.record.claims:
            return
        watch.heard_at = time.monotonic()
        if not watch.doubting:
            watch.doubting = True
            log.warning("VIP claimed by another", amphora=amphora.id, vip=ear.vip, mac=sightings[0].mac)
            amphora.spawn(self._doubt(amphora, watch))

    async def _any_controller(self) -> bool:
        for _ in range(ASK_TIMES):
            if await self.reachable():
                return True
            await asyncio.sleep(ASK_AGAIN_S)
        return False

    async def _doubt(self, amphora: Amphora, watch: Watch) -> None:
        """Two say that they have a VIP. A controller that can be reached decides; else one has decided without us."""
        try:
            while time.monotonic() < watch.heard_at + DOUBT_S and not amphora.gone:
                if not await self._any_controller():
                    async with amphora.lock:
                        await self._release(amphora)
                    log.error("VIPs given up: another has them, and no controller can be reached", amphora=amphora.id)
                    return
                await asyncio.sleep(ASK_EVERY_S)
        finally:
            watch.doubting = False
