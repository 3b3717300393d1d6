# SPDX-License-Identifier: Apache-2.0
"""The thread that judges silence, and the pulse by which it knows that this process hears at all."""

import contextlib
import os
import secrets
import socket
import ssl
import threading
import time
from collections.abc import Callable
from functools import partial

from caryatid.control.inquiry import by_agents
from caryatid.control.judge import Judge, Moment
from caryatid.store.database import Database

from . import loop
from .health import Health

TURN_S = 0.2
FORGET_S = 60.0
FORGET_REPLACED_S = 1.0
PULSE_BYTES = 24
"""Shorter than any report."""


class Pulse:
    """Datagrams to our own receiver: as long as they come back in time, so do hosts'. Nobody else can know them."""

    def __init__(self, health: Health, address: tuple[str, int]) -> None:
        host, port = address[:2]
        everywhere = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  read, not listened on
        self._address = everywhere.get(host, host), port
        self._socket = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._health = health
        health.expect_pulse(secrets.token_bytes(PULSE_BYTES))

    def beat(self) -> float:
        """One more is sent; when the last one came."""
        with contextlib.suppress(OSError):  # it will be missed
            self._socket.sendto(self._health.pulse, self._address)
        return self._health.pulse_at

    def close(self) -> None:
        self._socket.close()


class Judging:
    """Silence is judged from `start` to `stop`, if no other process does."""

    def __init__(self, database: Database, health: Health, context: Callable[[], ssl.SSLContext]) -> None:
        self._health = health
        observer = health.observer
        holder = f"{socket.gethostname()}:{os.getpid()}"
        self._judge = Judge(database, observer.hosts, observer.sightings, by_agents(context), holder)
        self._stop = threading.Event()

    def start(self, address: tuple[str, int]) -> None:
        """`address`: where the receiver listens."""
        pulse = Pulse(self._health, address)

        def turn() -> None:
            self._judge.turn(Moment(time.monotonic(), time.time(), pulse.beat()))

        def run() -> None:
            forget = self._health.observer.forget_gone
            replaced = partial(forget, replaced=True)
            loop.start("forget", lambda: loop.every("forget", FORGET_S, forget, self._stop))
            loop.start("replaced", lambda: loop.every("replaced", FORGET_REPLACED_S, replaced, self._stop))
            loop.every("judge", TURN_S, turn, self._stop)
            pulse.close()
            self._judge.close()

        self._thread = loop.start("judge", run)

    def stop(self, timeout_s: float = 2.0) -> None:
        """Another process may judge."""
        self._stop.set()
        self._thread.join(timeout_s)
