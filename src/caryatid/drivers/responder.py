# SPDX-License-Identifier: Apache-2.0
"""OCSP responders, asked over HTTP.

A certificate says where its responder is, and anybody can write a certificate: so only what is public is asked, at the
address that was looked at, within limits.
"""

import socket
import time
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from urllib.parse import SplitResult, urlsplit

import httpx2

TIMEOUT = httpx2.Timeout(5.0, connect=3.0)
WHOLE_S = 10.0
ANSWER_BYTES_MAX = 1 << 16
OK = 200
PORTS = {"http": 80, "https": 443}
TRANSLATED = IPv6Network("64:ff9b::/96")
"""IPv4 behind a NAT64 (RFC 6052)."""
HEADERS = {"Content-Type": "application/ocsp-request", "Accept": "application/ocsp-response"}


class ResponderError(Exception):
    """No answer; str() is a sentence."""


def ask(url: str, request: bytes, *, private: bool = False) -> bytes:
    """What the responder answers, not looked into. `private`: it may be at an address that is not public."""
    parts, port = _parts(url)
    host = parts.hostname or ""
    address = _address(host, port, private=private)
    target = parts._replace(netloc=f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}")  # noqa: PLR2004
    headers = {**HEADERS, "Host": parts.netloc}
    deadline, content = time.monotonic() + WHOLE_S, bytearray()
    try:
        with (
            httpx2.Client(timeout=TIMEOUT, follow_redirects=False, trust_env=False) as http,
            http.stream(
                "POST", target.geturl(), content=request, headers=headers, extensions={"sni_hostname": host}
            ) as answer,
        ):
            if answer.status_code != OK:
                raise ResponderError(f"{host} answers {answer.status_code}.")
            for chunk in answer.iter_bytes():
                content += chunk
                if len(content) > ANSWER_BYTES_MAX or time.monotonic() > deadline:
                    raise ResponderError(f"{host} answers too much, or too slowly.")
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError) as error:
        raise ResponderError(f"{host} cannot be asked: {error or type(error).__name__}.") from error
    return bytes(content)


def _parts(url: str) -> tuple[SplitResult, int]:
    try:
        parts = urlsplit(url)
        port = parts.port or PORTS.get(parts.scheme, 0)
    except ValueError:
        raise ResponderError("The address of the responder cannot be read.") from None
    if parts.scheme not in PORTS or not parts.hostname or parts.username is not None:
        raise ResponderError("The address of the responder is not one of HTTP.")
    return parts, port


def _address(host: str, port: int, *, private: bool) -> IPv4Address | IPv6Address:
    """The first address of the host that may be asked."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        known = [ip_address(one[4][0]) for one in found]
    except (OSError, ValueError, UnicodeError) as error:
        raise ResponderError(f"{host[:255]} has no address: {error}.") from error
    for address in known:
        if private or is_public(address):
            return address
    raise ResponderError(
        f"{host} is not at a public address; `ocsp_private_responders` lets such responders be asked, too."
    )


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """Whether the address, and the one that may be hidden in it, are of the public internet."""
    if isinstance(address, IPv6Address):
        hidden = address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
        if address in TRANSLATED:
            hidden = IPv4Address(int(address) & 0xFFFFFFFF)
        if hidden is not None:
            return is_public(hidden)
    return address.is_global and not address.is_multicast
