# SPDX-License-Identifier: Apache-2.0
"""Ganeti clusters are watched, each by one process at a time, and by a thread of its own there: one that hangs keeps
nobody else waiting."""

import asyncio
import os
import socket
import threading
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from typing import Final
from uuid import uuid4

from caryatid import log
from caryatid.control.authority import Registry
from caryatid.control.door import Door
from caryatid.control.ganeti.clusters import CHANNEL
from caryatid.control.ganeti.sight import lease_of
from caryatid.control.ganeti.watcher import Watcher
from caryatid.errors import CaryatidError
from caryatid.model import CLUSTER
from caryatid.store import leases, rows
from caryatid.store.wake import Wakeups
from caryatid.wire.rapi.client import Rapi

from . import loop

LEASE_S: Final = 10.0
RENEW_S: Final = 3.0
LOOK_S: Final = 5.0
"""After which it is looked for clusters that came and went, though nobody rang."""
JOIN_S: Final = 2.0


@dataclass(frozen=True)
class _Watched:
    """A cluster that this process watches."""

    watcher: Watcher
    stop: threading.Event
    thread: threading.Thread


class Clusters:
    """Clusters are watched while this is entered, those that no other process watches."""

    def __init__(self, door: Door, registry: Registry, wakeups: Wakeups, rapi: Callable[..., Rapi] = Rapi) -> None:
        """`rapi`: makes clients (`Watcher`)."""
        self._door = door
        self._registry = registry
        self._wakeups = wakeups
        self._rapi = rapi
        self._holder = f"{socket.gethostname()}:{os.getpid()}-{uuid4().hex[:8]}"
        self._watched: dict[str, _Watched] = {}
        self._ending: list[threading.Thread] = []
        """Threads of clusters that are not watched any more; they have yet to hear from a RAPI."""
        self._known: frozenset[str] = frozenset()
        self._renewed_at = 0.0
        self._stop = threading.Event()
        self._bell = loop.Bell()

    async def __aenter__(self) -> None:
        await asyncio.to_thread(self.start)

    async def __aexit__(self, *_: object) -> None:
        await asyncio.to_thread(self.stop)

    def start(self) -> None:
        """They are watched from now on."""
        self._unsubscribe = self._wakeups.subscribe(CHANNEL, self._rung)
        self._thread = loop.start("clusters", lambda: loop.forever("clusters", self._turn, self._stop))

    def stop(self, timeout_s: float = JOIN_S) -> None:
        """Another process may watch them. Threads that still hear from a RAPI are waited for, for `timeout_s`."""
        self._unsubscribe()
        self._stop.set()
        self._bell.ring()
        deadline = time.monotonic() + timeout_s
        self._thread.join(timeout_s)
        for key in list(self._watched):
            self._dismiss(key)
        for thread in self._ending:
            thread.join(max(0.0, deadline - time.monotonic()))
        for key in self._known:
            with suppress(CaryatidError):
                leases.release(self._door.database, lease_of(key), self._holder)

    def _rung(self) -> None:
        for one in list(self._watched.values()):
            one.watcher.ring()
        self._bell.ring()

    def _turn(self) -> None:
        """Every cluster that there is, and that is ours to watch, is watched; then until something is rung."""
        with self._door.database.read() as tx:
            known = frozenset(document["id"] for document in rows.find(tx, CLUSTER))
        now = time.monotonic()
        late = now - self._renewed_at >= RENEW_S
        mine = self._held(known if late else known - self._known) | (
            frozenset() if late else self._watched.keys() & known
        )
        self._known = known
        if late:
            self._renewed_at = now
        for key in self._watched.keys() - mine:
            self._dismiss(key)
        self._ending = [thread for thread in self._ending if thread.is_alive()]
        for key in sorted(mine - self._watched.keys()):
            self._employ(key)
        self._bell.wait(min(LOOK_S, max(0.0, self._renewed_at + RENEW_S - time.monotonic())))

    def _held(self, keys: Collection[str]) -> frozenset[str]:
        """Those of them that are ours to watch for the next seconds."""
        database = self._door.database
        return frozenset(key for key in sorted(keys) if leases.acquire(database, lease_of(key), self._holder, LEASE_S))

    def _employ(self, key: str) -> None:
        watcher, stop = Watcher(self._door, self._registry, key, self._rapi), threading.Event()
        name = f"cluster {key[:8]}"
        thread = loop.start(name, lambda: loop.forever(name, watcher.turn, stop))
        self._watched[key] = _Watched(watcher, stop, thread)
        log.get().info("cluster watched", cluster=key)

    def _dismiss(self, key: str) -> None:
        """Nothing more is asked of it from here."""
        one = self._watched.pop(key)
        one.stop.set()
        self._ending += [one.thread, *one.watcher.stop()]
        log.get().info("cluster not watched any more", cluster=key)
