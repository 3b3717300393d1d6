# SPDX-License-Identifier: Apache-2.0
"""Which operation a path and method mean: a tree of path segments, so that a hundred operations cost as one does."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from email.utils import format_datetime
from functools import cached_property
from typing import Any

from starlette.responses import Response

from caryatid.api.call import Call
from caryatid.model.kind import Kind

Handler = Callable[[Call], Awaitable[Response]]
PREFIXES = ("v2", "v2.0")
GROUPS = ("lbaas", "octavia", "networks", "subnets", "ports")
"""What stands below the version; whatever else does stands below the first of these."""
MOUNT = "load-balancer"
SUFFIX = ".json"


@dataclass(frozen=True)
class Parameter:
    """A parameter of the query."""

    name: str
    description: str
    schema: Mapping[str, Any] = field(default_factory=lambda: {"type": "string"})


@dataclass(frozen=True)
class Body:
    """What a request or an answer carries."""

    schema: str | Mapping[str, Any]
    """Name of a component of the document, or a schema."""
    wrapper: str = ""
    """The key it stands under; empty: it is the whole."""
    many: bool = False
    """A list of them."""
    links: str = ""
    """The key of the paging links."""
    media_types: tuple[str, ...] = ("application/json",)

    @property
    def is_json(self) -> bool:
        return "application/json" in self.media_types


@dataclass(frozen=True)
class Deprecated:
    """It is answered, and advised against (docs/versioning.md)."""

    since: date
    instead: str
    """What is better: a sentence."""
    sunset: date | None = None
    """From this day on it may not be answered any more; None: that is not decided."""

    @cached_property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """What every answer says of it (RFC 9745, RFC 8594)."""
        found = [(b"deprecation", f"@{_midnight(self.since).timestamp():.0f}".encode())]
        if self.sunset:
            found.append((b"sunset", format_datetime(_midnight(self.sunset), usegmt=True).encode()))
        return found


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


@dataclass(frozen=True)
class Operation:
    """One method of one path: what answers it, and what the document says of it."""

    method: str
    path: str
    handler: Handler
    summary: str
    tag: str
    kind: Kind | None = None
    success: int = 200
    takes: Body | None = None
    gives: Body | None = None
    query: tuple[Parameter, ...] = ()
    errors: tuple[int, ...] = ()
    open: bool = False
    """Answered to anybody: it tells nothing that not everybody may know."""
    job: bool = False
    """The answer names a job in its header Caryatid-Job."""
    rule: str = ""
    """The policy rule that guards it; empty: none, or none of its own (its summary says)."""
    deprecated: Deprecated | None = None
    once: bool = False
    """It takes or gives what is secret: nothing of it is kept, to be given again."""

    @property
    def repeatable(self) -> bool:
        """It takes an Idempotency-Key."""
        return self.job and self.method == "POST" and not self.once

    @property
    def names(self) -> tuple[str, ...]:
        """The parameters of the path, in order."""
        return tuple(part[1:-1] for part in self.path.split("/") if part.startswith("{"))


@dataclass(slots=True)
class Place:
    """A point of the tree."""

    literals: dict[str, "Place"] = field(default_factory=dict)
    parameter: "Place | None" = None
    operations: dict[str, Operation] = field(default_factory=dict)
    named: bool = False
    """It is reached by a parameter: something is named here, whether or not it answers."""


class Paths:
    """Every operation, found by its path."""

    def __init__(self, operations: Iterable[Operation]) -> None:
        self._root = Place()
        for operation in operations:
            place = self._root
            for part in filter(None, operation.path.split("/")):
                place = _below(place, part)
            place.operations[operation.method] = operation

    def find(self, path: str) -> tuple[Place, list[str]] | None:
        """The place of a path as it came, and the values of its parameters; None: there is no such path."""
        if "\x00" in path:
            return None
        segments = _segments(path)
        found = self._walk(segments)
        if found is None and segments and segments[-1].endswith(SUFFIX):
            found = self._walk([*segments[:-1], segments[-1].removesuffix(SUFFIX)])
        if found is None and segments and segments[0] == MOUNT:
            return self.find("/" + "/".join(segments[1:]))
        return found

    def _walk(self, segments: list[str]) -> tuple[Place, list[str]] | None:
        place: Place | None = self._root
        values = []
        for segment in segments:
            below = place.literals.get(segment) if place else None
            if below is None and place is not None and place.parameter is not None and segment:
                below = place.parameter
                values.append(segment)
            if below is None:
                return None
            place = below
        return (place, values) if place is not None and (place.operations or place.named) else None


def _below(place: Place, part: str) -> Place:
    if part.startswith("{"):
        place.parameter = place.parameter or Place(named=True)
        return place.parameter
    return place.literals.setdefault(part, Place())


def _segments(path: str) -> list[str]:
    """`/v2.0/loadbalancers/` → v2, lbaas, loadbalancers: the spellings of one path become one."""
    path = path.removesuffix("/")
    segments = path[1:].split("/") if path else []
    if segments and segments[0] in PREFIXES:
        segments[0] = PREFIXES[0]
        if len(segments) > 1 and segments[1] not in GROUPS:
            segments.insert(1, GROUPS[0])
    return segments
