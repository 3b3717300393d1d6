# SPDX-License-Identifier: Apache-2.0
"""HTTP to places that others name: a certificate its OCSP responder, a subscription its receiver.

Anybody can name a place. So the address that is connected to is the one that was looked at, and it is public, unless
the operator says otherwise; nothing is followed, no proxy is asked, and everything has a limit.
"""

import asyncio
import socket
import ssl
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib.metadata import version
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from pathlib import Path
from typing import Self

import httpcore2
import httpx2

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

CONNECT_S = 3.0
"""To one address."""
ADDRESSES_MAX = 4
"""Of a name, that are tried."""
CONNECTIONS_MAX = 1000
IDLE_S = 4.0
"""For which a connection is kept: receivers keep theirs for 5 s at the least, so that none ends under a request."""
LOOKUPS_AT_ONCE = 16
SCHEMES = frozenset({"http", "https"})
PORT_MAX = 1 << 16
TRANSLATED = IPv6Network("64:ff9b::/96")
"""IPv4 behind a NAT64 (RFC 6052)."""
GIVEN_OUT = IPv6Network("2000::/3")
"""All of IPv6 that is the public internet's (RFC 4291, 2.4)."""
TAKEN_BACK = tuple(map(IPv6Network, ("2002::/16", "2001::/32", "3fff::/20")))
"""Tunnels to IPv4 (6to4, Teredo), and documentation: `is_global` does not know all of them."""
CLOUDS = frozenset({IPv4Address("168.63.129.16"), IPv4Address("192.0.0.192")})
"""Of the public range, and yet the place at which a cloud tells machines what only they may know."""
AGENT = f"Caryatid/{version('caryatid')}"


class Unreachable(Exception):
    """There is no answer; str() is a sentence, without the path, which may be secret."""


class NotPublic(Unreachable):
    """It is where nobody may be sent."""


@dataclass(frozen=True)
class Limits:
    """What an answer may cost."""

    head_s: float = 10.0
    """Looking up, connecting, asking, until the status has come."""
    content_s: float = 1.0
    """For what follows."""
    content_bytes: int = 1 << 14


USUAL = Limits()


@dataclass(frozen=True)
class Answer:
    status: int
    content: bytes = field(repr=False)
    """As it came; of what is too long or too slow, the beginning."""
    whole: bool
    """All of it came."""


