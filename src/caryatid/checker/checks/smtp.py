# SPDX-License-Identifier: Apache-2.0
"""A mail server's greeting (RFC 5321), and whether it speaks TLS (RFC 3207)."""

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from caryatid.model.gslb.parameters import Smtp as Parameters

from .base import Failed, Means, Place, connected, read

PORT: Final = 25
READY, OK = "220", "250"
LINES_MAX: Final = 100
LINE_BYTES: Final = 4096
CODE: Final = 3


class Smtp:
    def __init__(self, parameters: Mapping[str, Any], means: Means) -> None:
        self._wanted = wanted = read(Parameters, parameters)
        self._helo = wanted.helo.rstrip(".")
        self._tls = means.contexts.secured(wanted) if wanted.starttls else None

    async def ask(self, place: Place) -> None:
        port = self._wanted.port or place.port or PORT
        async with connected(place, port, limit=LINE_BYTES) as (reader, writer):
            place.doing = "waiting for its greeting"
            await _answered(reader, READY, "its greeting")
            await _said(place, reader, writer, f"EHLO {self._helo}", OK)
            if self._tls is not None:
                await _said(place, reader, writer, "STARTTLS", READY)
                name = (self._wanted.sni or place.name).rstrip(".")
                place.doing = "TLS"
                await writer.start_tls(self._tls, server_hostname=name)
                await _said(place, reader, writer, f"EHLO {self._helo}", OK)
            writer.write(b"QUIT\r\n")


async def _said(
    place: Place, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, line: str, expected: str
) -> None:
    """It was said, and answered as expected."""
    word = line.partition(" ")[0]
    place.doing = f"waiting for the answer to {word}"
    writer.write(f"{line}\r\n".encode())
    await _answered(reader, expected, f"the answer to {word}")


async def _answered(reader: asyncio.StreamReader, expected: str, what: str) -> None:
    for _ in range(LINES_MAX):
        try:
            line = (await reader.readuntil(b"\n")).decode(errors="replace").rstrip()
        except asyncio.IncompleteReadError:
            raise Failed(f"it closed the connection before {what}") from None
        except asyncio.LimitOverrunError:
            raise Failed(f"{what} has a line of more than {LINE_BYTES} bytes") from None
        if line[:CODE] != expected:
            raise Failed(f"{what} is {line[:100] or 'empty'}, expected {expected}")
        if line[CODE : CODE + 1] != "-":
            return
    raise Failed(f"{what} has more than {LINES_MAX} lines")
