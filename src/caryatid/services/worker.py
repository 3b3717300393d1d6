# SPDX-License-Identifier: Apache-2.0
"""The worker: takes what is due, one root at a time a thread, and settles it."""

import os
import socket
import threading
import time
from contextlib import AbstractContextManager

from caryatid import log, metrics, tracing
from caryatid.control import flow
from caryatid.control.attempt import Attempt
from caryatid.control.door import Door
from caryatid.control.reconcile import attend
from caryatid.errors import LeaseLost
from caryatid.store import traces, work
from caryatid.store.wake import Wakeups

from . import loop

SWEEP_S = 5.0
RENEW_S = 3.0
FLUSH_S = 0.5


class Worker:
    """Threads that reconcile, and one that renews their leases and writes down what they say."""

    def __init__(self, door: Door, wakeups: Wakeups) -> None:
        self._door = door
        self._bell = loop.Bell()
        self._stop = threading.Event()
        self._name = f"{socket.gethostname()}:{os.getpid()}"
        self._attempts: set[Attempt] = set()
        self._lock = threading.Lock()
        self._log = log.get(service="worker")
        wakeups.subscribe("work", self._bell.ring)

    def start(self) -> None:
        """Work is done until `stop`. Takes a moment."""
        flow.prepare()
        for number in range(self._door.settings.worker_threads):
            loop.start(f"worker-{number}", lambda: loop.forever("worker", self._turn, self._stop))
        loop.start("leases", self._keep_leases)

    def stop(self, timeout_s: float = 10.0) -> None:
        """Nothing new is begun; what is under way is waited for, for `timeout_s`; its lease runs out otherwise."""
        self._stop.set()
        deadline = time.monotonic() + timeout_s
        while self._attempts and time.monotonic() < deadline:
            self._bell.ring()
            self._stopped_wait()

    def _stopped_wait(self) -> None:
        threading.Event().wait(0.02)

    def _turn(self) -> None:
        claim = work.claim(self._door.database, self._name)
        if claim is None:
            due_in = work.next_due(self._door.database)
            self._bell.wait(min(SWEEP_S, max(0.01, due_in)) if due_in is not None else SWEEP_S)
            return
        self._bell.ring()  # there may be more: another thread looks
        self._attend(Attempt(claim))

    def _attend(self, attempt: Attempt) -> None:
        with self._lock:
            self._attempts.add(attempt)
        try:
            with metrics.RECONCILE_SECONDS.time(), self._traced(attempt.claim.root_id):
                outcome = attend(self._door, attempt)
            kind = type(outcome).__name__.lower()
            metrics.RECONCILES.labels(kind).inc()
            self._log.info("reconciled", root=attempt.claim.root_id, generation=attempt.generation, outcome=kind)
        except LeaseLost:
            self._log.warning("lease lost", root=attempt.claim.root_id)
        finally:
            with self._lock:
                self._attempts.discard(attempt)

    def _traced(self, root_id: str) -> AbstractContextManager[None]:
        """The attempt is a part of the newest request for it, and belongs to the others that it covers."""
        *others, asked = ("", *traces.of(self._door.database, root_id)) if tracing.on() else ("",)
        return tracing.span("attempt", parent=asked, links=[one for one in others if one], root=root_id)

    def _keep_leases(self) -> None:
        loop.every("leases", FLUSH_S, self._renew, self._stop)

    def _renew(self) -> None:
        with self._lock:
            attempts = list(self._attempts)
        for attempt in attempts:
            if time.monotonic() >= attempt.renewed_at + RENEW_S:
                attempt.renewed_at = time.monotonic()
                work.renew(self._door.database, attempt.claim)
            attempt.write(self._door.database)
