# SPDX-License-Identifier: Apache-2.0
"""Wake-ups on the loop: whoever waits for a channel goes on when something was committed there.

A waiter holds no thread and no connection. It takes the channel's number, reads, and waits for a higher one: what was
committed between the two is not missed.
"""

import asyncio
from contextlib import suppress
from typing import Final

from caryatid.store.wake import Wakeups

LOOK_AGAIN_S: Final = 2.0
"""What a lost wake-up costs."""


class News:
    """One for a process; used on one loop."""

    def __init__(self, wakeups: Wakeups) -> None:
        self._wakeups = wakeups
        self._channels: dict[str, _Channel] = {}
        self.closing = False
        """The process is about to end: waits are over at once, and answer what they have."""

    def number(self, channel: str) -> int:
        """Rises with whatever is committed on the channel from now on."""
        return self._channel(channel).number

    async def after(self, channel: str, number: int, timeout_s: float) -> int:
        """The channel's number once it is above `number`, or as it is after `timeout_s` (LOOK_AGAIN_S at most)."""
        known = self._channel(channel)
        if known.number <= number and not self.closing:
            try:
                async with asyncio.timeout(min(timeout_s, LOOK_AGAIN_S)):
                    await known.turn.wait()
            except TimeoutError:
                pass
        return known.number

    def close(self) -> None:
        """Nobody waits any longer. Called on the loop."""
        self.closing = True
        for known in self._channels.values():
            known.ring()

    def _channel(self, channel: str) -> "_Channel":
        known = self._channels.get(channel)
        if known is None:
            known = self._channels[channel] = _Channel()
            loop = asyncio.get_running_loop()

            def wake() -> None:
                with suppress(RuntimeError):  # the loop has ended
                    loop.call_soon_threadsafe(known.ring)

            self._wakeups.subscribe(channel, wake)
        return known


class _Channel:
    def __init__(self) -> None:
        self.number = 0
        self.turn = asyncio.Event()

    def ring(self) -> None:
        self.number += 1
        self.turn.set()
        self.turn = asyncio.Event()
