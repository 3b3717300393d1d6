# SPDX-License-Identifier: Apache-2.0
"""Running for ever: threads that wait to be woken, and work that must not end because it failed once."""

import random
import threading
from collections.abc import Callable

from caryatid import log

BACK_OFF_MAX_S = 30.0


class Bell:
    """Wakes whoever waits. A ring that nobody waits for is not lost."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._rings = 0

    def ring(self) -> None:
        """One of those who wait goes on; or the next who comes."""
        with self._condition:
            self._rings += 1
            self._condition.notify()

    def wait(self, timeout_s: float) -> bool:
        """True when rung, False after `timeout_s`."""
        with self._condition:
            rung = self._condition.wait_for(lambda: self._rings > 0, timeout_s)
            self._rings = 0
            return rung


def forever(name: str, turn: Callable[[], None], stop: threading.Event) -> None:
    """`turn` is called again and again until `stop`. When it raises, that is logged, and the next turn waits: from
    0.2 s up to half a minute, as long as it goes on failing."""
    logger = log.get(loop=name)
    failures = 0
    while not stop.is_set():
        try:
            turn()
        except Exception:
            failures += 1
            logger.exception("turn failed", failures=failures)
            stop.wait(min(BACK_OFF_MAX_S, 0.1 * 2**failures) * random.uniform(0.5, 1))  # noqa: S311  jitter
        else:
            failures = 0


def every(name: str, period_s: float, act: Callable[[], None], stop: threading.Event) -> None:
    """`act` is called every `period_s` seconds until `stop`, whether or not it fails."""

    def turn() -> None:
        act()
        stop.wait(period_s * random.uniform(0.9, 1.1))  # noqa: S311  jitter

    forever(name, turn, stop)


def start(name: str, run: Callable[[], None]) -> threading.Thread:
    """A thread that does `run`; it does not keep the process alive."""
    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    return thread
