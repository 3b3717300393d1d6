# SPDX-License-Identifier: Apache-2.0
"""One authority takes the place of another (plan.trust says when): what is asked for, done when it is time, shown."""

from datetime import UTC, datetime, timedelta
from typing import NamedTuple, cast

from caryatid import log
from caryatid.errors import CaryatidError, Conflict, NotFound
from caryatid.model import HOST
from caryatid.model.event import system
from caryatid.model.host import Host
from caryatid.plan import certificates, trust
from caryatid.plan.trust import Member, Phase, Trust
from caryatid.store import events, hosts, rows
from caryatid.store.database import Database, Tx

from .authority import AUTHORITY, Registry, read_trust, write_trust
from .gslb import checkers

ROTATION = system("authority")


class Standing(NamedTuple):
    """How far it is."""

    phase: Phase
    since: datetime
    authorities: list[tuple[str, datetime]]
    """Fingerprint and end of each that is trusted, the one that issues first."""
    waiting: list[tuple[str, str]]
    """Id and name of each host or checker that is waited for."""


def begin(registry: Registry, now: datetime) -> None:
    """A new authority takes the place of the old one, as soon as every host knows it. Raises CaryatidError if one is
    doing so already."""
    with registry.database.transaction() as tx:
        old = _locked(registry, tx)
        if old.phase != "steady":
            raise CaryatidError("The authority is being replaced already; see `caryatid authority show`.")
        _write(registry, tx, trust.begin(old, now))


def advance(registry: Registry, now: datetime) -> None:
    """What is due is done: the next phase, or the beginning of a rotation well before the authority ends."""
    with registry.database.transaction() as tx:
        old = _locked(registry, tx)
        due = trust.rotation_due(old, now)
        new = trust.begin(old, now) if due else trust.advance(old, _members(registry, tx, now), now)
        if new != old:
            _write(registry, tx, new)


def standing(registry: Registry, now: datetime) -> Standing:
    """What `caryatid authority show` says."""
    with registry.database.read() as tx:
        known = read_trust(registry, tx)
        waiting = trust.waiting(known, _members(registry, tx, now))
        names = {one.id: f"checker {one.name}" for one in checkers.members(tx, now) if one.id in waiting}
        names |= {key: (rows.get(tx, HOST, key) or {}).get("name", "") for key in waiting if key not in names}
    ends = [
        (certificates.fingerprint(one.certificate_pem), certificates.validity(one.certificate_pem)[1])
        for one in known.authorities
    ]
    return Standing(known.phase, known.since, ends, list(names.items()))


def replace_key(database: Database, host: str) -> None:
    """The host, called by id or name, is given a new heartbeat key when it comes next; until it uses it, both count.
    Raises NotFound, Conflict."""
    with database.transaction() as tx:
        known = [host] if rows.get(tx, HOST, host) else [document["id"] for document in rows.find(tx, HOST, name=host)]
        if len(known) > 1:
            raise Conflict(f"Several hosts are called {host}: {', '.join(known)}; give the id.")
        if not known or not hosts.key_is_old(tx, known[0]):
            raise NotFound(HOST.title, host)


def _locked(registry: Registry, tx: Tx) -> Trust:
    """The authorities, which nobody else changes before this transaction ends."""
    hosts.lock_setting(tx, AUTHORITY)
    return read_trust(registry, tx)


def _write(registry: Registry, tx: Tx, new: Trust) -> None:
    write_trust(registry, tx, new)
    detail = {"phase": new.phase}
    events.append(tx, "rotate", AUTHORITY, new.issuer, by=ROTATION, project_id=None, root_id=None, detail=detail)
    log.get().info("authority", phase=new.phase, issuing=new.issuer)


def _members(registry: Registry, tx: Tx, now: datetime) -> list[Member]:
    """The hosts and checkers that can still come: not revoked, and with a certificate that they can still renew."""
    oldest = now - timedelta(days=registry.settings.certificate_grace_days)
    living = {document["id"]: cast(Host, HOST.load(document)) for document in rows.find(tx, HOST)}
    of_regions = [Member(one.id, frozenset(one.trusts), one.issuer or "") for one in checkers.members(tx, now)]
    return of_regions + [
        Member(one.host_id, frozenset(one.trusts or ()), one.issuer or "")
        for one in hosts.credentials(tx)
        if not one.revoked and one.host_id in living and _end(living[one.host_id]) > oldest
    ]


def _end(host: Host) -> datetime:
    """When its certificate ends; of one that has not said, never."""
    if host.certificate_expiration is None:
        return datetime.max.replace(tzinfo=UTC)
    return datetime.fromisoformat(host.certificate_expiration).replace(tzinfo=UTC)
