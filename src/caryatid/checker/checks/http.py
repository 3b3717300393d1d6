# SPDX-License-Identifier: Apache-2.0
"""A request and its answer. Most checks are this one: a protocol and a future each, no more."""

import asyncio
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Final, cast
from urllib.parse import SplitResult, quote, urljoin, urlsplit

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from caryatid.model.gslb.parameters import Http as HttpParameters
from caryatid.model.gslb.parameters import Https as HttpsParameters
from caryatid.model.gslb.parameters import codes
from caryatid.model.gslb.patterns import compiled

from .base import BYTES_MAX, Failed, Means, NotAllowed, Place, read

REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
REDIRECTS_MAX: Final = 5
SWITCHING: Final = 101
FINAL: Final = 200
"""Statuses below only announce another one, except SWITCHING."""
PRINTABLE: Final = "".join(map(chr, range(0x21, 0x7F)))
PORTS: Final = {"http": 80, "https": 443}
USUAL: Final = {"User-Agent": f"Caryatid/{version('caryatid')}", "Accept": "*/*"}


@dataclass(slots=True)
class Asked:
    """Where a request goes."""

    address: str
    port: int
    host: str
    """As the request and TLS name it."""
    tls: ssl.SSLContext | None = None
    sni: str | None = None
    """None: `host`."""


class Exchange(asyncio.Protocol):
    """Sends a request, reads the answer as far as it is wanted, and closes the connection."""

    __slots__ = (
        "_left",
        "_parser",
        "_place",
        "_request",
        "_transport",
        "_wants_body",
        "body",
        "ended",
        "location",
        "status",
    )

    def __init__(self, place: Place, request: bytes, ended: asyncio.Future[None], *, wants_body: bool) -> None:
        self._place = place
        self._request = request
        self._wants_body = wants_body
        self._left = BYTES_MAX
        self._parser = HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self.ended = ended
        """Set when all that was wanted is there; Failed or OSError if it will not be."""
        self.status = 0
        self.location = ""
        self.body = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._place.doing = "waiting for an answer"
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._left -= len(data)
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade:
            self._end()
        except HttpParserError:
            self._end(Failed("what it answers is no HTTP"))
        if self._left <= 0:
            self._end(None if self.status else Failed("64 KiB have come, and no end of the answer's head"))

    def on_header(self, name: bytes, value: bytes) -> None:
        if len(name) == len("location") and name.lower() == b"location":
            self.location = value.decode(errors="replace")

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status >= FINAL or status == SWITCHING:
            self.status = status
            if self._wants_body:
                self._place.doing = f"status {status} has come, waiting for what follows"
            else:
                self._end()

    def on_body(self, data: bytes) -> None:
        if self._wants_body:
            self.body += data

    def on_message_complete(self) -> None:
        if self.status:
            self._end()

    def connection_lost(self, exc: Exception | None) -> None:
        if self.status:
            self._end()
        else:
            self._end(exc or Failed("it closed the connection without an answer"))

    def _end(self, problem: Exception | None = None) -> None:
        if self.ended.done():
            return
        if problem is None:
            self.ended.set_result(None)
        else:
            self.ended.set_exception(problem)
        self.close()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()


async def exchanged(place: Place, asked: Asked, request: bytes, *, wants_body: bool) -> Exchange:
    """What was answered. Raises Failed, OSError."""
    loop = asyncio.get_running_loop()
    exchange = Exchange(place, request, loop.create_future(), wants_body=wants_body)
    name = (asked.sni or asked.host).rstrip(".") if asked.tls else None
    await loop.create_connection(lambda: exchange, asked.address, asked.port, ssl=asked.tls, server_hostname=name)
    try:
        await exchange.ended
    finally:
        exchange.close()
    return exchange


def head(method: str, target: str, host: str, headers: Mapping[str, str], body: bytes | None = None) -> bytes:
    """A request."""
    given = {name.lower() for name in headers}
    lines = [f"{method} {quote(target, safe=PRINTABLE)} HTTP/1.1", f"Host: {host}"]
    lines += [f"{name}: {value}" for name, value in USUAL.items() if name.lower() not in given]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    lines += [f"Content-Length: {len(body)}"] if body is not None else []
    return "\r\n".join([*lines, "Connection: close", "", ""]).encode() + (body or b"")


def authority(host: str, port: int, scheme: str) -> str:
    """As a header Host has it."""
    shown = f"[{host}]" if ":" in host else host
    return shown if port == PORTS[scheme] else f"{shown}:{port}"


