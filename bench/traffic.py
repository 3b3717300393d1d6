# SPDX-License-Identifier: Apache-2.0
"""A closed loop of requests through VIPs; what failed, and which kill explains it."""

import threading
import time
from collections import defaultdict
from dataclasses import dataclass, field

from bench.backends import ask

PAUSE_S = 0.01
ANSWER_S = 5.0
SETTLING_S = 1.0
"""After a killed HAProxy is back: its workers of before end, those of after take their connections over."""


@dataclass(frozen=True)
class Failure:
    """A request that got no 200."""

    root_id: str
    began: float
    ended: float
    status: int


@dataclass
class Path:
    """One VIP, and when requests through it went well."""

    root_id: str
    address: str
    good: int = 0
    failures: list[Failure] = field(default_factory=list)


class Traffic:
    """A thread for each VIP, which asks again as soon as it was answered."""

    def __init__(self, addresses: dict[str, str]) -> None:
        self.paths = {key: Path(key, address) for key, address in addresses.items()}
        self.outages: dict[str, list[tuple[float, float | None]]] = defaultdict(list)
        """Load balancer → when its HAProxy was killed, and when it was seen to live again."""
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(path,), name="traffic", daemon=True)
            for path in self.paths.values()
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(ANSWER_S + 5)

    def killed(self, root_id: str) -> None:
        """Its HAProxy is about to be killed."""
        self.outages[root_id].append((time.time(), None))

    def lives(self, root_id: str) -> bool:
        """Its HAProxy is there; whether that is news."""
        now = time.time()
        news = any(ended is None for _, ended in self.outages[root_id])
        self.outages[root_id] = [(began, ended or now) for began, ended in self.outages[root_id]]
        return news

    def _run(self, path: Path) -> None:
        while not self._stop.wait(PAUSE_S):
            began = time.time()
            status = ask(path.address, timeout_s=ANSWER_S)[0]
            if status == 200:
                path.good += 1
            else:
                path.failures.append(Failure(path.root_id, began, time.time(), status))

    @property
    def good(self) -> int:
        return sum(path.good for path in self.paths.values())

    @property
    def failures(self) -> list[Failure]:
        return [failure for path in self.paths.values() for failure in list(path.failures)]

    def unexplained(self) -> list[Failure]:
        """Failures while no HAProxy of that VIP had been killed, or long after it was back."""
        return [failure for failure in self.failures if not self._explained(failure)]

    def _explained(self, failure: Failure) -> bool:
        return any(
            began <= failure.ended and (ended is None or failure.began <= ended + SETTLING_S)
            for began, ended in self.outages[failure.root_id]
        )

    def outage_s(self) -> list[float]:
        """How long each killed HAProxy was away."""
        return [ended - began for outages in self.outages.values() for began, ended in outages if ended is not None]
