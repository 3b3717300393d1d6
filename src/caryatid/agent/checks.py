# SPDX-License-Identifier: Apache-2.0
"""Whether a member for datagrams works, asked from inside its amphora's namespace, and when enough was heard.

What cannot be told from silence is taken for good: who is sent a datagram and says nothing may be there. That nobody
listens there, or that there is no way to it, is an answer.
"""

import asyncio
import socket
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

from caryatid.agent.namespace import NamespaceError
from caryatid.wire.datagrams import Monitor

ERRORS_ARE_TOLD = ((socket.IPPROTO_IP, 11), (socket.IPPROTO_IPV6, 25))
"""IP_RECVERR and IPV6_RECVERR: also those that say that there is no way (ip(7))."""
IPPROTO_SCTP = 132
STATUS_BYTES = 12
"""`HTTP/1.1 200`."""
ANSWER_BYTES_MAX = 4096
ERROR_BYTES = 512


@dataclass
class Verdict:
    """What checks so far have come to. Nobody is down before anything was heard; then the first word counts."""

    up: bool = True
    known: bool = False
    against: int = 0
    """Results in a row that say otherwise."""

    def hear(self, monitor: Monitor, *, good: bool) -> bool:
        """Whether that changes it."""
        self.against = self.against + 1 if good != self.up else 0
        enough = self.against >= (monitor.rise if good else monitor.fall) or not self.known
        self.known = True
        if not self.against or not enough:
            return False
        self.up, self.against = good, 0
        return True


class Asker:
    """Asks one member, again and again; `enter` leads to where it is asked from.

    The socket of a datagram is kept: that there is no way to a machine takes the kernel seconds to find out, and is
    heard with the next check.
    """

    def __init__(
        self, monitor: Monitor, address: str, port: int, enter: Callable[[], AbstractContextManager[None]]
    ) -> None:
        self._monitor = monitor
        self._where = (address, port)
        self._enter = enter
        self._kept: socket.socket | None = None

    async def ask(self) -> bool | None:
        """Whether the member passes a check; None: this host could not ask."""
        try:
            asking = self._kept or self._socket()
        except (OSError, NamespaceError):
            return None
        self._kept = None
        try:
            async with asyncio.timeout(self._monitor.timeout_s):
                return await self._answered(asking)
        except TimeoutError:
            return self._monitor.type == "UDP-CONNECT"
        except OSError:
            return False
        finally:
            if self._monitor.type == "UDP-CONNECT" and _drained(asking):
                self._kept = asking
            else:
                asking.close()

    def close(self) -> None:
        if self._kept:
            self._kept.close()

    async def _answered(self, asking: socket.socket) -> bool:
        monitor, loop = self._monitor, asyncio.get_running_loop()
        if monitor.type == "UDP-CONNECT":
            late = asking.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            _drained(asking)
            asking.connect(self._where)
            asking.send(b"")
            if late:
                return False
            await loop.sock_recv(asking, ANSWER_BYTES_MAX)
            return True
        await loop.sock_connect(asking, self._where)
        if monitor.type == "HTTP":
            await loop.sock_sendall(asking, _request(monitor, self._where))
            return _good(monitor, await _status(asking))
        return True

    def _socket(self) -> socket.socket:
        six = ":" in self._where[0]
        family = socket.AF_INET6 if six else socket.AF_INET
        with self._enter():
            if self._monitor.type == "UDP-CONNECT":
                asking = socket.socket(family, socket.SOCK_DGRAM)
                asking.setsockopt(*ERRORS_ARE_TOLD[six], 1)
            else:
                protocol = IPPROTO_SCTP if self._monitor.type == "SCTP" else socket.IPPROTO_TCP
                asking = socket.socket(family, socket.SOCK_STREAM, protocol)
        asking.setblocking(False)
        return asking


def _drained(asking: socket.socket) -> bool:
    """Errors that it has had are forgotten, or it would call for us at once again; False: it is of no use any more."""
    try:
        while True:
            asking.recvmsg(1, ERROR_BYTES, socket.MSG_ERRQUEUE)
    except BlockingIOError:
        return True
    except OSError:
        return False


def _request(monitor: Monitor, where: tuple[str, int]) -> bytes:
    lines = [f"{monitor.method} {monitor.path} HTTP/{monitor.version}"]
    if monitor.version == "1.1" or monitor.host:
        address, port = where
        shown = f"[{address}]" if ":" in address else address
        lines.append(f"Host: {monitor.host or f'{shown}:{port}'}")
    return "\r\n".join([*lines, "Connection: close", "", ""]).encode()


async def _status(asking: socket.socket) -> bytes:
    loop = asyncio.get_running_loop()
    heard = b""
    while len(heard) < STATUS_BYTES and (more := await loop.sock_recv(asking, ANSWER_BYTES_MAX)):
        heard += more
    return heard


def _good(monitor: Monitor, heard: bytes) -> bool:
    version, _, rest = heard[:STATUS_BYTES].partition(b" ")
    status = int(rest) if rest.isdigit() and version.startswith(b"HTTP/1.") else 0
    return any(first <= status <= last for first, last in monitor.codes)
