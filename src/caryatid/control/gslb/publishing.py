# SPDX-License-Identifier: Apache-2.0
"""What has to be told of a gslb, and how a whole zone is told and asked at once."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

from caryatid import metrics
from caryatid.drivers.dns.base import DnsDriver, DnsError, DnsRefusedError, Publication

from .told import Entry, Told, Where

Place = tuple[str, str]
"""Backend and zone."""


@dataclass(frozen=True, slots=True)
class Todo:
    """What has to be told of a gslb."""

    wanted: tuple[Entry, ...]
    """What shall be there afterwards."""
    publish: frozenset[Where]
    """Of these, what is told."""
    withdraw: tuple[Entry, ...]
    """What shall not be there any more."""
    new: bool
    """Something is told that name servers had not been told before: it needs a generation of its own."""

    def __bool__(self) -> bool:
        return bool(self.publish or self.withdraw)


def todo(wanted: Sequence[Entry], told: Told, generation: int) -> Todo:
    """What has changed; everything, if nobody has seen it published as it was told last."""
    known = {entry.where: entry for entry in told.entries}
    shall = {entry.where for entry in wanted}
    changed = {e.where for e in wanted if e.where not in known or known[e.where].digest != e.digest}
    gone = tuple(entry for entry in told.entries if entry.where not in shall)
    publish = changed if told.seen == generation else shall
    return Todo(tuple(wanted), frozenset(publish), gone, bool(changed or gone or generation == 0))


def by_place(fqdn: str, generation: int, what: Todo) -> dict[Place, list[Publication]]:
    """What is published where."""
    found: dict[Place, list[Publication]] = {}
    for entry in what.wanted:
        if entry.where in what.publish:
            publication = Publication(entry.read(), fqdn, entry.rrtype, generation)
            found.setdefault((entry.backend_id, entry.zone), []).append(publication)
    for entry in what.withdraw:
        publication = Publication(None, fqdn, entry.rrtype, generation)
        found.setdefault((entry.backend_id, entry.zone), []).append(publication)
    return found


@dataclass(frozen=True, slots=True)
class Result:
    """What came of the publications of one zone; by name and type, in words."""

    refused: Mapping[tuple[str, str], str] = field(default_factory=dict)
    """Nothing but a change of something makes it go well."""
    failed: Mapping[tuple[str, str], str] = field(default_factory=dict)
    """Not told, as far as we know."""

    @classmethod
    def all_failed(cls, wanted: Iterable[Publication], why: str) -> Self:
        return cls(failed=_all(wanted, why))

    @classmethod
    def all_refused(cls, wanted: Iterable[Publication], why: str) -> Self:
        return cls(refused=_all(wanted, why))


def tell(driver: DnsDriver, zone: str, wanted: Sequence[Publication]) -> Result:
    """Name servers are told all of these. Raises nothing of the driver's."""
    with metrics.GSLB_PUBLISH_SECONDS.time():
        try:
            driver.publish(zone, wanted)
        except DnsRefusedError as error:
            return Result(refused=error.refused or _all(wanted, str(error)))
        except DnsError as error:
            return Result(failed=_all(wanted, str(error)))
    return Result()


def check(driver: DnsDriver, zone: str, wanted: Sequence[Publication]) -> Mapping[tuple[str, str], str]:
    """What is not answered as these say, in words. Raises nothing of the driver's, whose the patience is, too."""
    with metrics.GSLB_VERIFY_SECONDS.time():
        try:
            return driver.verify(zone, wanted)
        except DnsError as error:
            return _all(wanted, str(error))


def _all(wanted: Iterable[Publication], why: str) -> dict[tuple[str, str], str]:
    return {_key(each): why for each in wanted}


def _key(publication: Publication) -> tuple[str, str]:
    return publication.fqdn, publication.rrtype
