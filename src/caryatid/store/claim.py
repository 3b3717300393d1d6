# SPDX-License-Identifier: Apache-2.0
"""A worker's claim on a root, and what came of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from caryatid.model import LOADBALANCER


@dataclass(frozen=True, slots=True)
class Claim:
    """A root that a worker may reconcile for as long as it renews the lease and nobody has a higher fence."""

    root_id: str
    fence: int
    asks: int
    """How often it had been asked for; more by now means that something newer is wanted."""
    tries: int
    priority: int = 0
    root_kind: str = LOADBALANCER.name
    due_at: float = 0.0
    """Since when it has been due."""


@dataclass(frozen=True, slots=True)
class Done:
    """The generation is in effect, but for `culprits` (id → reason): refused, and shown or rendered in good form."""

    generation: int
    culprits: Mapping[str, str] = field(default_factory=dict)
    remedy: str = ""
    """What would help the culprits."""
    left: str = ""
    """What is left to do though nobody waits for it (a standby is behind, an old amphora still there): looked at again
    after a growing pause. Nothing: an empty sentence."""
    look_after_s: float | None = None
    """Something will be otherwise by then, though nobody says so. None: nothing."""


@dataclass(frozen=True, slots=True)
class Again:
    """It may go well another time: after `after_s`, or a growing pause."""

    reason: str
    generation: int
    after_s: float | None = None
    remedy: str = ""
    """What would help, where that is known."""


@dataclass(frozen=True, slots=True)
class Failed:
    """It will not go well as it is; tried further all the same."""

    reason: str
    generation: int
    remedy: str = ""


Outcome = Done | Again | Failed
