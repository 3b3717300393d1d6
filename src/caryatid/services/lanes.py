# SPDX-License-Identifier: Apache-2.0
"""One lane for each DNS backend: one zone at a time, with all that has gathered for it meanwhile."""

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

from caryatid import log
from caryatid.control.gslb.cases import Case
from caryatid.control.gslb.publishing import Place

TOLD_MAX = 1000
"""Gslbs that are told in one publication."""


class Lanes:
    """Safe to use from several threads."""

    def __init__(self, tell: Callable[[Place, list[Case]], None], threads: int) -> None:
        self._tell = tell
        self._threads = ThreadPoolExecutor(threads, "dns")
        self._pending: dict[str, list[Case]] = {}
        """Backend → what waits; there as long as somebody works on it."""
        self._lock = threading.Lock()

    def add(self, cases: Iterable[Case]) -> None:
        """These are told, as soon as their backends are free."""
        idle = []
        with self._lock:
            for case in cases:  # who waits here for the same is one whose lease was lost
                backend_id, _ = place_of(case)
                if backend_id not in self._pending:
                    idle.append(backend_id)
                others = [other for other in self._pending.get(backend_id, ()) if other.id != case.id]
                self._pending[backend_id] = [*others, case]
        for backend_id in idle:
            self._threads.submit(self._work, backend_id)

    def close(self, *, wait: bool) -> None:
        self._threads.shutdown(wait=wait, cancel_futures=True)

    def _work(self, backend_id: str) -> None:
        while cases := self._next(backend_id):
            try:
                self._tell(place_of(cases[0]), cases)
            except Exception:  # noqa: BLE001  leases run out, and it is done again
                log.get().exception("not settled", backend=backend_id)

    def _next(self, backend_id: str) -> list[Case]:
        """Those of one zone; none: the lane is closed."""
        with self._lock:
            waiting = self._pending[backend_id]
            if not waiting:
                del self._pending[backend_id]
                return []
            place = place_of(waiting[0])
            same = [case for case in waiting if place_of(case) == place][:TOLD_MAX]
            chosen = {id(case) for case in same}
            self._pending[backend_id] = [case for case in waiting if id(case) not in chosen]
            return same


def place_of(case: Case) -> Place:
    """Where it is told first."""
    return next(iter(case.publications))
