# SPDX-License-Identifier: Apache-2.0
"""DNS updates (RFC 2136) that change what is ours, or nothing.

Beside each of our names is a TXT RRset with a mark for each type of ours (`drivers/dns/static.py`):

    www.example.test.            A    192.0.2.1
    _caryatid.www.example.test.  TXT  "caryatid1 type=A generation=7 digest=…"

It is below the name, so that this exists (NODATA, and no wildcard's answers) also while it has nothing; below
`*.example.test.`, it makes that a wildcard which has nothing. An update asks of the server that the marks are still
those that were read, so of two engines one comes first and the other reads again; and where there is no mark yet, that
nobody has made what would be replaced.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import dns.name
import dns.rdataclass
import dns.rdatatype
import dns.update
from dns.rdtypes.ANY.TXT import TXT

from .base import Publication
from .static import Mark

LABEL = "_caryatid"
TTL_S = 60
"""Of marks: only drivers read them, from the server itself."""
BESIDE_NONE = ("CNAME", "A", "AAAA", "MX", "TXT", "NS", "SRV", "CAA", "HTTPS", "SVCB", "NAPTR", "PTR", "SSHFP", "TLSA")
"""What people have at names, and a CNAME cannot be beside: servers ignore it then, without a word."""
OCTETS_MAX = 255 - len(LABEL) - 1
"""Of a name that has a mark below it."""


def mark_name(fqdn: str) -> dns.name.Name:
    return dns.name.from_text(f"{LABEL}.{fqdn}")


def markable(fqdn: str) -> bool:
    return sum(len(label) + 1 for label in dns.name.from_text(fqdn).labels) <= OCTETS_MAX


def marked_name(owner: dns.name.Name) -> str | None:
    """Whose marks are there; None: nobody's."""
    if len(owner) < 2 or owner[0].lower() != LABEL.encode():  # noqa: PLR2004  a label, and the rest
        return None
    return owner.parent().to_text().lower()


def mark_of(record: TXT) -> Mark | None:
    try:
        return Mark.read(b"".join(record.strings).decode("ascii"))
    except UnicodeDecodeError:
        return None


@dataclass(frozen=True)
class Held:
    """What a server has beside a name."""

    records: tuple[TXT, ...] = ()
    marks: Mapping[str, Mark] = field(default_factory=dict)
    """By type."""

    @classmethod
    def of(cls, records: Sequence[TXT]) -> "Held":
        """What is no mark is not looked at where there is none: a wildcard may have answered."""
        marks = {mark.rrtype: mark for record in records if (mark := mark_of(record))}
        return cls(tuple(sorted(records)), marks) if marks else cls()


@dataclass(frozen=True)
class Change:
    """All that is wanted of one name."""

    fqdn: str
    wanted: tuple[Publication, ...]
    held: Held

    @property
    def types(self) -> frozenset[str]:
        """That we have there afterwards."""
        gone = {each.rrtype for each in self.wanted if each.answers is None}
        return frozenset({*self.held.marks, *(each.rrtype for each in self.wanted)} - gone)

    @property
    def records(self) -> int:
        """How many an update has for it, about."""
        return sum(4 + (len(each.answers.default.candidates) if each.answers else 0) for each in self.wanted)


def put(update: dns.update.UpdateMessage, change: Change) -> None:
    """The change becomes part of the update."""
    owner, held = dns.name.from_text(change.fqdn), change.held
    beside = mark_name(change.fqdn)
    if held.records:
        update.present(beside, *held.records)
    else:
        update.absent(beside, dns.rdatatype.TXT)
    for each in change.wanted:
        if each.answers is not None and each.rrtype not in held.marks:
            _unless_somebodys(update, owner, each.rrtype, held)
    for each in sorted(change.wanted, key=lambda wanted: wanted.answers is not None):  # what goes makes room
        update.delete(owner, each.rrtype)
        if each.answers is not None and (candidates := each.answers.default.candidates):
            update.add(owner, each.answers.ttl, each.rrtype, *[candidate.content for candidate in candidates])
    _mark(update, beside, change)


def _unless_somebodys(update: dns.update.UpdateMessage, owner: dns.name.Name, rrtype: str, held: Held) -> None:
    """A type that we have not had there: nobody else has it, nor what it could not be beside."""
    if rrtype == "CNAME" and not held.marks:
        update.absent(owner)
        return
    for other in BESIDE_NONE if rrtype == "CNAME" else (rrtype, "CNAME"):
        if other not in held.marks:
            update.absent(owner, other)


def _mark(update: dns.update.UpdateMessage, beside: dns.name.Name, change: Change) -> None:
    named = {each.rrtype for each in change.wanted}
    before = [record for record in change.held.records if (mark := mark_of(record)) and mark.rrtype in named]
    if before:
        update.delete(beside, *before)
    marks = [Mark.of(each.rrtype, each.generation, each.answers) for each in change.wanted if each.answers is not None]
    if marks:
        update.add(beside, TTL_S, *[_record(mark) for mark in marks])


def _record(mark: Mark) -> TXT:
    return TXT(dns.rdataclass.IN, dns.rdatatype.TXT, [str(mark).encode()])
