# SPDX-License-Identifier: Apache-2.0
"""Passwords: argon2id, with the least that OWASP's cheat sheet advises (19 MiB, two turns), and never many at once."""

import os
import threading
from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from caryatid.errors import Busy

MEMORY_KIB: Final = 19 * 1024
TURNS: Final = 2
AT_ONCE: Final = 2
"""Passwords that a process looks at side by side: what is left of the machine, and of the memory, is for requests."""
WAITING_MAX: Final = 6
"""Requests that may wait for that, each holding one of the threads that are there for all requests."""
WAIT_S: Final = 5.0

_HASHER = PasswordHasher(time_cost=TURNS, memory_cost=MEMORY_KIB, parallelism=1)


def hashed(password: str) -> str:
    """What is kept of a password. Takes some 20 ms."""
    return _HASHER.hash(password)


class Passwords:
    """Compares. Threads may share it."""

    def __init__(self) -> None:
        self._room = threading.BoundedSemaphore(AT_ONCE + WAITING_MAX)
        self._turn = threading.BoundedSemaphore(AT_ONCE)
        self._nobodys = hashed(os.urandom(16).hex())
        """To be compared with where there is no user: that takes as long."""

    def right(self, kept: str | None, password: str) -> bool:
        """Whether `kept` is the hash of `password`; None: there is nothing to compare with, which takes as long.

        Raises Busy when too many others wait.
        """
        if not self._room.acquire(blocking=False):
            raise _too_many()
        try:
            if not self._turn.acquire(timeout=WAIT_S):
                raise _too_many()
            try:
                return _same(kept or self._nobodys, password) and kept is not None
            finally:
                self._turn.release()
        finally:
            self._room.release()


def _same(kept: str, password: str) -> bool:
    try:
        return _HASHER.verify(kept, password)
    except (VerificationError, InvalidHashError):
        return False


def _too_many() -> Busy:
    return Busy("Too many passwords are being looked at.")
