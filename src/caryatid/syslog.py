# SPDX-License-Identifier: Apache-2.0
"""A process's own log lines on their way to a syslog receiver. Whoever logs never waits: lines are rather lost."""

import os
import queue
import socket
import ssl
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from caryatid.target import Target

WAITING_MAX = 1000
"""Lines that wait for a receiver; further ones are lost."""
TIMEOUT_S = 5.0
PAUSE_S = 1.0
"""After a failure; what comes meanwhile waits."""
LINE_BYTES = 8192
SEVERITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}  # RFC 5424, section 6.2.1
LOCAL0 = 16
Connect = Callable[[], socket.socket]


class Sender:
    """Sends to one receiver, from a thread of its own, for as long as the process lives."""

    def __init__(self, target: Target, facility: int, context: ssl.SSLContext | None = None, name: str = "") -> None:
        """`facility`: n of `local<n>`; `context` and `name` are for TLS: the certificate must bear that name."""
        self._target = target
        self._facility = LOCAL0 + facility
        self._context = context
        self._name = name
        self._host = os.uname().nodename
        self._lines: queue.Queue[bytes] = queue.Queue(WAITING_MAX)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="syslog", daemon=True)
        self._thread.start()

    def put(self, severity: str, line: str) -> None:
        """Sent soon, or lost."""
        now = datetime.now(UTC).isoformat(timespec="microseconds")
        head = f"<{self._facility * 8 + SEVERITIES[severity]}>1 {now} {self._host} caryatid {os.getpid()} - - "
        try:
            self._lines.put_nowait((head + line).encode(errors="replace")[:LINE_BYTES])
        except queue.Full:
            return

    def close(self) -> None:
        """Nothing is sent any more."""
        self._closed.set()
        self.put("debug", "")  # wakes the thread
        self._thread.join(2 * TIMEOUT_S)

    def _run(self) -> None:
        while not self._closed.is_set():
            try:
                with self._connect() as connection:
                    self._send_all(connection)
            except OSError:
                self._closed.wait(PAUSE_S)

    def _send_all(self, connection: socket.socket) -> None:
        while True:
            line = self._lines.get()
            if self._closed.is_set():
                return
            counted = b"" if self._target.scheme == "udp" else b"%d " % len(line)  # RFC 6587, section 3.4.1
            connection.sendall(counted + line)

    def _connect(self) -> socket.socket:
        address = (self._target.host, self._target.port)
        if self._target.scheme == "udp":
            receiver = socket.socket(socket.AF_INET6 if ":" in self._target.host else socket.AF_INET, socket.SOCK_DGRAM)
            receiver.connect(address)
            return receiver
        connection = socket.create_connection(address, TIMEOUT_S)
        if self._context is None:
            return connection
        try:
            return self._context.wrap_socket(connection, server_hostname=self._name)
        except OSError:
            connection.close()
            raise


def senders(targets: tuple[Target, ...], facility: int, authorities: Path | None, name: str) -> tuple[Sender, ...]:
    """One for each target. Raises OSError for `authorities` that cannot be read."""
    context = ssl.create_default_context(cafile=authorities) if authorities else None
    return tuple(Sender(t, facility, context if t.scheme == "tls" else None, name) for t in targets)
