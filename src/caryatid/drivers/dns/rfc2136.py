# SPDX-License-Identifier: Apache-2.0
"""DNS servers that take updates (RFC 2136): BIND, Knot DNS, and others.

One zone a message, over TCP, signed by TSIG. What a message contains: `drivers/dns/updates.py`.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from operator import attrgetter

import dns.exception
import dns.message
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.update
from dns.rdtypes.ANY.TXT import TXT

from .asking import differences
from .base import Backend, DnsError, DnsRefusedError, Publication, Published
from .options import seconds
from .signed import Server, key_of
from .static import POLICIES, Refusals, plain
from .updates import OCTETS_MAX, Change, Held, mark_name, mark_of, markable, marked_name, put

RECORDS_MAX = 500
"""Of one message, about."""
SECONDARIES_S = 3.0
"""For which secondaries may say what was before (option `patience_s`)."""
MOMENT_S = 3.0
"""The same of a server that is told itself."""
TRIES = 4
"""Of a name whose marks somebody else changes meanwhile."""
FOUND_MAX = 10
NOT_TRIED = "It was not tried: its server refuses others beside it, and each takes a while."
UNMET = frozenset({dns.rcode.YXDOMAIN, dns.rcode.YXRRSET, dns.rcode.NXRRSET, dns.rcode.NXDOMAIN})
BY_HAND = "BIND: `update-policy {{ grant {key} zonesub ANY; }};`, Knot DNS: an `acl` with `action: [update, transfer]`."
TRANSFER = " BIND: `allow-transfer {{ key {key}; }};`, Knot DNS: an `acl` with `action: [update, transfer]`."


class _Refusals(Refusals):
    """Each name that a server refuses takes a dozen messages to be found: the rest of many is not tried."""

    def __init__(self) -> None:
        super().__init__()
        self._found = 0

    def found(self, sentence: str, *refused: Publication) -> None:
        self.add(sentence, *refused)
        self._found += 1

    @property
    def enough(self) -> bool:
        return self._found >= FOUND_MAX


class Rfc2136Driver:
    """Threads may share it."""

    policies = POLICIES

    def __init__(self, backend: Backend) -> None:
        """Raises DnsRefusedError if the backend cannot be used as it is described."""
        self._backend = backend
        secondaries = set(backend.name_servers) - {(backend.server, backend.port)}
        self._patience_s = seconds(backend, "patience_s", SECONDARIES_S if secondaries else MOMENT_S)
        if not backend.server:
            raise DnsRefusedError("The backend has no server that takes updates: its attribute `server`.")
        self._server = Server(backend.server, backend.port, key_of(backend), backend.timeout_s)

    def ensure_zone(self, zone: str) -> None:
        """Zones are made by hand: RFC 2136 has no word for it."""
        query = dns.message.make_query(zone, "SOA")
        (answer,) = self._server.ask([query])
        origin = dns.name.from_text(zone)
        if answer.get_rrset(answer.answer, origin, dns.rdataclass.IN, dns.rdatatype.SOA) is None:
            if answer.rcode() == dns.rcode.SERVFAIL:
                raise self._server.refusal(answer.rcode(), "Questions")
            word, remedy = dns.rcode.to_text(answer.rcode()), BY_HAND.format(key=self._server.key_name)
            raise DnsRefusedError(
                f"{self._server.title} has no zone {zone} (it answers {word}). Make it there as a primary zone, and "
                f"let the key update it. {remedy}"
            )

    def publish(self, zone: str, wanted: Sequence[Publication]) -> None:
        """What is refused does not keep the rest from being published."""
        refusals = _Refusals()
        for names in _portions(plain(_within(zone, wanted, refusals), refusals)):
            self._put(zone, names, refusals)
        refusals.end()

    def verify(self, zone: str, wanted: Sequence[Publication]) -> Mapping[tuple[str, str], str]:
        return differences(self._backend.name_servers, wanted, self._backend.timeout_s, self._patience_s)

    def published(self, zone: str) -> Sequence[Published]:
        """By a transfer of the zone."""
        found = []
        for owner, rdataset in self._server.transfer(zone, TRANSFER).iterate_rdatasets("TXT"):
            fqdn = marked_name(owner)
            if fqdn is not None:
                marks = [mark_of(record) for record in rdataset if isinstance(record, TXT)]
                found += [mark.published(fqdn) for mark in marks if mark is not None]
        return found

    def _put(self, zone: str, names: Mapping[str, Sequence[Publication]], refusals: _Refusals, tries: int = 1) -> None:
        """A message that is refused as a whole for one of its names is halved until that is found."""
        if refusals.enough:
            refusals.add(NOT_TRIED, *(each for wanted in names.values() for each in wanted))
            return
        changes = self._changes(names, refusals)
        if not changes:
            return
        rcode = self._update(zone, changes)
        if rcode == dns.rcode.NOERROR:
            return
        if rcode is not None and rcode not in UNMET and rcode != dns.rcode.REFUSED:
            raise self._server.refusal(rcode, "Updates")
        left = {change.fqdn: change.wanted for change in changes}
        if len(left) > 1:
            for half in _halves(left):
                self._put(zone, half, refusals)
            return
        self._again(zone, changes[0], rcode, refusals, tries)

    def _again(self, zone: str, change: Change, rcode: int | None, refusals: _Refusals, tries: int) -> None:
        """One name: either its marks have been changed since they were read, or what is there is not ours."""
        if rcode is None:
            refusals.add(f"{change.fqdn} has more than a DNS update can hold.", *change.wanted)
            return
        if rcode == dns.rcode.REFUSED:
            why = str(self._server.refusal(rcode, f"Updates of {change.fqdn}", f" {BY_HAND}"))
            refusals.found(why, *change.wanted)
            return
        held = self._held([change.fqdn])[change.fqdn]
        if held == change.held:
            types = " or ".join(sorted(each.rrtype for each in change.wanted))
            word, beside = dns.rcode.to_text(dns.rcode.Rcode(rcode)), mark_name(change.fqdn)
            refusals.found(
                f"At {change.fqdn} there is something that we have not made ({word}): take away what there is of "
                f"{types}, a CNAME, or TXT at {beside}, or choose another name.",
                *change.wanted,
            )
        elif tries < TRIES:
            self._put(zone, {change.fqdn: change.wanted}, refusals, tries + 1)
        else:
            raise DnsError(f"{change.fqdn} is being changed by somebody else all the time.")

    def _changes(self, names: Mapping[str, Sequence[Publication]], refusals: Refusals) -> Sequence[Change]:
        """What has to be changed: not what is overtaken, nor what is to go and is not there."""
        changes = []
        for fqdn, held in self._held(list(names)).items():
            marks = held.marks
            left = tuple(
                each
                for each in names[fqdn]
                if not refusals.overtaken(each, marks.get(each.rrtype))
                and (each.answers is not None or each.rrtype in marks)
            )
            change = Change(fqdn, left, held)
            if "CNAME" in change.types and len(change.types) > 1:
                refusals.add(f"{fqdn} cannot have {', '.join(sorted(change.types))}: a CNAME is alone.", *left)
            elif left:
                changes.append(change)
        return changes

    def _held(self, names: Sequence[str]) -> Mapping[str, Held]:
        """What the server has beside these names."""
        answers = self._server.ask(
            [dns.message.make_query(mark_name(name), "TXT", id=n) for n, name in enumerate(names)]
        )
        held = {}
        for name, answer in zip(names, answers, strict=True):
            if answer.rcode() not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
                raise self._server.refusal(answer.rcode(), "Questions about the zone")
            found = answer.get_rrset(answer.answer, mark_name(name), dns.rdataclass.IN, dns.rdatatype.TXT)
            held[name] = Held.of([record for record in found or () if isinstance(record, TXT)])
        return held

    def _update(self, zone: str, changes: Sequence[Change]) -> int | None:
        """What is answered; None: it is too much for one message."""
        update = dns.update.UpdateMessage(zone)
        for change in changes:
            put(update, change)
        try:
            (answer,) = self._server.ask([update])
        except dns.exception.TooBig:
            return None
        return answer.rcode()


def _within(zone: str, wanted: Sequence[Publication], refusals: Refusals) -> Iterator[Publication]:
    """Those whose names the zone may hold."""
    origin = dns.name.from_text(zone)
    for each in wanted:
        owner = dns.name.from_text(each.fqdn)
        if not owner.is_subdomain(origin):
            refusals.add(f"{each.fqdn} is not in the zone {zone}", each)
        elif not markable(each.fqdn):
            refusals.add(
                f"{each.fqdn} is too long: {OCTETS_MAX} octets at the most, so that a mark fits beside it.", each
            )
        elif each.rrtype == "CNAME" and owner == origin and each.answers is not None:
            refusals.add(f"{each.fqdn} is the zone itself, which cannot be a CNAME.", each)
        else:
            yield each


def _portions(wanted: Sequence[Publication]) -> Iterator[Mapping[str, Sequence[Publication]]]:
    """By name, as many as a message takes."""
    names: dict[str, Sequence[Publication]] = {}
    records = 0
    for fqdn, group in groupby(sorted(wanted, key=attrgetter("fqdn")), key=attrgetter("fqdn")):
        publications = tuple(group)
        size = Change(fqdn, publications, Held()).records
        if names and records + size > RECORDS_MAX:
            yield names
            names, records = {}, 0
        names[fqdn] = publications
        records += size
    if names:
        yield names


def _halves(names: Mapping[str, Sequence[Publication]]) -> Iterator[Mapping[str, Sequence[Publication]]]:
    items = list(names.items())
    middle = len(items) // 2
    yield dict(items[:middle])
    yield dict(items[middle:])
