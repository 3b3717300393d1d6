# SPDX-License-Identifier: Apache-2.0
"""Since when we have heard what checkers say: silence before that is ours, not theirs (plan/votes.py, Look.since)."""

JUMP_S = 5.0
"""A clock that is so far from where it should be has been set."""


class Hearing:
    """Of one process."""

    def __init__(self) -> None:
        self._since: float | None = None
        self._at: tuple[float, float] | None = None

    def since(self, now: float, monotonic_s: float) -> float:
        """Seconds since the epoch. `now`: by the clock that votes are dated by."""
        if self._at is not None and abs((now - self._at[0]) - (monotonic_s - self._at[1])) > JUMP_S:
            self._since = None
        self._at = now, monotonic_s
        if self._since is None:
            self._since = now
        return self._since

    def lost(self) -> None:
        """What was said meanwhile has not come."""
        self._since = None
