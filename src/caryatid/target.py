# SPDX-License-Identifier: Apache-2.0
"""Where logs are sent: one address of a syslog receiver, as an operator writes it."""

import ipaddress
import re
from typing import Literal, NamedTuple

Scheme = Literal["udp", "tcp", "tls"]
PORT = 514
"""Of a target that names none (RFC 5426, section 3.3)."""
TLS_PORT = 6514
"""The same for TLS (RFC 5425, section 4.1)."""
PORT_MAX = 0xFFFF
SHAPE = re.compile(r"(?:(?P<scheme>udp|tcp|tls)://)?(?P<host>\[[0-9A-Fa-f:.]+\]|[0-9.]+)(?::(?P<port>[0-9]{1,5}))?")


class Target(NamedTuple):
    """A syslog receiver. An address, not a name: HAProxy would not start if it could not resolve one."""

    scheme: Scheme
    host: str
    port: int


def parse(text: str) -> tuple[Target, ...]:
    """Targets separated by commas, each `[udp://|tcp://|tls://]ADDRESS[:PORT]`. Raises ValueError."""
    return tuple(_one(part.strip()) for part in text.split(",") if part.strip())


def _one(text: str) -> Target:
    found = SHAPE.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is not a log target: udp://, tcp:// or tls://, an IP address, and a port.")
    scheme: Scheme = found["scheme"] or "udp"  # type: ignore[assignment]  # SHAPE lets no other through
    host = str(ipaddress.ip_address(found["host"].strip("[]")))
    port = int(found["port"]) if found["port"] else (TLS_PORT if scheme == "tls" else PORT)
    if not 0 < port <= PORT_MAX:
        raise ValueError(f"{text!r} is not a log target: the port must be 1 to 65535.")
    return Target(scheme, host, port)
