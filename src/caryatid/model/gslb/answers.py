# SPDX-License-Identifier: Apache-2.0
"""What name servers shall answer, whatever their make: what the engine compiles, and DNS drivers publish."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal

Way = Literal["all", "weighted", "hash", "nearest"]
"""`all`: every candidate, in any order, `count` of them; the others: one: by weight, by the client's network, or the
one that is nearest to the client."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One thing that may be answered."""

    content: str
    """An address, or a name with a dot at its end (CNAME)."""
    weight: int = 1
    """Way `weighted` and `hash`; `nearest`: among those that are as near."""
    latitude: float | None = None
    longitude: float | None = None
    bias: int = 0
    """Way `nearest`: -99 to 99, above 0 its area is larger."""


@dataclass(frozen=True, slots=True)
class Choice:
    """How one of several is chosen."""

    candidates: tuple[Candidate, ...] = ()
    """Always in the same order. None: the name exists and has nothing of the type (NODATA)."""
    way: Way = "all"
    count: int = 8
    """Way `all`: so many at most."""


@dataclass(frozen=True, slots=True)
class Clients:
    """Who gets a choice."""

    cidrs: tuple[str, ...] = ()
    countries: tuple[str, ...] = ()
    continents: tuple[str, ...] = ()
    asns: tuple[int, ...] = ()
    near: tuple[tuple[float, float], tuple[tuple[float, float], ...]] | None = None
    """(a place, all places of its like): clients to whom this is the nearest of them. Latitude and longitude."""


@dataclass(frozen=True, slots=True)
class Variant:
    """What some clients are answered."""

    clients: Clients
    choice: Choice


@dataclass(frozen=True, slots=True)
class Answers:
    """All that a name answers for one record type."""

    fqdn: str
    """With a dot at its end, in lower case."""
    rrtype: str
    """`A`, `AAAA` or `CNAME`."""
    ttl: int
    """Seconds."""
    default: Choice = field(default_factory=Choice)
    """For whom nothing else fits."""
    variants: tuple[Variant, ...] = ()
    """The first that fits, most specific networks first."""
    use_ecs: bool = True
    hash_prefix_v4: int = 24
    hash_prefix_v6: int = 56

    @property
    def is_plain(self) -> bool:
        """The same for every client at any time: an RRset of any DNS server says it."""
        return not self.variants and self.default.way == "all" and len(self.default.candidates) <= self.default.count


def read_answers(document: Mapping[str, Any]) -> Answers:
    """From JSON as orjson writes it. What another version has written besides is passed over."""
    known = _own(Answers, document)
    variants = tuple(Variant(_clients(each["clients"]), _choice(each["choice"])) for each in known.get("variants", ()))
    return Answers(**{**known, "default": _choice(known.get("default", {})), "variants": variants})


def _choice(document: Mapping[str, Any]) -> Choice:
    candidates = tuple(Candidate(**_own(Candidate, each)) for each in document.get("candidates", ()))
    return Choice(**{**_own(Choice, document), "candidates": candidates})


def _clients(document: Mapping[str, Any]) -> Clients:
    known = {name: tuple(value) for name, value in _own(Clients, document).items() if value is not None}
    if "near" in known:
        place, places = known["near"]
        known["near"] = tuple(place), tuple(tuple(other) for other in places)
    return Clients(**known)


def _own(kind: type, document: Mapping[str, Any]) -> dict[str, Any]:
    return {field.name: document[field.name] for field in fields(kind) if field.name in document}
