# SPDX-License-Identifier: Apache-2.0
"""What name servers have been told of a gslb, as it is kept between decisions.

Before anybody is told anything it is written down here (`entries`, under a generation that nobody else has), so that
whoever comes after a crash knows what may be out there. What was seen on all name servers under which generation is
`seen`; as long as that is not the state's generation, all is published again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import orjson

from caryatid.model.gslb.answers import Answers, read_answers
from caryatid.plan.steering import digest

Where = tuple[str, str, str]
"""Backend, zone, record type."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One record type in one zone."""

    backend_id: str
    zone: str
    rrtype: str
    digest: str
    answers: Mapping[str, Any]
    """As a document."""

    @property
    def where(self) -> Where:
        return self.backend_id, self.zone, self.rrtype

    @classmethod
    def of(cls, backend_id: str, zone: str, answers: Answers) -> Self:
        document: dict[str, Any] = orjson.loads(orjson.dumps(answers))
        return cls(backend_id, zone, answers.rrtype, digest(answers), document)

    def read(self) -> Answers:
        return read_answers(self.answers)


@dataclass(frozen=True, slots=True)
class Told:
    """All that has been told of a gslb."""

    entries: tuple[Entry, ...] = ()
    seen: int = 0
    """The generation that all name servers were seen to have."""
    last: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Record type → digest and contents, as the last event told them."""

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Self:
        entries = tuple(Entry(**entry) for entry in document.get("entries", ()))
        return cls(entries, document.get("seen", 0), document.get("last", {}))

    def document(self) -> dict[str, Any]:
        found: dict[str, Any] = orjson.loads(orjson.dumps(self))
        return found

    def with_wanted(self, wanted: Sequence[Entry]) -> Self:
        """These may be out there, and whatever else was."""
        new = {entry.where: entry for entry in (*self.entries, *wanted)}
        return replace(self, entries=tuple(new.values()))


def contents(answers: Answers) -> list[str]:
    """What may be answered, as people read it."""
    found: dict[str, None] = {}
    for choice in (answers.default, *(variant.choice for variant in answers.variants)):
        for candidate in choice.candidates:
            weighted = choice.way == "weighted" and candidate.weight != 1
            found[f"{candidate.content} ({candidate.weight})" if weighted else candidate.content] = None
    return list(found)
