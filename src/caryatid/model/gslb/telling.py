# SPDX-License-Identifier: Apache-2.0
"""What users tell of members by a monitor of type `passive`."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from pydantic import ValidationError

from caryatid.errors import Fault
from caryatid.model.kind import faults_of
from caryatid.model.resource import Document
from caryatid.model.types import Id, Line

VOTES_MAX = 1000


class ToldVote(Document):
    """How a member is, by the word of whoever sends it."""

    member_id: Id
    """A member of a pool that uses the monitor."""
    vote: Literal["UP", "DOWN"]
    """UP: it is well, as far as this monitor is concerned."""
    reason: Line = ""
    """Why; shown wherever the vote is."""
    region_id: Id | None = None
    """For which of the monitor's regions; null: this installation's."""


Told = Sequence[tuple[int, ToldVote]]
"""Each with its place among what was sent."""


def read(body: Any) -> tuple[Told, Sequence[Fault]]:
    """What the body `{"votes": […]}` tells, and every fault in it; with one it is not to be used."""
    given = body.get("votes") if isinstance(body, Mapping) else None
    if not isinstance(given, list):
        return (), [Fault('Validation failure: the body should have a list at the key "votes".', "votes")]
    faults = [Fault(f"Unknown attribute: {name}", str(name)) for name in body if name != "votes"]
    if not 1 <= len(given) <= VOTES_MAX:
        why = f"Validation failure: 1 to {VOTES_MAX} votes are told at once; these are {len(given)}."
        return (), [*faults, Fault(why, "votes")]
    told: list[tuple[int, ToldVote]] = []
    for number, one in enumerate(given):
        try:
            told.append((number, ToldVote.model_validate(one)))
        except ValidationError as error:
            faults += faults_of(error, f"votes.{number}")
    return told, [*faults, *_doubled(told)]


def _doubled(told: Told) -> Iterator[Fault]:
    seen: set[tuple[str, str | None]] = set()
    for number, one in told:
        key = one.member_id, one.region_id
        if key in seen:
            why = f"Validation failure: of member {one.member_id} it is told twice for one region."
            yield Fault(why, f"votes.{number}.member_id")
        seen.add(key)