class Http:
    scheme = "http"

    def __init__(self, parameters: Mapping[str, Any], means: Means) -> None:
        self._wanted = self._read(parameters)
        self._means = means
        self._codes = codes(self._wanted.expected_codes)
        self._pattern = compiled(self._wanted.expected_body) if self._wanted.expected_body else None
        self._body = self._wanted.body.encode() if self._wanted.body is not None else None
        self._host = self._wanted.host.rstrip(".") if self._wanted.host else None
        if self.scheme == "https":
            self._tls()  # to make the first one takes milliseconds, which are no member's

    def _read(self, parameters: Mapping[str, Any]) -> HttpParameters:
        return read(HttpParameters, parameters)

    def _tls(self, *, elsewhere: bool = False) -> tuple[ssl.SSLContext, str | None]:  # noqa: ARG002
        """Of redirections to https, which no parameter is about. `elsewhere`: to another host than the member."""
        return self._means.contexts.of(verify=True), None

    async def ask(self, place: Place) -> None:
        wanted = self._wanted
        port = wanted.port or place.port or PORTS[self.scheme]
        asked = Asked(place.address, port, self._host or place.name)
        if self.scheme == "https":
            asked.tls, asked.sni = self._tls()
            place.doing = "connecting, with TLS"
        host = self._host or authority(place.name, port, self.scheme)
        request = head(wanted.method, wanted.path, host, wanted.headers, self._body)
        got = await exchanged(place, asked, request, wants_body=self._pattern is not None)
        if wanted.follow_redirects:
            url = f"{self.scheme}://{authority(asked.host, port, self.scheme)}{wanted.path}"
            got = await self._followed(place, asked, url, got)
        await self._judge(place, got)

    async def _followed(self, place: Place, asked: Asked, url: str, got: Exchange) -> Exchange:
        """The answer at the end of the way. What the request said of its own is said to nobody else."""
        for _ in range(REDIRECTS_MAX):
            if got.status not in REDIRECTS or not got.location:
                return got
            last, url = urlsplit(url), urljoin(url, got.location)
            to = urlsplit(url)
            asked = await self._next(place, asked, to)
            same = (to.scheme, to.netloc) == (last.scheme, last.netloc)
            target = f"{to.path or '/'}?{to.query}" if to.query else to.path or "/"
            host = authority(asked.host, asked.port, to.scheme)
            request = head(self._wanted.method, target, host, self._wanted.headers if same else {})
            place.doing = f"connecting to {asked.address}, where it led"
            got = await exchanged(place, asked, request, wants_body=self._pattern is not None)
        raise Failed(f"it led elsewhere more than {REDIRECTS_MAX} times")

    async def _next(self, place: Place, asked: Asked, to: SplitResult) -> Asked:
        """Where to; the same name is at the same address."""
        try:
            host, port = to.hostname, to.port
        except ValueError:
            host, port = None, None
        if to.scheme not in PORTS or not host or not host.isascii() or to.username is not None:
            raise Failed("it leads to something that is no URL of HTTP")
        same = host == asked.host.lower()
        place.doing = f"looking up {host}, where it led"
        try:
            address = asked.address if same else await self._means.reach(host)
        except NotAllowed as refused:
            raise Failed(f"it led where nothing may be sent: {refused}") from None
        tls, sni = self._tls(elsewhere=not same) if to.scheme == "https" else (None, None)
        return Asked(address, port or PORTS[to.scheme], host, tls, sni if same else None)

    async def _judge(self, place: Place, got: Exchange) -> None:
        if not any(first <= got.status <= last for first, last in self._codes):
            raise Failed(f"status {got.status}, expected {self._wanted.expected_codes}")
        if self._pattern is not None and not await self._means.found(place, self._pattern, bytes(got.body[:BYTES_MAX])):
            raise Failed(
                f"status {got.status}, but {self._wanted.expected_body} is not in the {len(got.body)} bytes of it"
            )


class Https(Http):
    scheme = "https"

    def _read(self, parameters: Mapping[str, Any]) -> HttpsParameters:
        return read(HttpsParameters, parameters)

    def _tls(self, *, elsewhere: bool = False) -> tuple[ssl.SSLContext, str | None]:
        wanted = cast(HttpsParameters, self._wanted)
        return self._means.contexts.secured(wanted, shows=not elsewhere), wanted.sni
