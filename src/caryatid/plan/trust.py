# SPDX-License-Identifier: Apache-2.0
"""Which authorities are trusted, which one issues, and how one takes the place of another without anybody being lost.

    steady ──begin──▶ introducing ──▶ replacing ──▶ steady
                      the new one is   it issues;    the old one
                      trusted too      both trusted  is no more

Each phase can last for as long as it must: everything works in all of them.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal, NamedTuple

from . import certificates
from .certificates import Authority

Phase = Literal["steady", "introducing", "replacing"]

INTRODUCING_MIN = timedelta(minutes=5)
"""Controllers look for news more often than this, so that all of them trust the new authority before it issues."""
REPLACING_MIN = timedelta(minutes=65)
"""Longer than an enrolment token lives, so that none pins an authority that is no more."""
LAST_DAY = timedelta(days=1)
"""So long before its end an authority makes room, whoever is still away."""
END_OF_CERTIFICATE = b"-----END CERTIFICATE-----\n"


class Member(NamedTuple):
    """A host, as far as it matters here. It is waited for."""

    id: str
    trusts: frozenset[str]
    """Fingerprints of the authorities of which it has said that it trusts them."""
    issuer: str
    """Fingerprint of the authority of the certificate that it shows."""


@dataclass(frozen=True)
class Trust:
    """The authorities. At most one is joining or leaving."""

    issuing: Authority
    since: datetime
    """When this phase began."""
    joining: Authority | None = None
    leaving: Authority | None = None
    link_pem: bytes = b""
    """The newer one's key, certified by the older: who trusts the older can tell that the newer is ours."""

    @property
    def phase(self) -> Phase:
        return "introducing" if self.joining else "replacing" if self.leaving else "steady"

    @property
    def authorities(self) -> list[Authority]:
        """All that are trusted, the one that issues first."""
        return [self.issuing, *(other for other in (self.joining, self.leaving) if other is not None)]

    @property
    def bundle(self) -> str:
        """Their certificates (PEM)."""
        return b"".join(one.certificate_pem for one in self.authorities).decode()

    @property
    def fingerprints(self) -> frozenset[str]:
        return frozenset(certificates.fingerprint(one.certificate_pem) for one in self.authorities)

    @property
    def issuer(self) -> str:
        """Fingerprint of the one that issues."""
        return certificates.fingerprint(self.issuing.certificate_pem)


def rotation_due(trust: Trust, now: datetime) -> bool:
    """Less than a fifth of the authority's life is left, and nothing is under way."""
    begin, end = certificates.validity(trust.issuing.certificate_pem)
    return trust.phase == "steady" and end - now < (end - begin) / 5


def begin(trust: Trust, now: datetime, days: float = certificates.AUTHORITY_DAYS) -> Trust:
    """A new authority is trusted beside the old one. If that is so already, nothing changes."""
    if trust.phase != "steady":
        return trust
    joining = certificates.new_authority(f"Caryatid {now:%Y-%m-%d}", now, days)
    link = certificates.link(trust.issuing, joining.certificate_pem, now)
    return replace(trust, joining=joining, link_pem=link, since=now)


def waiting(trust: Trust, members: Iterable[Member]) -> list[str]:
    """Ids of the hosts that keep this phase from ending."""
    match trust.phase:
        case "introducing":
            return [member.id for member in members if not trust.fingerprints <= member.trusts]
        case "replacing":
            return [member.id for member in members if member.issuer != trust.issuer]
        case "steady":
            return []


def advance(trust: Trust, members: Iterable[Member], now: datetime) -> Trust:
    """The next phase, if this one has come to its end; else the same."""
    elder = trust.leaving or trust.issuing
    pressing = certificates.validity(elder.certificate_pem)[1] - now < LAST_DAY
    if waiting(trust, members) and not pressing:
        return trust
    if trust.joining and now - trust.since >= INTRODUCING_MIN:
        old = Authority(trust.issuing.certificate_pem, b"")  # what no longer issues needs no key
        return replace(trust, issuing=trust.joining, joining=None, leaving=old, since=now)
    if trust.leaving and now - trust.since >= REPLACING_MIN:
        return Trust(trust.issuing, since=now)
    return trust


def dump(trust: Trust) -> bytes:
    """As it is kept. Holds keys: to be encrypted."""
    kept = {"since": trust.since.isoformat(), "link": trust.link_pem.decode()}
    for name in ("issuing", "joining", "leaving"):
        one: Authority | None = getattr(trust, name)
        if one is not None:
            kept[name] = (one.certificate_pem + one.key_pem).decode()
    return json.dumps(kept).encode()


def load(kept: bytes) -> Trust:
    """What `dump` was given; also the single authority (PEM) of installations from before there was more than one."""
    if kept.startswith(b"-----BEGIN"):
        only = _authority(kept)
        return Trust(only, since=certificates.validity(only.certificate_pem)[0])
    content = json.loads(kept)
    others = {name: _authority(content[name].encode()) for name in ("joining", "leaving") if name in content}
    since = datetime.fromisoformat(content["since"])
    return Trust(_authority(content["issuing"].encode()), since, link_pem=content["link"].encode(), **others)


def _authority(pem: bytes) -> Authority:
    end = pem.index(END_OF_CERTIFICATE) + len(END_OF_CERTIFICATE)
    return Authority(pem[:end], pem[end:])
