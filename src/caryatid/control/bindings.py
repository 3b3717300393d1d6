# SPDX-License-Identifier: Apache-2.0
"""Addresses that a host has anyhow (attachment `host`) may be shared by load balancers: not so their ports."""

from collections.abc import Iterable, Iterator, Sequence

from caryatid.errors import Conflict, Fault
from caryatid.model import SUBNET
from caryatid.model.listener import Listener
from caryatid.model.loadbalancer import Vip
from caryatid.model.resource import Row
from caryatid.model.tree import Tree
from caryatid.store import bindings, rows
from caryatid.store.bindings import Place
from caryatid.store.database import Tx


def faults(tx: Tx, tree: Tree, row: Row) -> Iterator[Fault]:
    """Which ports of a listener another load balancer has."""
    if isinstance(row, Listener):
        for place in _places(_shared(tx, tree.vips), row):
            if bindings.holder(tx, place) not in (None, tree.loadbalancer.id):
                yield Fault(_taken(place), "protocol_port", 409)


def bind(tx: Tx, tree: Tree, new: Iterable[Row]) -> None:
    """The new listeners have their ports, until they are gone. Raises Conflict if another was faster."""
    listeners = [row for row in new if isinstance(row, Listener)]
    addresses = _shared(tx, tree.vips) if listeners else ()
    for listener in listeners:
        for place in _places(addresses, listener):
            if not bindings.bind(tx, place, listener.id, tree.loadbalancer.id):
                raise Conflict(_taken(place))


def _shared(tx: Tx, vips: Sequence[Vip]) -> list[str]:
    """Those of the addresses that other load balancers may have too."""
    return [
        vip.ip_address
        for vip in vips
        if (subnet := rows.get(tx, SUBNET, vip.subnet_id or "")) and subnet["attachment"] == "host"
    ]


def _places(addresses: Iterable[str], listener: Listener) -> list[Place]:
    return [Place(address, listener.protocol_port, listener.l4) for address in addresses]


def _taken(place: Place) -> str:
    return (
        f"Another load balancer is already using protocol {place.protocol} and protocol_port {place.port} of address "
        f"{place.address}"
    )
