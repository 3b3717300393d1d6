# SPDX-License-Identifier: Apache-2.0
"""A datagram, and what comes back."""

import asyncio
import socket
from collections.abc import Mapping
from typing import Any, Final

from caryatid.model.gslb.parameters import Udp as Parameters
from caryatid.model.gslb.patterns import compiled

from .base import BYTES_MAX, Failed, Means, Place, datagrams, port_of, read, sent

SILENT: Final = 0.5
"""Part of the time for which silence is heard until it counts."""


class Udp:
    def __init__(self, parameters: Mapping[str, Any], means: Means) -> None:
        self._wanted = read(Parameters, parameters)
        self._pattern = compiled(self._wanted.expect) if self._wanted.expect else None
        self._means = means

    async def ask(self, place: Place) -> None:
        with datagrams(place, port_of(self._wanted, place)) as asking:
            asking.send(sent(self._wanted))
            if self._pattern is None:
                await self._unless_refused(place, asking)
                return
            place.doing = f"waiting for {self._wanted.expect}"
            heard = await asyncio.get_running_loop().sock_recv(asking, BYTES_MAX)
            if not await self._means.found(place, self._pattern, heard):
                raise Failed(f"{self._wanted.expect} is not in the {len(heard)} bytes that came")

    async def _unless_refused(self, place: Place, asking: socket.socket) -> None:
        """Nobody has said that nobody is there (ICMP, heard as an error of the socket)."""
        try:
            async with asyncio.timeout(place.timeout_s * SILENT):
                await asyncio.get_running_loop().sock_recv(asking, BYTES_MAX)
        except TimeoutError:
            place.measured = False
