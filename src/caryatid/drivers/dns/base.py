# SPDX-License-Identifier: Apache-2.0
"""The DNS driver interface: names answer so, as DNS servers are told and as they are then seen to.

An entry point of `caryatid.dns` is a class that is called with a `Backend`, and asks nobody anything by that.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from caryatid.model.gslb.answers import Answers
from caryatid.model.gslb.words import SteeringPolicy


class DnsError(Exception):
    """It could not be done now; tried again. `str()` is a sentence, with what would help."""


class DnsRefusedError(DnsError):
    """Trying again will not help until somebody changes something: credentials, a zone, the answers themselves."""

    def __init__(self, reason: str, refused: Mapping[tuple[str, str], str] | None = None) -> None:
        """`refused`: what alone is refused, by (fqdn, rrtype), and why; none: all of it is."""
        super().__init__(reason)
        self.refused = dict(refused or {})


@dataclass(frozen=True)
class Backend:
    """One set of DNS servers, as a driver is opened on it."""

    id: str
    url: str = ""
    server: str = ""
    port: int = 53
    credentials: Mapping[str, str] = field(default_factory=dict, repr=False)
    options: Mapping[str, Any] = field(default_factory=dict)
    name_servers: tuple[tuple[str, int], ...] = ()
    """Address and port of each that is asked afterwards."""
    timeout_s: float = 5.0


@dataclass(frozen=True)
class Publication:
    """One name and type, as it shall be from now on."""

    answers: Answers | None
    """None: there is nothing of it any more."""
    fqdn: str
    rrtype: str
    generation: int
    """A driver that can, refuses to replace a higher one."""


@dataclass(frozen=True)
class Published:
    """What a server says that it has of ours."""

    fqdn: str
    rrtype: str
    generation: int
    digest: str
    """Of the answers (`plan/steering.py: digest`)."""


class DnsDriver(Protocol):
    """Called by threads, may block; ends within its own timeouts. Every act may be repeated."""

    policies: frozenset[SteeringPolicy]
    """What its servers can do."""

    def ensure_zone(self, zone: str) -> None:
        """The zone is there, or DnsRefusedError says what has to be done by hand."""

    def publish(self, zone: str, wanted: Sequence[Publication]) -> None:
        """Afterwards the servers have been told all of these, in as few requests as can be. Raises DnsError;
        DnsRefusedError, naming what is refused, only after all else has been published."""

    def verify(self, zone: str, wanted: Sequence[Publication]) -> Mapping[tuple[str, str], str]:
        """What is not as it shall be, by (fqdn, rrtype), in words: every name server of the backend has been asked, for
        as long as they may take to have what was published. Nobody asks a second time."""

    def published(self, zone: str) -> Sequence[Published]:
        """All of ours in the zone. Raises DnsError."""
