# SPDX-License-Identifier: Apache-2.0
"""A circuit breaker an amphora: who failed several times in a row is left alone for a while, then tried once."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from caryatid import metrics

from .base import ProvisioningErrors, UnavailableException


@dataclass
class _Circuit:
    failures: int = 0
    closed_again_at: float = 0.0
    probing: bool = False


class Breaker:
    """Closed: calls pass. After `failures_max` failures in a row: open, calls are refused at once for `rest_s`
    seconds; then one call passes as a probe, and its outcome decides."""

    def __init__(self, failures_max: int = 5, rest_s: float = 5.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._failures_max = failures_max
        self._rest_s = rest_s
        self._clock = clock
        self._lock = threading.Lock()
        self._circuits: dict[str, _Circuit] = {}

    @contextmanager
    def guard(self, amphora_id: str) -> Iterator[None]:
        """Raises UnavailableException at once while the circuit of `amphora_id` is open.

        A ProvisioningErrors is an answer, not a failure to reach it: the circuit closes.
        """
        self._admit(amphora_id)
        try:
            yield
        except ProvisioningErrors:
            self._succeeded(amphora_id)
            raise
        except BaseException:
            self._failed(amphora_id)
            raise
        self._succeeded(amphora_id)

    def forget(self, amphora_id: str) -> None:
        """The amphora is gone."""
        self._succeeded(amphora_id)

    def _admit(self, amphora_id: str) -> None:
        with self._lock:
            circuit = self._circuits.get(amphora_id)
            if circuit is None or circuit.failures < self._failures_max:
                return
            if circuit.probing or self._clock() < circuit.closed_again_at:
                raise UnavailableException(
                    f"Amphora {amphora_id} failed {circuit.failures} times in a row; it is left alone for a moment."
                )
            circuit.probing = True

    def _failed(self, amphora_id: str) -> None:
        with self._lock:
            circuit = self._circuits.setdefault(amphora_id, _Circuit())
            circuit.failures += 1
            circuit.probing = False
            circuit.closed_again_at = self._clock() + self._rest_s
            self._count()

    def _succeeded(self, amphora_id: str) -> None:
        with self._lock:
            if self._circuits.pop(amphora_id, None) is not None:
                self._count()

    def _count(self) -> None:
        metrics.BREAKERS_OPEN.set(sum(c.failures >= self._failures_max for c in self._circuits.values()))
