# SPDX-License-Identifier: Apache-2.0
"""Wishes about where names are answered, and from where members are checked: regions, DNS backends, zones. They take
effect at once; gslbs that they matter to are decided about, and published, anew."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, cast
from uuid import uuid4

from caryatid.control.apply import accept
from caryatid.control.door import Door
from caryatid.control.precondition import Precondition, require_unchanged
from caryatid.control.receipt import Accepted, Wish, moment, project_of, rule
from caryatid.drivers import installed
from caryatid.drivers.dns.base import DnsRefusedError
from caryatid.errors import Conflict, Fault, NotFound, Refused
from caryatid.model import GSLB, GSLB_BACKEND, GSLB_MEMBER, GSLB_MONITOR, GSLB_POOL, GSLB_REGION, GSLB_ZONE
from caryatid.model.consequences import replace
from caryatid.model.event import called, changed
from caryatid.model.gslb import rules
from caryatid.model.gslb.place import GslbBackend, GslbRegion, GslbZone
from caryatid.model.kind import Kind
from caryatid.model.policy import Caller, allowed, require
from caryatid.model.resource import Row
from caryatid.store import rows, work
from caryatid.store.database import Tx
from caryatid.store.gslb import parts, uses

from . import credentials

KINDS: Final = (GSLB_REGION, GSLB_BACKEND, GSLB_ZONE)
NAMED_BY: Final[Mapping[str, Sequence[Kind]]] = {GSLB_REGION.name: (GSLB_MONITOR, GSLB_POOL)}
"""Whose documents may name one, without a column for it."""
USED_BY: Final[Mapping[str, tuple[Kind, str]]] = {
    GSLB_REGION.name: (GSLB_MEMBER, "region_id"),
    GSLB_BACKEND.name: (GSLB_ZONE, "backend_id"),
    GSLB_ZONE.name: (GSLB, "zone_id"),
}
"""Who refers to one, and by which column."""
SHARED: Final = "shared"
CREDENTIALS: Final = "credentials"


def create(door: Door, caller: Caller, kind: Kind, body: Any) -> Accepted:
    """It is there. Raises Refused, Conflict."""
    at = moment()
    project_id = project_of(caller, body) if kind.owned else None
    require(caller, rule(kind, "post"), project_id)
    _require_sharing(caller, kind, body, "post", project_id)
    given: dict[str, Any] = {"id": str(uuid4()), "created_at": at, "updated_at": at}
    row = kind.new(body, {**given, **({"project_id": project_id} if project_id else {})})
    if isinstance(row, GslbBackend):
        row = _able(door, row, row.credentials)
    with door.database.transaction() as tx:
        faults = list(_faults(tx, caller, row))
        if faults:
            raise Refused(faults)
        try:
            rows.insert(tx, kind, [row])
        except rows.Duplicate:
            raise Conflict(f"A {kind.title} of name {getattr(row, 'name', '')} exists already.") from None
        if isinstance(row, GslbBackend):
            credentials.keep(tx, door, row.id, row.credentials)
        _wake(tx, row)
        return accept(tx, caller, Wish("create", kind.name, row.id, None, project_id, detail=called(vars(row))))


def change(
    door: Door, caller: Caller, kind: Kind, key: str, body: Any, precondition: Precondition | None = None
) -> Accepted:
    """It is as `body` says; what that does not name stays. Raises Refused, Conflict, PreconditionFailed."""
    with door.database.transaction() as tx:
        document = _held(tx, kind, key)
        project_id = document.get("project_id")
        require(caller, rule(kind, "put"), project_id)
        _require_sharing(caller, kind, body, "put", project_id)
        require_unchanged(kind, document, precondition)
        row = replace(kind.change(document, body), updated_at=(at := moment()))
        if isinstance(row, GslbBackend):
            row = _able(door, row, row.credentials if CREDENTIALS in body else credentials.of(tx, door, key))
        if faults := list(_kept_faults(tx, row)):
            raise Refused(faults)
        rows.change(tx, kind, row, at=at)
        if isinstance(row, GslbBackend) and CREDENTIALS in body:
            credentials.keep(tx, door, key, row.credentials)
        _wake(tx, row)
        detail = changed(kind, document, vars(row))
        return accept(tx, caller, Wish("update", kind.name, key, None, project_id, detail=detail))


def delete(door: Door, caller: Caller, kind: Kind, key: str, precondition: Precondition | None = None) -> Accepted:
    """It is no more. Raises Conflict while something uses it, PreconditionFailed."""
    with door.database.transaction() as tx:
        document = _held(tx, kind, key)
        project_id = document.get("project_id")
        require(caller, rule(kind, "delete"), project_id)
        require_unchanged(kind, document, precondition)
        _refuse_used(tx, kind, key)
        rows.delete(tx, kind, [key])
        if kind is GSLB_BACKEND:
            parts.drop_credentials(tx, key)
        _wake(tx, kind.load(document))
        wish = Wish("delete", kind.name, key, None, project_id, detail=called(document))
        return accept(tx, caller, wish, shown=False)


def _held(tx: Tx, kind: Kind, key: str) -> dict[str, Any]:
    rows.lock(tx, kind, key)
    document = rows.get(tx, kind, key)
    if document is None:
        raise NotFound(kind.title, key)
    return document


def _require_sharing(caller: Caller, kind: Kind, body: Any, action: str, project_id: str | None) -> None:
    """Whether names of all projects may be in a zone is an administrator's to say."""
    if kind is GSLB_ZONE and isinstance(body, Mapping) and body.get(SHARED) is not None:
        require(caller, f"{rule(kind, action)}:{SHARED}", project_id)


