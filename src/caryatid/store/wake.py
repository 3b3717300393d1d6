# SPDX-License-Identifier: Apache-2.0
"""Wake-ups between processes: after a commit, whoever listens looks again. They carry nothing, so none can be lost
that a look at the database would not make good.

Beside a SQLite file every process has a datagram socket of its own; PostgreSQL has NOTIFY.
"""

import os
import select as io
import socket
import threading
from collections.abc import Callable, Collection
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final
from uuid import uuid4

from sqlalchemy import text

from .database import POSTGRESQL, Database, Tx

CHANNEL: Final = "caryatid"
RETRY_S: Final = 0.5
RETRY_MAX_S: Final = 30.0
DATAGRAM_BYTES: Final = 256
KEEPALIVE_S: Final = 60.0
_NOTIFY = text("SELECT pg_notify(:name, :told)")


def notify(tx: Tx, channel: str) -> None:
    """After the commit, all that listen to the channel are woken, in this process too; once a transaction."""
    if channel in tx.woken:
        return
    if tx.database.dialect == POSTGRESQL:
        tx.connection.execute(_NOTIFY, {"name": CHANNEL, "told": channel})
    elif not tx.woken:
        tx.after_commit(partial(_ring, tx.database, tx.woken))
    tx.woken.add(channel)


def _directory(database: Database) -> Path:
    return database.path.with_name(database.path.name + ".wake")


def _ring(database: Database, channels: Collection[str]) -> None:
    """A datagram to each socket that listens to a channel, by a path that fits the 107 bytes of an address."""
    try:
        directory = os.open(_directory(database), os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        return  # nobody listens
    try:
        for name in os.listdir(directory):  # noqa: PTH208  by its descriptor
            channel = name.partition(".")[0]
            if channel in channels:
                _send(database, directory, name, channel.encode())
    finally:
        os.close(directory)


def _send(database: Database, directory: int, name: str, told: bytes) -> None:
    if database.doorbell is None:
        return
    with suppress(BlockingIOError, FileNotFoundError):  # its queue is full: it will look anyway; it has just closed
        try:
            database.doorbell.sendto(told, f"/proc/self/fd/{directory}/{name}")
        except ConnectionRefusedError:
            os.unlink(name, dir_fd=directory)  # its process is gone


class Wakeups:
    """Listens for wake-ups in a thread of its own, from `start` to `close`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._subscribers: dict[str, list[Callable[[], None]]] = {}
        self._lock = threading.Lock()
        self._stop, self._stopped = socket.socketpair()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="wakeups", daemon=True)
        self._bell: socket.socket | None = None
        self._first: Path | None = None
        """The first name of the bell."""
        self._name = f"{os.getpid()}-{uuid4().hex[:8]}"
        self._listening = threading.Event()

    def start(self) -> None:
        """Wake-ups arrive from now on."""
        if self._database.dialect != POSTGRESQL:
            self._bell = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
            for channel in list(self._subscribers):
                self._hear(self._bell, channel)
        self._thread.start()
        self._listening.wait(RETRY_S)

    def subscribe(self, channel: str, act: Callable[[], None]) -> Callable[[], None]:
        """`act` is called, in the listening thread, after each wake-up; it must be quick. Returns how to stop that."""
        with self._lock:
            new = channel not in self._subscribers
            self._subscribers.setdefault(channel, []).append(act)
            if new and self._bell is not None:
                self._hear(self._bell, channel)

        def unsubscribe() -> None:
            with self._lock, suppress(ValueError):
                self._subscribers[channel].remove(act)

        return unsubscribe

    def close(self) -> None:
        """Nobody is woken any more, and nothing is left behind."""
        self._closing.set()
        self._stop.send(b"\0")
        if self._thread.ident is not None:
            self._thread.join()
        if self._bell is not None:
            self._bell.close()
            for path in _directory(self._database).glob(f"*.{self._name}"):
                path.unlink(missing_ok=True)
        self._stop.close()
        self._stopped.close()

    def _hear(self, bell: socket.socket, channel: str) -> None:
        """The bell has a name for the channel, so that nobody rings who does not know that we listen to it."""
        directory = _directory(self._database)
        directory.mkdir(mode=0o700, exist_ok=True)
        name = f"{channel}.{self._name}"
        if self._first is None:
            place = os.open(directory, os.O_PATH | os.O_DIRECTORY)
            try:
                bell.bind(f"/proc/self/fd/{place}/{name}")
            finally:
                os.close(place)
            self._first = directory / name
        else:
            (directory / name).hardlink_to(self._first)

    def _run(self) -> None:
        if self._bell is not None:
            self._listen_to_bell(self._bell)
            return
        import psycopg  # late: beside SQLite a process shall start without it

        pause = RETRY_S
        while not self._closing.is_set():
            with suppress(psycopg.Error, OSError):
                self._listen_to_server()
            self._wake_all()  # something may have been missed
            self._closing.wait(pause)
            pause = RETRY_S if self._listening.is_set() else min(RETRY_MAX_S, pause * 2)
            self._listening.clear()

    def _listen_to_bell(self, bell: socket.socket) -> None:
        self._listening.set()
        while not self._closing.is_set():
            io.select([bell, self._stopped], [], [])
            channels = set()
            with suppress(BlockingIOError):
                while True:
                    channels.add(bell.recv(DATAGRAM_BYTES).decode(errors="replace"))
            self._wake(channels)

    def _listen_to_server(self) -> None:
        """Until closing; an exception when the connection is lost."""
        import psycopg

        url = self._database.url.set(drivername="postgresql").render_as_string(hide_password=False)
        with psycopg.connect(url, autocommit=True, connect_timeout=5, application_name="caryatid-wake") as connection:
            connection.execute(f"LISTEN {CHANNEL}")
            self._listening.set()
            self._wake_all()
            while not self._closing.is_set():
                watched = [connection.fileno(), self._stopped.fileno()]
                ready, _, _ = io.select(watched, [], [], KEEPALIVE_S)
                if not ready:
                    connection.execute("SELECT 1")  # a silent connection may be a dead one
                self._wake({told.payload for told in connection.notifies(timeout=0)})

    def _wake_all(self) -> None:
        with self._lock:
            channels = set(self._subscribers)
        self._wake(channels)

    def _wake(self, channels: set[str]) -> None:
        with self._lock:
            acts = [act for channel in channels for act in self._subscribers.get(channel, ())]
        for act in acts:
            act()
