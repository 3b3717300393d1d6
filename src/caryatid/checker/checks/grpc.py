# SPDX-License-Identifier: Apache-2.0
"""The health protocol of gRPC: one call of grpc.health.v1.Health/Check over HTTP/2."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)
from h2.exceptions import ProtocolError

from caryatid.model.gslb.parameters import Grpc as Parameters

from .base import BYTES_MAX, Failed, Means, Place, connected, port_of, read

PATH: Final = "/grpc.health.v1.Health/Check"
STATES: Final = ("UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN")
OK: Final = "0"
OLDER: Final = b"HTTP/1."
"""Taken for a frame of some megabytes, which would be waited for."""
PROBLEMS: Final = {"5": "it knows no service {service}", "12": "it does not speak the health protocol"}
FRAME_HEAD: Final = 5
"""Whether it is compressed, and its length: before each message."""
STATE: Final = 0x08
"""Field 1 of the answer, a number."""
SERVICE: Final = 0x0A
"""Field 1 of the request, a text."""


@dataclass(slots=True)
class _Answer:
    headers: dict[str, str] = field(default_factory=dict)
    """And trailers."""
    message: bytes = b""
    ended: bool = False


class Grpc:
    def __init__(self, parameters: Mapping[str, Any], means: Means) -> None:
        self._wanted = wanted = read(Parameters, parameters)
        self._tls = means.contexts.secured(wanted, ("h2",)) if wanted.tls else None

    async def ask(self, place: Place) -> None:
        port = port_of(self._wanted, place)
        name = (self._wanted.sni or place.name).rstrip(".")
        shown = f"[{name}]" if ":" in name else name
        async with connected(place, port, tls=self._tls, name=name) as (reader, writer):
            place.doing = "waiting for an answer"
            talk = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
            talk.initiate_connection()
            talk.send_headers(1, self._headers(f"{shown}:{port}"))
            talk.send_data(1, _request(self._wanted.service), end_stream=True)
            writer.write(talk.data_to_send())
            try:
                answer = await _answered(talk, reader, writer)
            except (ProtocolError, UnicodeError) as error:
                raise Failed(f"what it answers is no HTTP/2: {type(error).__name__}") from error
        self._judge(answer)

    def _headers(self, authority: str) -> list[tuple[str, str]]:
        return [
            (":method", "POST"),
            (":scheme", "https" if self._tls else "http"),
            (":path", PATH),
            (":authority", authority),
            ("te", "trailers"),
            ("content-type", "application/grpc"),
        ]

    def _judge(self, answer: _Answer) -> None:
        status, code = answer.headers.get(":status"), answer.headers.get("grpc-status")
        if status != "200":
            raise Failed(f"status {status}, expected 200")
        if code != OK:
            known = PROBLEMS.get(code or "", "grpc-status {code}, expected 0")
            raise Failed(known.format(code=code, service=self._wanted.service or "of that name"))
        state = _state(answer.message)
        if state != "SERVING":
            raise Failed(f"{state}, expected SERVING")


async def _answered(talk: H2Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> _Answer:
    answer, left = _Answer(), BYTES_MAX
    while not answer.ended:
        data = await reader.read(BYTES_MAX)
        left -= len(data)
        if not data:
            raise Failed("it closed the connection without an answer")
        if data.startswith(OLDER):
            raise Failed("it speaks HTTP/1, expected HTTP/2")
        if left < 0:
            raise Failed("64 KiB have come, and no end of the answer")
        for event in talk.receive_data(data):
            _hear(answer, event)
        writer.write(talk.data_to_send())
    return answer


def _hear(answer: _Answer, event: Event) -> None:
    match event:
        case ResponseReceived() | TrailersReceived():
            answer.headers.update({str(name): str(value) for name, value in event.headers or ()})
        case DataReceived():
            answer.message += event.data or b""
        case StreamEnded():
            answer.ended = True
        case StreamReset() | ConnectionTerminated():
            raise Failed(f"it ended the call: error {event.error_code}")
        case _:
            return


def _request(service: str) -> bytes:
    name = service.encode()
    message = bytes([SERVICE]) + _varint(len(name)) + name if name else b""
    return b"\0" + len(message).to_bytes(FRAME_HEAD - 1, "big") + message


def _varint(number: int) -> bytes:
    low = number & 0x7F
    return bytes([low]) if number == low else bytes([low | 0x80]) + _varint(number >> 7)


def _state(framed: bytes) -> str:
    """What the one field says; a message without it says 0."""
    message = framed[FRAME_HEAD:]
    if framed[:1] == b"\1" or (message and message[0] != STATE):
        raise Failed("its answer cannot be read")
    number = message[1] if len(message) > 1 else 0
    return STATES[number] if number < len(STATES) else str(number)
