# SPDX-License-Identifier: Apache-2.0
"""How the amphorae of a load balancer are connected: which subnets they are on, and their own addresses there."""

import zlib
from collections.abc import Sequence
from typing import cast
from uuid import uuid4

from caryatid.errors import CaryatidError
from caryatid.model import AMPHORA, NETWORK, PORT, SUBNET
from caryatid.model.amphora import Amphora, Leg
from caryatid.model.consequences import replace
from caryatid.model.network import NAMESPACED, Network, Port, Subnet
from caryatid.model.tree import Tree
from caryatid.plan.keepalived import PRIORITIES
from caryatid.store import rows
from caryatid.store.database import Tx

from .receipt import moment
from .references import first_free

OWN = "amphora"
"""device_owner of a port with an amphora's own address; it goes with the amphora."""
VRRP_IDS = 255
INTERFACE = "eth0"
"""Of the first VIP, in the amphora's namespace."""


class NoAddressError(CaryatidError):
    """An amphora needs an address of its own, and none is free now."""


def legs(tx: Tx, tree: Tree) -> tuple[Leg, ...]:
    """One for each subnet of the load balancer's VIPs that is known here, that of the first VIP first."""
    found: dict[str, Leg] = {}
    for vip in tree.vips:
        known = found.get(vip.subnet_id or "")
        if known is not None:
            found[known.subnet.id] = Leg(known.subnet, known.physical_network, (*known.vips, vip.ip_address))
        elif vip.subnet_id and (document := rows.get(tx, SUBNET, vip.subnet_id)) is not None:
            subnet = cast(Subnet, SUBNET.load(document))
            network = rows.get(tx, NETWORK, subnet.network_id)
            where = cast(Network, NETWORK.load(network)).physical_network if network else ""
            found[subnet.id] = Leg(subnet, where, (vip.ip_address,))
    return tuple(found.values())


def connected(tx: Tx, tree: Tree, amphora: Amphora, shared: Sequence[Leg]) -> tuple[Amphora, tuple[Leg, ...]]:
    """The amphora and its legs. One of a pair has an address of its own on each, written with it.

    Raises NoAddressError; then nothing of the transaction may be kept.
    """
    if amphora.role not in PRIORITIES or not any(leg.subnet.attachment in NAMESPACED for leg in shared):
        return amphora, tuple(shared)
    ports = {document["subnet_id"]: cast(Port, PORT.load(document)) for document in _own(tx, amphora.id)}
    own = [ports.get(leg.subnet.id) or _allocate(tx, tree, amphora, leg.subnet) for leg in shared]
    known = replace(
        amphora,
        vrrp_ip=own[0].ip_address,
        vrrp_port_id=own[0].id,
        vrrp_interface=INTERFACE,
        vrrp_id=1 + zlib.crc32(tree.loadbalancer.id.encode()) % VRRP_IDS,
        vrrp_priority=PRIORITIES[amphora.role],
    )
    if known != amphora:
        rows.change(tx, AMPHORA, known, at=moment())
    return known, tuple(
        Leg(leg.subnet, leg.physical_network, leg.vips, port.ip_address)
        for leg, port in zip(shared, own, strict=True)
    )


def release_own(tx: Tx, amphora_id: str) -> None:
    """The amphora's own addresses are free."""
    rows.delete(tx, PORT, [document["id"] for document in _own(tx, amphora_id)])


def _own(tx: Tx, amphora_id: str) -> list[dict[str, str]]:
    return rows.find(tx, PORT, device_id=amphora_id)


def _allocate(tx: Tx, tree: Tree, amphora: Amphora, subnet: Subnet) -> Port:
    address = first_free(tx, subnet, amphora.id)
    if address is None:
        raise NoAddressError(
            f"Subnet {subnet.id} has no free address for amphora {amphora.id}; widen its allocation pools."
        )
    at = moment()
    port = Port(
        id=str(uuid4()),
        project_id=tree.loadbalancer.project_id,
        name=f"amphora-{amphora.id}",
        created_at=at,
        updated_at=at,
        subnet_id=subnet.id,
        network_id=subnet.network_id,
        ip_address=address,
        device_id=amphora.id,
        device_owner=OWN,
    )
    try:
        rows.insert(tx, PORT, [port])
    except rows.Duplicate:
        raise NoAddressError(f"Address {address} has just been taken.") from None
    return port
