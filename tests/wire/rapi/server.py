# SPDX-License-Identifier: Apache-2.0
"""A server of the test's own, which breaks off where a script says so; and certificates for it."""

import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from caryatid.wire.tls import use_credentials
from tests.papers import Paper, key, paper

NOW = datetime.now(UTC).replace(microsecond=0)
DAY = timedelta(days=1)
PATIENCE_S = 30
RESET = struct.pack("ii", 1, 0)


def certificate(name: str, issuer: Paper | None = None, **more) -> Paper:
    """One that is good today, for `names`; signed by itself without an issuer."""
    return paper(name, issuer, **{"own": key(which=name), "begin": NOW - DAY, "end": NOW + DAY, **more})


OWN = certificate("master.example")
"""As Ganeti makes it: signed by itself, no authority, for a name by which nobody asks."""


class Guest:
    """One connection, as the script sees it. TLS is in memory, so that any part of it can be sent."""

    def __init__(self, connection: socket.socket, context: ssl.SSLContext) -> None:
        self.connection = connection
        connection.settimeout(PATIENCE_S)
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)

    def reset(self) -> None:
        """What a process that is killed with unread data leaves behind."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self.connection.close()

    def hello(self) -> None:
        """The client's first message is here, and nothing is answered."""
        self._incoming.write(self.connection.recv(65536))

    def half_a_handshake(self) -> None:
        self.hello()
        with suppress(ssl.SSLWantReadError):
            self.tls.do_handshake()
        flight = self._outgoing.read()
        self.connection.sendall(flight[: len(flight) // 2])

    def secure(self) -> None:
        self._through(self.tls.do_handshake)

    def request(self) -> bytes:
        """Head and body."""
        content = b""
        while b"\r\n\r\n" not in content:
            content += self._through(lambda: self.tls.read(65536))
        head, _, body = content.partition(b"\r\n\r\n")
        lengths = [line.split(b":")[1] for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
        while lengths and len(body) < int(lengths[0]):
            body += self._through(lambda: self.tls.read(65536))
        return head + b"\r\n\r\n" + body

    def say(self, content: bytes) -> None:
        if content:
            self._through(lambda: self.tls.write(content))

    def answer(self, content: bytes, status: int = 200) -> None:
        self.say(b"HTTP/1.1 %d Said\r\nContent-Length: %d\r\n\r\n%s" % (status, len(content), content))

    def goodbye(self) -> None:
        """TLS is ended in good order."""
        with suppress(ssl.SSLWantReadError):
            self.tls.unwrap()
        self.connection.sendall(self._outgoing.read())

    def until_it_goes(self) -> None:
        with suppress(OSError):
            while self.connection.recv(65536):
                pass

    def _through(self, act):
        while True:
            try:
                result = act()
            except ssl.SSLWantReadError:
                self._flush()
                piece = self.connection.recv(65536)
                if not piece:
                    raise ConnectionError("The client has gone.") from None
                self._incoming.write(piece)
            else:
                self._flush()
                return result

    def _flush(self) -> None:
        if self._outgoing.pending:
            self.connection.sendall(self._outgoing.read())


Script = Callable[[Guest], None]


@dataclass
class Server:
    """Carries out `script` with each who connects."""

    script: Script
    paper: Paper = OWN
    listener: socket.socket = field(init=False)
    guests: list[socket.socket] = field(default_factory=list)
    threads: list[threading.Thread] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        use_credentials(self.context, self.paper.pem + self.paper.key_pem)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"https://127.0.0.1:{self.listener.getsockname()[1]}"

    def begin(self, work: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self.threads.append(thread)
        thread.start()

    def accept(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.guests.append(connection)
            self.begin(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        guest = Guest(connection, self.context)
        with connection, suppress(OSError):
            self.script(guest)

    def end(self) -> None:
        with suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.threads[0].join(PATIENCE_S)
        for guest in self.guests:
            with suppress(OSError):
                guest.shutdown(socket.SHUT_RDWR)
        for thread in self.threads:
            thread.join(PATIENCE_S)
        assert not any(thread.is_alive() for thread in self.threads)


@contextmanager
def serving(script: Script, shown: Paper = OWN) -> Iterator[Server]:
    server = Server(script, shown)
    server.begin(server.accept)
    try:
        yield server
    finally:
        server.end()


def answering(content: bytes, status: int = 200) -> Script:
    """Whatever is asked."""

    def script(guest: Guest) -> None:
        guest.secure()
        guest.request()
        guest.answer(content, status)
        guest.until_it_goes()

    return script


def descriptors() -> list[str]:
    """What this process has open."""
    return sorted(entry.name for entry in Path("/proc/self/fd").iterdir())
