# SPDX-License-Identifier: Apache-2.0
"""What a wish must satisfy beyond its own attributes: the tree's rules, the drivers' abilities, the hosts' ports."""

from collections.abc import Iterable

from caryatid.errors import Fault, Refused
from caryatid.model import MEMBER, SUBNET
from caryatid.model import rules as model_rules
from caryatid.model.kind import Kind
from caryatid.model.listener import Listener
from caryatid.model.loadbalancer import LoadBalancer
from caryatid.model.member import Member
from caryatid.model.policy import Caller
from caryatid.model.resource import Row
from caryatid.model.rules import Limits, crowded, unsupported
from caryatid.model.tree import Tree
from caryatid.store import hosts, rows
from caryatid.store.database import Tx

from . import references
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
    limits = limits_of(door)
    faults = list(more)
    for _, row in changed:
        faults += model_rules.faults(tree, row, limits=limits)
        faults += unsupported(tree, row, provider.capabilities, provider.name)
        faults += _port_faults(tx, row)
        faults += _pair_faults(tx, tree, row)
        if not provider.network.takes_any_reference:
            faults += _subnet_faults(tx, caller, row)
    if faults:
        raise Refused(faults)


def limits_of(door: Door) -> Limits:
    known = door.settings
    return Limits(known.members_max, known.listeners_max, known.nested_objects_max)


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


def _subnet_faults(tx: Tx, caller: Caller, row: Row) -> Iterable[Fault]:
    subnet_id = row.subnet_id if isinstance(row, Member) else None
    if subnet_id and not references.subnet_exists(tx, caller, getattr(row, "project_id", ""), subnet_id):
        yield Fault(f"Subnet {subnet_id} not found.", "subnet_id")
