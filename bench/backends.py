# SPDX-License-Identifier: Apache-2.0
"""Members to balance over: tiny web servers on one thread, each of which answers with its name; and clients."""

import asyncio
import contextlib
import socket
import threading
from concurrent.futures import Future
from typing import Any, Self

ANSWER_S = 5.0


class Backend(asyncio.Protocol):
    """One connection to a backend."""

    def __init__(self, server: "Server") -> None:
        self._server = server
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._server.connections.add(transport)

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002  asyncio's signature
        self._server.connections.discard(self._transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while b"\r\n\r\n" in self._buffer:
            _, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
            self._transport.write(self._server.answer)  # type: ignore[attr-defined]


class Server:
    """A backend that can be closed and opened again on its port."""

    def __init__(self, backends: "Backends", name: str, port: int = 0) -> None:
        self.name = name
        six = ":" in backends.address
        self._place = socket.socket(socket.AF_INET6 if six else socket.AF_INET)
        """Holds the port while nobody listens on it: others look for free ones all the time."""
        if six:
            self._place.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        self._place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self._place.bind((backends.address, port))
        self.port: int = self._place.getsockname()[1]
        self.connections: set[asyncio.BaseTransport] = set()
        self.answer = (
            f"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {len(name) + 1}\r\n\r\n{name}\n".encode()
        )
        self._backends = backends
        self._listening: asyncio.Server | None = None
        self.open()

    @property
    def alive(self) -> bool:
        return self._listening is not None

    def open(self) -> None:
        """It serves."""
        self._backends.call(self._open())

    def close(self) -> None:
        """Nobody listens on its port, and its connections are gone."""
        self._backends.call(self._close())

    def end(self) -> None:
        """It is closed for good, and its port free."""
        self.close()
        self._place.close()

    async def _open(self) -> None:
        loop = asyncio.get_running_loop()
        where = self._backends.address, self.port
        self._listening = await loop.create_server(lambda: Backend(self), *where, backlog=1024, reuse_port=True)

    async def _close(self) -> None:
        if self._listening is not None:
            self._listening.close()
            self._listening = None
        for transport in list(self.connections):
            transport.abort()  # type: ignore[attr-defined]


class Backends:
    """The thread on which backends live. Leaving it ends them all."""

    def __init__(self, address: str = "127.0.0.1") -> None:
        self.address = address
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="backends", daemon=True)
        self._thread.start()
        self._servers: list[Server] = []

    def make(self, name: str) -> Server:
        self._servers.append(Server(self, name))
        return self._servers[-1]

    def call(self, work: Any) -> Any:
        future: Future[Any] = asyncio.run_coroutine_threadsafe(work, self._loop)
        return future.result(ANSWER_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for server in self._servers:
            server.end()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(ANSWER_S)
        self._loop.close()


def ask(
    address: str, port: int = 8080, path: str = "/", host: str = "bench", headers: str = "", timeout_s: float = 2
) -> tuple[int, str, str]:
    """One request on a connection of its own: status (0: no answer), headers, body."""
    received = b""
    with contextlib.suppress(OSError), socket.create_connection((address, port), timeout_s) as sock:
        sock.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{headers}\r\n".encode())
        while chunk := sock.recv(65536):
            received += chunk
    head, _, body = received.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1."):
        return 0, "", ""
    return int(head.split()[1]), head.decode("latin-1"), body.decode("latin-1").strip()
