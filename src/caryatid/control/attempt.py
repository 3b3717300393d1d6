# SPDX-License-Identifier: Apache-2.0
"""One attempt at a root: the claim that allows it, and the lines it writes."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from caryatid.store.work import Claim

from .receipt import moment

LINES_MAX = 500


@dataclass
class Attempt:
    """What an attempt has said so far. Written to by the worker, read by the keeper of leases."""

    claim: Claim
    generation: int = 0
    started_at: str = field(default_factory=moment)
    _lines: list[tuple[str, str]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _written: int = 0

    def say(self, text: str) -> None:
        """One more line; past the limit the attempt goes on in silence."""
        with self._lock:
            if len(self._lines) < LINES_MAX:
                self._lines.append((moment(), text))

    @property
    def lines(self) -> list[tuple[str, str]]:
        with self._lock:
            return list(self._lines)

    def flush(self, write: Callable[[list[tuple[str, str]]], None]) -> None:
        """`write` is given all lines, if there are any that it has not seen."""
        lines = self.lines
        if len(lines) > self._written:
            write(lines)
            self._written = len(lines)
