# SPDX-License-Identifier: Apache-2.0
"""What hosts report that somebody has to do something about: amphorae that they cannot run, or not without their keys,
and such as are not theirs. Kept in memory until whoever judges has seen to it."""

import time
from dataclasses import dataclass, field
from typing import Any

STRANGERS_MAX = 1000
FORGOTTEN_S = 60.0
TOLD = float("inf")
AGAIN_S = 10.0
"""An amphora whose keys are missing is seen to again after so long, as long as it is reported."""
LASTING_S = 10.0
"""An amphora that is just being deleted is still heard of for a moment."""


@dataclass(frozen=True)
class Sighting:
    """An amphora, as a host reports it."""

    amphora_id: str
    host_id: str
    loadbalancer_id: str
    generation: int


@dataclass
class Sightings:
    """Written by whoever takes reports, read by whoever judges: each act is one of a dictionary, so no lock."""

    failed: dict[str, Sighting] = field(default_factory=dict)
    """Amphora → what its host could not start again, and has not since."""
    wanting: dict[str, Sighting] = field(default_factory=dict)
    """Amphora → what has lost its keys."""
    awaited: frozenset[str] = frozenset()
    """Amphorae that are held to be lost."""
    mended: set[str] = field(default_factory=set)
    """Those of them that run again."""
    _wanting_at: dict[str, float] = field(default_factory=dict)
    """When that was last noted."""
    _strangers: dict[tuple[str, str], tuple[float, float, Sighting]] = field(default_factory=dict)
    """(host, amphora) → when it was first and last reported."""

    def note(self, host_id: str, message: Any) -> None:
        """A message about an amphora that is that host's."""
        amphora_id = message["amphora_id"]
        if message.get("wanting"):
            self._note_wanting(_sighting(host_id, message))
        else:
            self._wanting_at.pop(amphora_id, None)
        if message.get("failed"):
            self.failed[amphora_id] = _sighting(host_id, message)
        elif message["running"]:
            self.failed.pop(amphora_id, None)
            if amphora_id in self.awaited:
                self.mended.add(amphora_id)

    def _note_wanting(self, seen: Sighting) -> None:
        now = time.monotonic()
        if now - self._wanting_at.get(seen.amphora_id, -AGAIN_S) >= AGAIN_S:
            self._wanting_at[seen.amphora_id] = now
            self.wanting[seen.amphora_id] = seen

    def note_stranger(self, host_id: str, message: Any) -> None:
        """A message about an amphora that is not known, or not that host's."""
        key = host_id, message["amphora_id"]
        if key in self._strangers or len(self._strangers) < STRANGERS_MAX:
            now = time.monotonic()
            first_at = self._strangers[key][0] if key in self._strangers else now
            self._strangers[key] = first_at, now, _sighting(host_id, message)

    def strangers(self, lasting_s: float = LASTING_S) -> list[Sighting]:
        """Those that have been reported for `lasting_s`, once each; those that are reported no more are forgotten."""
        now, found = time.monotonic(), []
        for key, (first_at, last_at, seen) in list(self._strangers.items()):
            if now - last_at > FORGOTTEN_S:
                self._strangers.pop(key, None)
            elif last_at - first_at >= lasting_s:
                self._strangers[key] = TOLD, last_at, seen
                found.append(seen)
        return found


def _sighting(host_id: str, message: Any) -> Sighting:
    return Sighting(message["amphora_id"], host_id, message["loadbalancer_id"], message["generation"])
