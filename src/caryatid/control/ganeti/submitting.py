# SPDX-License-Identifier: Apache-2.0
"""Asking a cluster to make and to remove instances: a few at a time, beside whoever looks at it.

Who comes here has written down before that it is asked for. What comes of it is kept until that is written down too.
"""

import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final

from caryatid import log, metrics
from caryatid.model.cluster import Machine
from caryatid.wire.rapi.answers import Problem, Wanted
from caryatid.wire.rapi.client import Rapi

AT_ONCE: Final = 2
"""Of the requests that a RAPI gets from us at a time; the others are for looking."""
HELD_UP: Final = Problem("unreachable", "This process was held up too long, and did not ask.")


@dataclass(frozen=True)
class Order:
    """What is asked for: a machine, or (`wanted` is None) its end."""

    name: str
    """Of the instance."""
    machine: Machine | None
    """As it was written down before; None: nobody knows whose the instance is, and it is removed."""
    wanted: Wanted | None = None


class Submissions:
    """Requests under way, by name of the instance. `tell` is called when one has been answered."""

    def __init__(self, tell: Callable[[], None]) -> None:
        self._tell = tell
        self._threads: dict[str, threading.Thread] = {}
        self._answers: dict[str, tuple[Order, int | Problem]] = {}
        self._lock = threading.Lock()

    @property
    def names(self) -> frozenset[str]:
        """Instances that are being asked about, or what came of it is not yet written down."""
        with self._lock:
            return frozenset(self._threads.keys() | self._answers.keys())

    @property
    def free(self) -> int:
        """So many more may be sent now."""
        with self._lock:
            return max(0, AT_ONCE - len(self._threads))

    def send(self, rapi: Rapi, order: Order, within_s: float) -> None:
        """It is asked for, once, within so many seconds or not at all; the answer will be among `answers`."""
        given = (rapi, order, time.monotonic() + within_s)
        thread = threading.Thread(target=self._send, args=given, name=f"ask for {order.name}", daemon=True)
        with self._lock:
            self._threads[order.name] = thread
        thread.start()

    def answers(self) -> list[tuple[Order, int | Problem]]:
        """What has been answered and not yet written down."""
        with self._lock:
            return list(self._answers.values())

    def noted(self, names: Collection[str]) -> None:
        """These are written down."""
        with self._lock:
            for name in names:
                self._answers.pop(name, None)

    def threads(self) -> list[threading.Thread]:
        """Those that still ask."""
        with self._lock:
            return list(self._threads.values())

    def _send(self, rapi: Rapi, order: Order, deadline: float) -> None:
        answer: int | Problem = Problem("ambiguous", "This process could not say what came of it.")
        try:
            with metrics.RAPI_SLOTS.track_inprogress():
                answer = _ask(rapi, order) if time.monotonic() < deadline else HELD_UP
        except Exception:  # noqa: BLE001  it is looked for by its name
            log.get().exception("not known whether it was asked for", instance=order.name)
        finally:
            with self._lock:
                del self._threads[order.name]
                self._answers[order.name] = order, answer
            self._tell()


def _ask(rapi: Rapi, order: Order) -> int | Problem:
    return rapi.create(order.wanted) if order.wanted else rapi.delete(order.name)
