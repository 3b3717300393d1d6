# SPDX-License-Identifier: Apache-2.0
"""One attempt at a root: the claim that allows it, and the lines it writes."""

import threading
import time
from dataclasses import dataclass, field

from caryatid.store import attempts
from caryatid.store.claim import Claim
from caryatid.store.database import Database


@dataclass(eq=False)
class Attempt:
    """What an attempt has said so far. Written to by the worker, read by the keeper of leases."""

    claim: Claim
    generation: int = 0
    """Of the tree that it works on; 0: it has not looked yet."""
    overtaken: int = 0
    """The fence that an amphora had obeyed before; 0: none had."""
    renewed_at: float = field(default_factory=time.monotonic)
    """When its lease was last renewed, in seconds of this process's monotonic clock."""
    done: int = 0
    """Steps that are done."""
    known: int = 0
    """Steps that there are, as far as is known."""
    _lines: list[tuple[float, str]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def say(self, text: str) -> None:
        """One more line."""
        with self._lock:
            self._lines.append((time.time(), text))

    def write(self, database: Database) -> None:
        """What has been said since the last time is in the log that jobs show."""
        with self._lock:
            lines, self._lines = self._lines, []
        if lines:
            attempts.write(database, self.claim, attempts.Said(lines, self.done, self.known))
