# SPDX-License-Identifier: Apache-2.0
"""Being told soon that a job has ended, while there are one or two: the cluster itself says so (`/wait`).

Each that is waited for costs the RAPI one of the 20 places that it has for everybody, so of many jobs none is.
"""

import threading
import time
from collections.abc import Callable, Collection
from typing import Final

from caryatid import log, metrics
from caryatid.wire.rapi.answers import FINAL, Problem
from caryatid.wire.rapi.client import Rapi

WAITS_MAX: Final = 2
ALL_LINES: Final = (1 << 31) - 1
"""Lines of its log wake nobody: they are read when it is looked at."""
FAILED_S: Final = 5.0
"""For so long nobody is waited for after the RAPI would not."""
TURNS_MAX: Final = 10_000


class Waits:
    """Threads that wait for jobs, one each. `tell` is called when one ends."""

    def __init__(self, tell: Callable[[], None]) -> None:
        self._tell = tell
        self._waited: dict[int, threading.Thread] = {}
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._not_before = 0.0

    def attend(self, rapi: Rapi, jobs: Collection[int]) -> bool:
        """Whether each of these jobs is waited for, from now on at the latest."""
        with self._lock:
            if len(self._waited.keys() | set(jobs)) > WAITS_MAX or time.monotonic() < self._not_before:
                return False
            for job_id in jobs:
                if job_id not in self._waited and not self._stop.is_set():
                    self._waited[job_id] = threading.Thread(
                        target=self._wait, args=(rapi, job_id), name=f"job {job_id}", daemon=True
                    )
                    self._waited[job_id].start()
            return True

    def stop(self) -> list[threading.Thread]:
        """Nobody is told any more; those threads end when the RAPI has answered them."""
        self._stop.set()
        with self._lock:
            return list(self._waited.values())

    def _wait(self, rapi: Rapi, job_id: int) -> None:
        problem = True
        try:
            problem = not self._ended(rapi, job_id)
        except Exception:  # noqa: BLE001  it is looked at anyway, somewhat later
            log.get().exception("job not waited for", job=job_id)
        finally:
            with self._lock:
                del self._waited[job_id]
                if problem:
                    self._not_before = time.monotonic() + FAILED_S
            self._tell()

    def _ended(self, rapi: Rapi, job_id: int) -> bool:
        """Whether the RAPI has said that the job has."""
        status = "queued"
        for _ in range(TURNS_MAX):
            if self._stop.is_set():
                return False
            with metrics.RAPI_SLOTS.track_inprogress():
                waited = rapi.wait(job_id, status, ALL_LINES)
            if isinstance(waited, Problem):
                return waited.trouble == "missing"
            if waited.status in FINAL or not waited.status:
                return True
            status = waited.status
        return False
