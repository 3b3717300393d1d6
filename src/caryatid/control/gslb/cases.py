# SPDX-License-Identifier: Apache-2.0
"""One gslb on its way from being due to being settled."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

from caryatid.control.remedies import INTERNAL
from caryatid.drivers.dns.base import Publication
from caryatid.plan.standing import earliest
from caryatid.plan.steering import Decision
from caryatid.store.claim import Again, Claim, Done, Failed, Outcome

from .publishing import Place, Result, Todo
from .scenes import NOTHING, Gathered, Scene

SOON_S = 0.2
"""Time alone is not looked at sooner again."""
HELD_S = 10.0
"""Those that the guard keeps are looked at again after so long."""
AWAY = "Its name servers go on with what they were told last; it is tried again by itself."


INTERNAL_ERROR = f"An internal error; see the worker's log. {INTERNAL}"


@dataclass(eq=False, slots=True)
class Case:
    """What is known of it, what is to be done, and what has come of that."""

    claim: Claim
    gathered: Gathered
    scene: Scene | None
    """None: it is no more."""
    decision: Decision | None
    """None: it is being deleted, or no more."""
    todo: Todo | None = None
    generation: int = 0
    """Under which it is published."""
    publications: Mapping[Place, Sequence[Publication]] = field(default_factory=dict)
    problem: str = ""
    """Why nothing can be told."""
    refused: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    unseen: list[str] = field(default_factory=list)
    early: bool = False
    """Name servers are still being asked."""
    held: bool = False
    """The guard keeps members of it in answers."""
    attempt: bool = False
    """Somebody has asked for something, and sees how it goes."""
    lines: list[tuple[float, str]] = field(default_factory=list)
    lost: bool = False
    """It is another's by now."""

    @classmethod
    def broken(cls, claim: Claim) -> Self:
        """One of which nothing can be made."""
        return cls(claim, NOTHING, None, None, problem=INTERNAL_ERROR)

    @property
    def id(self) -> str:
        return self.claim.root_id

    @property
    def busy(self) -> bool:
        """There is something to be done for it that has to be written down before."""
        tree = self.scene.tree if self.scene is not None else None
        return bool(self.todo) or (tree is not None and tree.generation > tree.observed_generation)

    @property
    def told(self) -> bool:
        """All that was to be told has been told; that everybody answers so is another thing."""
        return not (self.problem or self.refused or self.failed)

    def take(self, place: Place, result: Result) -> None:
        """What came of its publications in one zone."""
        for publication in self.publications[place]:
            key = publication.fqdn, publication.rrtype
            for found, kept in ((result.refused, self.refused), (result.failed, self.failed)):
                if key in found and found[key] not in kept:
                    kept.append(found[key])

    def see(self, place: Place, unseen: Mapping[tuple[str, str], str]) -> None:
        """What of its publications in one zone is not answered so."""
        for publication in self.publications[place]:
            key = publication.fqdn, publication.rrtype
            if key in unseen:
                self.unseen.append(f"{publication.fqdn} {publication.rrtype}: {unseen[key]}")

    @property
    def outcome(self) -> Outcome:
        """What came of it."""
        generation = self.scene.tree.generation if self.scene is not None else 0
        if self.problem:
            return Again(self.problem, generation)
        if self.refused:
            return Failed(" ".join(self.refused), generation, AWAY)
        if self.failed or self.unseen:
            return Again(" ".join(self.failed or self.unseen), generation, remedy=AWAY)
        return Done(generation, look_after_s=self._look_after_s())

    def _look_after_s(self) -> float | None:
        """Until time alone may change something. That votes expire is told by whoever watches them, if somebody
        does."""
        if self.decision is None:
            return None
        now = self.gathered.now
        times = [self.decision.again_at, now + HELD_S if self.held else None]
        if not self.gathered.watched:
            times += [health.expires_at for health in self.decision.members.values()]
        at = earliest(times)
        return None if at is None else max(SOON_S, at - now)

    def say(self, text: str) -> None:
        """One more line for whoever waits."""
        if self.attempt:
            self.lines.append((time.time(), text))