class Outbound:
    """Posts, on one loop. Connections are kept, each for the name that it was made for."""

    def __init__(self, private: Sequence[Network] = (), authorities: Path | None = None) -> None:
        """`private`: networks that may be asked although they are not public. `authorities`: a PEM file of those who
        sign certificates there, instead of those that the machine trusts."""
        self._lookups = ThreadPoolExecutor(LOOKUPS_AT_ONCE, thread_name_prefix="lookup")
        self._pool = httpcore2.AsyncConnectionPool(
            ssl_context=ssl.create_default_context(cafile=authorities),
            max_connections=CONNECTIONS_MAX,
            keepalive_expiry=IDLE_S,
            network_backend=_Guarded(private, self._lookups),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._pool.aclose()
        self._lookups.shutdown(wait=False, cancel_futures=True)

    async def post(self, url: str, content: bytes, headers: Mapping[str, str], limits: Limits = USUAL) -> Answer:
        """What is answered, whatever its status. Raises Unreachable; NotPublic before anything is sent."""
        place = parsed(url)
        said = {"Host": place.netloc.decode(), "User-Agent": AGENT, "Content-Length": str(len(content)), **headers}
        target = httpcore2.URL(scheme=place.raw_scheme, host=place.raw_host, port=place.port, target=place.raw_path)
        try:
            async with asyncio.timeout(limits.head_s):
                request = httpcore2.Request("POST", target, headers=list(said.items()), content=content)
                response = await self._pool.handle_async_request(request)
        except TimeoutError:
            raise Unreachable(f"{place.host} does not answer within {limits.head_s:g} s.") from None
        except (*_BROKEN, OSError, ValueError) as error:
            raise Unreachable(f"{place.host} cannot be asked: {str(error) or type(error).__name__}.") from error
        try:
            content, whole = await _read(response, limits)
        finally:
            await response.aclose()
        return Answer(response.status, content, whole)


_BROKEN = (httpcore2.NetworkError, httpcore2.ProtocolError, httpcore2.TimeoutException, httpcore2.UnsupportedProtocol)


async def _read(response: httpcore2.Response, limits: Limits) -> tuple[bytes, bool]:
    """What follows the head, and whether it came to its end."""
    content = bytearray()
    try:
        async with asyncio.timeout(limits.content_s):
            async for chunk in response.aiter_stream():
                content += chunk
                if len(content) > limits.content_bytes:
                    return bytes(content[: limits.content_bytes]), False
    except (TimeoutError, *_BROKEN, OSError):
        return bytes(content), False
    return bytes(content), True


def parsed(url: str) -> httpx2.URL:
    """Raises Unreachable for what is no place that can be asked over HTTP."""
    try:
        place = httpx2.URL(url)
        port = place.port
    except (httpx2.InvalidURL, UnicodeError, ValueError):
        raise Unreachable("The address cannot be read.") from None
    there = bool(place.host) and not place.userinfo and (port is None or 0 < port < PORT_MAX)
    if place.scheme not in SCHEMES or not there:
        raise Unreachable("The address is not one of HTTP.")
    return place


def literal(host: str) -> Address | None:
    """The address that the host is, in whatever way it is written; None: it is a name."""
    try:
        return ip_address(host.strip("[]"))
    except ValueError:
        pass
    try:
        return IPv4Address(socket.inet_aton(host))  # 127.1, 0x7f000001, 2130706433: look-ups take them all
    except (OSError, UnicodeError, ValueError):
        return None


def may_be_asked(address: Address, private: Iterable[Network]) -> bool:
    """Whether somebody else may send us to the address."""
    plain = getattr(address, "ipv4_mapped", None) or address
    return is_public(address) or any(plain in network for network in private if network.version == plain.version)


def is_public(address: Address) -> bool:
    """Whether the address, or the one that is hidden in it, is of the public internet, and no machine's own."""
    if isinstance(address, IPv4Address):
        return address.is_global and not address.is_multicast and address not in CLOUDS
    hidden = address.ipv4_mapped or (IPv4Address(int(address) & 0xFFFFFFFF) if address in TRANSLATED else None)
    if hidden is not None:
        return is_public(hidden)
    return address.is_global and address in GIVEN_OUT and not any(address in network for network in TAKEN_BACK)


class _Guarded(httpcore2.AnyIOBackend):
    """Connects to nothing else than what it has looked at."""

    def __init__(self, private: Sequence[Network], lookups: ThreadPoolExecutor) -> None:
        self._private = private
        self._lookups = lookups

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109  the signature of a backend
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        problem: Exception = OSError("it has no address")
        wait_s = timeout or CONNECT_S
        for address in (await self._addresses(host, port))[:ADDRESSES_MAX]:
            try:
                stream = await super().connect_tcp(str(address), port, wait_s, local_address, socket_options)
            except (*_BROKEN, OSError) as error:
                problem = error
            else:
                if self._is_this_machine(stream):
                    await stream.aclose()
                    raise NotPublic(f"{host} is this machine.")
                return stream
        raise problem

    async def _addresses(self, host: str, port: int) -> list[Address]:
        """Those that may be asked. Raises NotPublic if there is none such; OSError if there is none at all."""
        known = literal(host)
        found = [known] if known else await self._found(host, port)
        good = [address for address in dict.fromkeys(found) if may_be_asked(address, self._private)]
        if found and not good:
            raise NotPublic(f"{host} is not at a public address.")
        return good

    async def _found(self, host: str, port: int) -> list[Address]:
        names = await asyncio.get_running_loop().run_in_executor(self._lookups, _look_up, host, port)
        return [ip_address(name) for name in names]

    def _is_this_machine(self, stream: httpcore2.AsyncNetworkStream) -> bool:
        """A public address may be our own, and who connects from there may be trusted here."""
        here, there = (ip_address(stream.get_extra_info(name)[0]) for name in ("client_addr", "server_addr"))
        return here == there and not any(there in network for network in self._private)


def _look_up(host: str, port: int) -> list[str]:
    return [str(one[4][0]) for one in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
