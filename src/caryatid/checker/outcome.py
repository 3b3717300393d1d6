# SPDX-License-Identifier: Apache-2.0
"""What came of one try."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Outcome:
    up: bool
    reason: str = ""
    """A sentence: what was seen and what was expected; empty: nothing is wrong. No secrets, 500 characters at most."""
    rtt_ms: float | None = None
    """From connecting to the verdict; a name's look-up is not in it."""
    ours: bool = False
    """The checker could not try (no file descriptors, not permitted, no such check here): it says nothing of the
    member, which nobody should take to be down for it."""
