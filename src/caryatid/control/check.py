# SPDX-License-Identifier: Apache-2.0
"""What a wish must satisfy beyond its own attributes: the tree's rules, the drivers' abilities, the hosts' ports."""

import ssl
from collections.abc import Iterable

from caryatid.config import Settings
from caryatid.drivers.compute.base import own_hosts
from caryatid.errors import CaryatidError, Fault, Refused
from caryatid.model import MEMBER, SUBNET
from caryatid.model import rules as model_rules
from caryatid.model.kind import Kind
from caryatid.model.listener import Listener
from caryatid.model.loadbalancer import LoadBalancer
from caryatid.model.member import Member
from caryatid.model.policy import Caller
from caryatid.model.pool import Pool
from caryatid.model.resource import Row
from caryatid.model.rules import Limits, crowded, unsupported
from caryatid.model.tls import CIPHERS, SUITE, TlsPolicy, barred
from caryatid.model.tree import Tree
from caryatid.store import hosts, rows
from caryatid.store.database import Tx

from . import bindings, datagrams, references
from .door import Door

UNPRIVILEGED_FROM = 1024
SHAREABLE = frozenset({"uplink", "noop"})
"""Attachments of which addresses can go from one amphora to another."""


def check(
    tx: Tx, door: Door, caller: Caller, tree: Tree, changed: Iterable[tuple[Kind, Row]], more: Iterable[Fault] = ()
) -> None:
    """Raises Refused with every fault that the tree's rules and the provider's drivers find in the changed rows,
    and with those found before."""
    provider = door.provider(tree.loadbalancer.provider)
    limits, policy = limits_of(door), tls_policy(door.settings)
    faults = list(more)
    for kind, row in changed:
        faults += model_rules.faults(tree, row, limits=limits)
        faults += unsupported(tree, row, provider.capabilities, provider.name)
        faults += _tls_faults(tx, kind, row, policy)
        faults += _port_faults(tx, row)
        faults += _pair_faults(tx, tree, row)
        faults += _machine_faults(tx, door, row)
        faults += bindings.faults(tx, tree, row)
        faults += datagrams.faults(tx, tree, row, provider.capabilities)
        if not provider.network.takes_any_reference:
            faults += _subnet_faults(tx, caller, row)
    if faults:
        raise Refused(faults)


def limits_of(door: Door) -> Limits:
    known = door.settings
    return Limits(known.members_max, known.listeners_max, known.nested_objects_max)


def tls_policy(settings: Settings) -> TlsPolicy:
    """Raises CaryatidError for one that leaves nothing to speak."""
    names = settings.tls_prohibited_ciphers.split(":")
    try:
        return TlsPolicy(settings.tls_minimum_version or None, tuple(name for name in names if name))
    except ValueError as error:
        raise CaryatidError(f"The settings of TLS cannot be used: {error}") from error


def _tls_faults(tx: Tx, kind: Kind, row: Row, policy: TlsPolicy) -> Iterable[Fault]:
    """What is barred, or what OpenSSL forgets, does not stop changes of what was there before and does not change."""
    if not isinstance(row, Listener | Pool):
        return
    faults = [*barred(row.tls_ciphers, row.tls_versions, policy=policy), *_unknown_ciphers(row.tls_ciphers)]
    before = (faults and rows.get(tx, kind, row.id)) or {}
    for fault in faults:
        if before.get(fault.attribute) != getattr(row, fault.attribute):
            yield fault


def _unknown_ciphers(ciphers: str | None) -> Iterable[Fault]:
    """OpenSSL takes a list if it knows one of the names in it."""
    older = ":".join(name for name in (ciphers or "").split(":") if not name.startswith(SUITE))
    if not older or ciphers == CIPHERS:
        return
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).set_ciphers(older)
    except ssl.SSLError:
        yield Fault(f"Validation failure: OpenSSL finds no cipher in {older}.", "tls_ciphers")


def crowded_faults(tx: Tx, door: Door, pool_id: str, new: int) -> Iterable[Fault]:
    return crowded(rows.count(tx, MEMBER, pool_id=pool_id) + new, limits=limits_of(door))


def _port_faults(tx: Tx, row: Row) -> Iterable[Fault]:
    if not isinstance(row, Listener) or row.protocol_port >= UNPRIVILEGED_FROM:
        return
    lowest = hosts.lowest_bindable(tx)
    if row.protocol_port < lowest:
        yield Fault(
            f"Validation failure: protocol_port {row.protocol_port} cannot be opened: no host may bind ports below "
            f"{lowest}. Either lower it there (`sysctl net.ipv4.ip_unprivileged_port_start={row.protocol_port}`) or "
            "allow HAProxy to (`setcap cap_net_bind_service=+ep` on its binary), then restart the agent.",
            "protocol_port",
        )


def _pair_faults(tx: Tx, tree: Tree, row: Row) -> Iterable[Fault]:
    """A pair's VIPs go from one host to another, which only addresses on a physical network can."""
    if not isinstance(row, LoadBalancer) or tree.flavor.get("loadbalancer_topology") != "ACTIVE_STANDBY":
        return
    for vip in row.vips:
        subnet = rows.get(tx, SUBNET, vip.subnet_id or "")
        if subnet and subnet["attachment"] not in SHAREABLE:
            yield Fault(
                "Validation failure: Topology ACTIVE_STANDBY needs a VIP subnet of attachment uplink; "
                f"subnet {subnet['id']} is of attachment {subnet['attachment']}.",
                "vip_subnet_id",
            )


def _machine_faults(tx: Tx, door: Door, row: Row) -> Iterable[Fault]:
    """A machine that is made for an amphora has no address that others had before it."""
    if not isinstance(row, LoadBalancer) or not own_hosts(door.compute):
        return
    for vip in row.vips:
        subnet = rows.get(tx, SUBNET, vip.subnet_id or "")
        if subnet and subnet["attachment"] in ("loopback", "host"):
            yield Fault(
                "Validation failure: Each amphora gets a machine of its own here: VIPs need a subnet of attachment "
                f"uplink or routed; subnet {subnet['id']} is of attachment {subnet['attachment']}.",
                "vip_subnet_id",
            )


def _subnet_faults(tx: Tx, caller: Caller, row: Row) -> Iterable[Fault]:
    subnet_id = row.subnet_id if isinstance(row, Member) else None
    if subnet_id and not references.subnet_exists(tx, caller, getattr(row, "project_id", ""), subnet_id):
        yield Fault(f"Subnet {subnet_id} not found.", "subnet_id")
