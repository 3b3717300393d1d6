# SPDX-License-Identifier: Apache-2.0
"""Wishes that take effect at once: what operators offer (flavors, zones, networks) and allow (quotas)."""

from collections.abc import Iterator, Mapping
from typing import Any, Protocol, cast
from uuid import uuid4

from caryatid.errors import Conflict, Fault, NotFound, Refused, Unsupported
from caryatid.model import (
    ACCESS,
    AVAILABILITY_ZONE,
    AVAILABILITY_ZONE_PROFILE,
    CLUSTER,
    FLAVOR,
    FLAVORPROFILE,
    HOST,
    LOADBALANCER,
    NETWORK,
    PORT,
    SUBNET,
    SUBSCRIPTION,
)
from caryatid.model.event import called, changed
from caryatid.model.flavor import AvailabilityZoneProfile, FlavorProfile, data_faults
from caryatid.model.kind import Kind
from caryatid.model.network import Port, Subnet
from caryatid.model.policy import Caller, require
from caryatid.model.resource import Row
from caryatid.store import hosts, rows, work
from caryatid.store.database import Tx

from . import access, references, webhooks
from .door import Door
from .ganeti import clusters
from .hosts import delete as delete_host
from .precondition import Precondition, require_unchanged
from .receipt import Accepted, Wish, accepted, moment, project_of, rule


class Taker(Protocol):
    """A module of wishes about one kind."""

    def create(self, door: Door, caller: Caller, body: Any) -> Accepted: ...

    def change(
        self, door: Door, caller: Caller, key: str, body: Any, precondition: Precondition | None = None
    ) -> Accepted: ...

    def delete(self, door: Door, caller: Caller, key: str, precondition: Precondition | None = None) -> Accepted: ...


USED_BY: dict[str, tuple[Kind, str]] = {
    FLAVORPROFILE.name: (FLAVOR, "flavor_profile_id"),
    FLAVOR.name: (LOADBALANCER, "flavor_id"),
    AVAILABILITY_ZONE_PROFILE.name: (AVAILABILITY_ZONE, "availability_zone_profile_id"),
    AVAILABILITY_ZONE.name: (LOADBALANCER, "availability_zone"),
    NETWORK.name: (SUBNET, "network_id"),
    SUBNET.name: (PORT, "subnet_id"),
}
"""Who refers to a kind, and by which attribute: while somebody does, it cannot be deleted."""
APART: dict[Kind, Taker] = {SUBSCRIPTION: webhooks, CLUSTER: clusters}
"""Kinds with more to them, and who takes wishes about them."""
NO_BGP = (
    "Attachment bgp is not built yet. Use routed: the host has a route to each address, which a routing daemon of its "
    "own (BIRD, FRR) can announce."
)
MADE_OF: dict[str, tuple[Kind, str]] = {
    FLAVOR.name: (FLAVORPROFILE, "flavor_profile_id"),
    AVAILABILITY_ZONE.name: (AVAILABILITY_ZONE_PROFILE, "availability_zone_profile_id"),
    SUBNET.name: (NETWORK, "network_id"),
    PORT.name: (SUBNET, "subnet_id"),
}
"""What a new row of a kind must refer to."""


def create(door: Door, caller: Caller, kind: Kind, body: Any) -> Accepted:
    """The row exists. Raises Refused, Conflict where its name or address is taken."""
    if kind in ACCESS:
        return access.create(door, caller, kind, body)
    if kind in APART:
        return APART[kind].create(door, caller, body)
    at = moment()
    project_id = project_of(caller, body)
    require(caller, rule(kind, "post"), project_id if kind.owned else None)
    given: dict[str, Any] = {"id": str(uuid4())}
    given |= {"created_at": at, "updated_at": at} if "created_at" in kind.attributes else {}
    given |= {"project_id": project_id} if kind.owned else {}
    with door.database.transaction() as tx:
        if kind is PORT:
            body, given = _address_chosen(tx, body, given)
        row = kind.new(body, given)
        faults = [*_made_of_faults(tx, kind, row), *_profile_faults(door, row)]
        if faults:
            raise Refused(faults)
        if isinstance(row, Subnet) and row.attachment == "bgp":
            raise Unsupported(NO_BGP)
        try:
            rows.insert(tx, kind, [row])
        except rows.Duplicate:
            raise Conflict(_duplicate(kind, row)) from None
        return _accept(tx, caller, "create", kind, getattr(row, kind.key), called(vars(row)))


def change(
    door: Door, caller: Caller, kind: Kind, key: str, body: Any, precondition: Precondition | None = None
) -> Accepted:
    """The row is as `body` says; what it does not name stays."""
    if kind in ACCESS:
        return access.change(door, caller, kind, key, body, precondition)
    if kind in APART:
        return APART[kind].change(door, caller, key, body, precondition)
    with door.database.transaction() as tx:
        if kind is HOST:
            hosts.lock(tx)
        document = _held(tx, kind, key)
        require(caller, rule(kind, "put"), document.get("project_id"))
        require_unchanged(kind, document, precondition)
        row = kind.change(document, body)
        if isinstance(row, FlavorProfile | AvailabilityZoneProfile):
            said = ("provider_name", "flavor_data", "availability_zone_data")
            if any(getattr(row, name, None) != document.get(name) for name in said):
                _refuse_used(tx, kind, document, "modified")
        faults = list(_profile_faults(door, row))
        if faults:
            raise Refused(faults)
        try:
            rows.change(tx, kind, row, at=moment())
        except rows.Duplicate:
            raise Conflict(_duplicate(kind, row)) from None
        if kind is HOST:  # it may be what somebody has been waiting for
            work.retry_all(tx)
        if kind is SUBNET:  # another gateway, say: whoever has an address there is connected anew
            work.wake_roots(tx, references.served_on(tx, key))
        return _accept(tx, caller, "update", kind, key, changed(kind, document, vars(row)))


