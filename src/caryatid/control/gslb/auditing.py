# SPDX-License-Identifier: Apache-2.0
"""What name servers have of ours, held against what they have been told. What is wanting or otherwise is told again by
the engine, as everything is; what nobody wants is withdrawn here."""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple, cast

from caryatid import log, metrics
from caryatid.control.door import Door
from caryatid.drivers import NoSuchDriver
from caryatid.drivers.dns.base import DnsDriver, DnsError, Publication, Published
from caryatid.model import GSLB, GSLB_BACKEND, GSLB_MEMBER, GSLB_ZONE
from caryatid.model.gslb.place import GslbZone
from caryatid.store import events, rows, work
from caryatid.store.database import Tx
from caryatid.store.gslb import state, trees
from caryatid.store.gslb.state import KEPT, State
from caryatid.store.gslb.trees import Name

from .scenes import Opened, opened
from .telling import ENGINE
from .told import Told, contents

PERIOD_S: Final = 60.0
Key = tuple[str, str]
"""Name and record type."""


class Names(NamedTuple):
    """The gslbs of a zone."""

    named: Mapping[str, Name]
    """By id."""
    states: Mapping[str, State]


class Stray(NamedTuple):
    """A gslb that name servers answer otherwise than they were told."""

    gslb_id: str
    what: str
    """`missing` or `other`."""
    above: int
    """The highest generation of it that is out there."""


def audit(door: Door) -> None:
    """Every zone is looked at; one whose servers are away does not keep the others."""
    with door.database.read() as tx:
        zones = [cast(GslbZone, GSLB_ZONE.load(document)) for document in rows.find(tx, GSLB_ZONE)]
        backends = opened(tx, door, [document["id"] for document in rows.find(tx, GSLB_BACKEND)])
    for zone in zones:
        found = backends.get(zone.backend_id)
        if found is not None and not found.problem:
            try:
                audit_zone(door, zone, found)
            except (DnsError, NoSuchDriver) as error:
                log.get().warning("zone not audited", zone=zone.name, reason=str(error))
    _forget_members(door)


def audit_zone(door: Door, zone: GslbZone, found: Opened) -> None:
    """What is published in the zone is as it shall be, or the engine has been told to see to it. Raises DnsError."""
    driver = door.dns.open(found.backend, found.credentials)
    before = _names(door, zone.id)
    if not before.named:
        return
    there = driver.published(zone.name)
    after = _names(door, zone.id)
    steady = [key for key, known in before.states.items() if after.states.get(key) == known]
    strays = [
        stray
        for key in steady
        if key in after.named and not after.named[key].deleted
        for stray in _stray(zone, after.named[key], after.states[key], there)
    ]
    if strays:
        _tell_engine(door, strays)
    known = {name.fqdn for names in (before, after) for name in names.named.values()}
    _withdraw(driver, zone, [one for one in there if one.fqdn not in known])


def _names(door: Door, zone_id: str) -> Names:
    with door.database.read() as tx:
        named = {name.gslb_id: name for name in trees.in_zones(tx, [zone_id])}
        return Names(named, state.load(tx, list(named)))


def _stray(zone: GslbZone, name: Name, known: State, there: Sequence[Published]) -> list[Stray]:
    """Only of those that had been seen to be right."""
    told = Told.read(known.published)
    mine = {one.rrtype: one for one in there if one.fqdn == name.fqdn}
    above = max((one.generation for one in mine.values()), default=0)
    entries = {entry.rrtype: entry for entry in told.entries if entry.zone == zone.name}
    if told.seen != known.generation:
        return [Stray(name.gslb_id, "other", above)] if above > known.generation else []
    if any(rrtype not in mine and contents(entry.read()) for rrtype, entry in entries.items()):
        return [Stray(name.gslb_id, "missing", above)]
    wrong = any(rrtype not in entries or entries[rrtype].digest != one.digest for rrtype, one in mine.items())
    return [Stray(name.gslb_id, "other", above)] if wrong or above > known.generation else []


def _tell_engine(door: Door, strays: Sequence[Stray]) -> None:
    """All of these are published again, under generations higher than those that are out there."""
    with door.database.transaction() as tx:
        ids = sorted(stray.gslb_id for stray in strays)
        places = rows.lock_roots(tx, ids, GSLB)
        work.wake_roots(tx, list(places), kind=GSLB)
        for stray in strays:
            metrics.GSLB_STRAYS.labels(stray.what).inc()
            if stray.gslb_id in places:
                state.advance(tx, [stray.gslb_id], stray.above)
                _note(tx, stray, places[stray.gslb_id].project_id)
    log.get().warning("names were answered otherwise than told", count=len(strays))


def _note(tx: Tx, stray: Stray, project_id: str) -> None:
    detail = {"what": stray.what}
    events.append(
        tx, "unpublished", GSLB.name, stray.gslb_id, by=ENGINE, project_id=project_id, root_id=None, detail=detail
    )


def _withdraw(driver: DnsDriver, zone: GslbZone, orphans: Sequence[Published]) -> None:
    if orphans:
        metrics.GSLB_STRAYS.labels("orphan").inc(len(orphans))
        log.get().warning("names that nobody wants are withdrawn", zone=zone.name, count=len(orphans))
        driver.publish(zone.name, [Publication(None, one.fqdn, one.rrtype, one.generation) for one in orphans])


def _forget_members(door: Door) -> None:
    """The guard does not count members that are no more."""
    with door.database.read() as tx:
        kept = [row.id for row in state.all_of(tx, state.GUARD) if row.operating_status == KEPT]
        gone = set(kept) - rows.existing(tx, GSLB_MEMBER, kept)
    if gone:
        with door.database.transaction() as tx:
            state.forget_statuses(tx, state.GUARD, sorted(gone))
