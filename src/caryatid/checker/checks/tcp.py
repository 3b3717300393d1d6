# SPDX-License-Identifier: Apache-2.0
"""A connection; if wished, something said over it."""

import asyncio
import socket
from collections.abc import Mapping
from typing import Any, Final

from caryatid.model.gslb.parameters import Tcp as Parameters
from caryatid.model.gslb.patterns import compiled

from .base import BYTES_MAX, Failed, Means, Place, port_of, read, sent

PIECES_MAX: Final = 256
"""In which something may come: it is searched after each."""


class Tcp:
    def __init__(self, parameters: Mapping[str, Any], means: Means) -> None:
        self._wanted = read(Parameters, parameters)
        self._pattern = compiled(self._wanted.expect) if self._wanted.expect else None
        self._means = means

    async def ask(self, place: Place) -> None:
        port, send = port_of(self._wanted, place), sent(self._wanted)
        family = socket.AF_INET6 if ":" in place.address else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as connection:
            connection.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(connection, (place.address, port))
            if send:
                place.doing = "sending"
                await loop.sock_sendall(connection, send)
            if self._pattern is not None:
                place.doing = f"waiting for {self._wanted.expect}"
                await self._heard(place, connection)

    async def _heard(self, place: Place, connection: socket.socket) -> None:
        """What was expected has come."""
        heard = bytearray()
        loop = asyncio.get_running_loop()
        for _ in range(PIECES_MAX):
            more = await loop.sock_recv(connection, BYTES_MAX - len(heard))
            heard += more
            if not more:
                break
            if await self._means.found(place, self._pattern, bytes(heard)):
                return
            if len(heard) >= BYTES_MAX:
                break
        raise Failed(f"{self._wanted.expect} is not in the {len(heard)} bytes that came")