def delete(door: Door, caller: Caller, kind: Kind, key: str, precondition: Precondition | None = None) -> Accepted:
    """The row does not exist. Raises Conflict while something refers to it."""
    if kind is HOST:
        return delete_host(door, caller, key, precondition)
    if kind in ACCESS:
        return access.delete(door, caller, kind, key, precondition)
    if kind in APART:
        return APART[kind].delete(door, caller, key, precondition)
    with door.database.transaction() as tx:
        document = _held(tx, kind, key)
        require(caller, rule(kind, "delete"), document.get("project_id"))
        require_unchanged(kind, document, precondition)
        _refuse_used(tx, kind, document, "deleted")
        if kind is PORT and document["device_id"]:
            raise Conflict(f"Port {key} is in use by device {document['device_id']}.")
        rows.delete(tx, kind, [document["id"]])
        wish = Wish("delete", kind.name, document["id"], None, document.get("project_id"), detail=called(document))
        return accepted(tx, caller, wish)


def _document(tx: Tx, kind: Kind, key: str) -> dict[str, Any]:
    document = rows.get(tx, kind, key)
    if document is None:
        raise NotFound(kind.title, key)
    return document


def _held(tx: Tx, kind: Kind, key: str) -> dict[str, Any]:
    """The document of a row that nobody else changes until this transaction ends."""
    rows.lock(tx, kind, key)
    return _document(tx, kind, key)


def _made_of_faults(tx: Tx, kind: Kind, row: Row) -> Iterator[Fault]:
    if kind.name in MADE_OF:
        made_of, attribute = MADE_OF[kind.name]
        key = getattr(row, attribute)
        if rows.get(tx, made_of, key) is None:
            yield Fault(f"{made_of.title} {key} not found.", attribute)


def _profile_faults(door: Door, row: Row) -> Iterator[Fault]:
    """What the provider cannot read in a profile. A topology that its driver cannot do is 501 (octavia.md §2.12)."""
    if isinstance(row, FlavorProfile):
        provider = door.provider(row.provider_name)
        able = provider.capabilities
        faults = list(data_faults(able.flavor_data, "flavor_data", row.data))
        topology = row.data.get("loadbalancer_topology")
        if not faults and topology is not None and topology not in able.topologies:
            raise Unsupported(
                f"Provider '{provider.name}' does not support a requested option: loadbalancer_topology {topology}; "
                f"it supports {', '.join(sorted(able.topologies))}."
            )
        yield from faults
    elif isinstance(row, AvailabilityZoneProfile):
        able = door.provider(row.provider_name).capabilities
        yield from data_faults(able.zone_data, "availability_zone_data", row.data)


def _address_chosen(tx: Tx, body: Any, given: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The body of a port, with a free address if it names none, and its network."""
    if not isinstance(body, Mapping):
        return body, given
    subnet_id = body.get("subnet_id")
    document = rows.get(tx, SUBNET, subnet_id) if isinstance(subnet_id, str) else None
    if document is None:
        return body, {**given, "network_id": given["id"]}
    subnet = cast(Subnet, SUBNET.load(document))
    given = {**given, "network_id": subnet.network_id}
    if (wanted := body.get("ip_address")) is not None:
        if isinstance(wanted, str) and rows.count(tx, PORT, subnet_id=subnet.id, ip_address=wanted):
            raise Conflict(f"Address {wanted} is already in use on subnet {subnet.id}.")
        return body, given
    address = references.first_free(tx, subnet, given["id"])
    if address is None:
        raise Refused([Fault(f"Validation failure: Subnet {subnet.id} has no free address.", "subnet_id")])
    return {**body, "ip_address": address}, given


def _refuse_used(tx: Tx, kind: Kind, document: Mapping[str, Any], act: str) -> None:
    if kind.name in USED_BY:
        user, attribute = USED_BY[kind.name]
        key = document[kind.key]
        if rows.count(tx, user, **{attribute: key}):
            raise Conflict(f"{kind.title} {key} is in use and cannot be {act}.")


def _duplicate(kind: Kind, row: Row) -> str:
    if isinstance(row, Port):
        return f"Address {row.ip_address} is already in use on subnet {row.subnet_id}."
    article = "An" if kind.title[0] in "AEIOU" else "A"
    return f"{article} {kind.title.lower()} of {getattr(row, 'name', row.id)} already exists."


def _accept(tx: Tx, caller: Caller, action: str, kind: Kind, key: str, detail: Mapping[str, Any]) -> Accepted:
    document = _document(tx, kind, key)
    wish = Wish(action, kind.name, document["id"], None, document.get("project_id"), detail=detail)
    return accepted(tx, caller, wish, document)