def _able(door: Door, row: GslbBackend, shown: Mapping[str, str]) -> GslbBackend:
    """The backend, with what its servers can do as they are described. Raises Refused."""
    if not door.dns.known(row.driver):
        known = ", ".join(installed("dns"))
        why = f"Validation failure: there is no DNS driver {row.driver}; there are: {known}."
        raise Refused([Fault(why, "driver")])
    if faults := list(rules.backend_faults(row)):
        raise Refused(faults)
    try:
        return replace(row, policies=sorted(door.dns.open(row, shown).policies))
    except DnsRefusedError as error:
        raise Refused([Fault(f"Validation failure: {error}", "options")]) from None


def _faults(tx: Tx, caller: Caller, row: Row) -> Iterator[Fault]:
    """What a new one names must be there; a new zone must not take names from another. Raises Conflict."""
    if not isinstance(row, GslbZone):
        return
    if row.backend_id not in parts.held(tx, GSLB_BACKEND, [row.backend_id]):
        yield Fault(f"{GSLB_BACKEND.title} {row.backend_id} not found.", "backend_id")
    around = _around(tx, row.name)
    if taken := parts.names_within(tx, row.name):
        raise Conflict(f"{', '.join(taken)} is answered in another zone, and would be lost from it in {row.name}")
    near = [zone for zone in (around, *parts.zones_within(tx, row.name)) if zone is not None]
    shares = allowed(caller, f"{rule(GSLB_ZONE, 'post')}:{SHARED}", row.project_id)
    if not shares and any(zone.project_id != row.project_id for zone in near):
        raise Conflict(f"{row.name} is within another project's zone, or has one within: an administrator can make it.")


def _around(tx: Tx, name: str) -> GslbZone | None:
    """The zone that answered for the name so far; nobody comes to have a name in it until this transaction ends."""
    for above in rules.within(name)[1:]:
        for document in rows.find(tx, GSLB_ZONE, name=above):
            rows.lock(tx, GSLB_ZONE, document["id"])
            return cast(GslbZone, GSLB_ZONE.load(document))
    return None


def _kept_faults(tx: Tx, row: Row) -> Iterator[Fault]:
    """A zone stays shared while others have names in it."""
    if isinstance(row, GslbZone) and not row.shared and parts.projects_in(tx, row.id) - {row.project_id}:
        yield Fault(f"Validation failure: other projects have names in {row.name}", SHARED)


def _refuse_used(tx: Tx, kind: Kind, key: str) -> None:
    user, column = USED_BY[kind.name]
    users = {user: parts.referring(tx, user, column, key)}
    users |= {other: parts.naming(tx, other, key) for other in NAMED_BY.get(kind.name, ())}
    for other, names in users.items():
        if names:
            raise Conflict(f"{kind.title} {key} is in use by {other.title} {', '.join(names)} and cannot be deleted.")


def _wake(tx: Tx, row: Row) -> None:
    """The gslbs that it matters to are looked at."""
    match row:
        case GslbRegion():
            found = parts.living(tx)
        case GslbBackend():
            zones = [zone["id"] for zone in rows.find(tx, GSLB_ZONE, backend_id=row.id)]
            found = uses.users(tx, GSLB_ZONE.name, zones)
        case _:
            found = []
    work.wake_roots(tx, found, kind=GSLB)
