# SPDX-License-Identifier: Apache-2.0
"""The receiver of agents' reports, and the thread that writes down what they mean."""

import asyncio
import contextlib
import hmac
import threading
import time
from collections.abc import Callable, Sequence
from typing import cast

from caryatid import log, metrics
from caryatid.control.health import Observer
from caryatid.store.database import Database
from caryatid.wire.heartbeat import (
    HeartbeatForged,
    HeartbeatMalformed,
    HeartbeatReplayed,
    ReplayGuard,
    Report,
    question,
    unpack,
)

from . import loop

COALESCE_S = 0.02
TALLIES_S = 2.0
KEY_S = 5.0
BUFFER_BYTES = 1 << 22
KEYS_MAX = 100_000
QUESTION_S = 1.0
"""A host is asked to tell everything at most so often."""


class Health(asyncio.DatagramProtocol):
    """Takes datagrams; forged, replayed and malformed ones are counted and dropped."""

    def __init__(self, database: Database, keys_of: Callable[[str], Sequence[bytes]]) -> None:
        self._bell = loop.Bell()
        self.observer = Observer(database, self._bell.ring)
        self._find_keys = keys_of
        self._keys: dict[str, tuple[Sequence[bytes], float]] = {}
        self._guard = ReplayGuard()
        self._transport: asyncio.DatagramTransport | None = None
        self._asked: dict[str, float] = {}
        self._tally_at = 0.0
        self.pulse = b""
        self.pulse_at = 0.0
        """When the pulse came last, on the monotonic clock."""
        self._stop = threading.Event()
        self._verdict = {name: metrics.REPORTS.labels(name) for name in ("taken", "forged", "replayed", "malformed")}

    async def listen(self, host: str, port: int) -> asyncio.DatagramTransport:
        """Reports are taken at this address, until the transport is closed."""
        transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(lambda: self, local_addr=(host, port))
        sock = transport.get_extra_info("socket")
        with contextlib.suppress(OSError):
            sock.setsockopt(1, 8, BUFFER_BYTES)  # SOL_SOCKET, SO_RCVBUF
        loop.start("observations", lambda: loop.forever("observations", self._write, self._stop))
        return transport

    def stop(self) -> None:
        self._stop.set()
        self._bell.ring()

    def expect_pulse(self, pulse: bytes) -> None:
        """These bytes are the pulse; it begins to be missed now."""
        self.pulse, self.pulse_at = pulse, time.monotonic()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str | int, ...]) -> None:
        if self.pulse and hmac.compare_digest(data, self.pulse):
            self.pulse_at = time.monotonic()
            return
        try:
            report = unpack(data, self._keys_of, self._guard)
        except HeartbeatForged:
            self._verdict["forged"].inc()
        except HeartbeatReplayed:
            self._verdict["replayed"].inc()
        except HeartbeatMalformed:
            self._verdict["malformed"].inc()
        else:
            self._verdict["taken"].inc()
            self._take(report, addr)

    def _take(self, report: Report, addr: tuple[str | int, ...]) -> None:
        try:
            known = self.observer.take(report)
        except Exception:  # noqa: BLE001  the next datagram is to be taken all the same
            log.get().exception("report not taken")
        else:
            if not known:
                self._ask(report, addr)

    def _ask(self, report: Report, addr: tuple[str | int, ...]) -> None:
        """The host shall tell everything: this process has not heard it from the beginning."""
        now = time.monotonic()
        if self._transport is None or now < self._asked.get(report.host_id, 0.0) + QUESTION_S:
            return
        if len(self._asked) >= KEYS_MAX:
            self._asked.clear()
        self._asked[report.host_id] = now
        for key in self._keys_of(report.host_id):
            self._transport.sendto(question(key, report.boot_id), addr)

    def _keys_of(self, host_id: str) -> Sequence[bytes]:
        """The host's keys, asked for anew every few seconds, so that a revoked host is not heard for long."""
        known = self._keys.get(host_id)
        if known is not None and known[1] > time.monotonic():
            return known[0]
        if len(self._keys) >= KEYS_MAX:
            self._keys.clear()
        try:
            keys = self._find_keys(host_id)
        except Exception:
            if known is None:
                raise
            keys = known[0]  # a database that is away shall not make hosts look silent
        self._keys[host_id] = (keys, time.monotonic() + KEY_S)
        return keys

    def _write(self) -> None:
        """Statuses are written as soon as they change, counters every TALLIES_S and at the end."""
        if self._bell.wait(max(0.0, self._tally_at - time.monotonic())):
            self._stop.wait(COALESCE_S)
        tally = self._stop.is_set() or time.monotonic() >= self._tally_at
        self.observer.flush(tally=tally)
        if tally:
            self._tally_at = time.monotonic() + TALLIES_S
