# SPDX-License-Identifier: Apache-2.0
"""What a wish refers to outside its own tree: flavors, zones, subnets, ports, and the address it gets.

What comes from bodies is answered 400 when it is not there, or is another project's (octavia.md §9.6).
"""

import hashlib
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any, cast
from uuid import NAMESPACE_URL, uuid4, uuid5

from caryatid.errors import Conflict, Fault, Refused
from caryatid.model import (
    AVAILABILITY_ZONE,
    AVAILABILITY_ZONE_PROFILE,
    FLAVOR,
    FLAVORPROFILE,
    HOST,
    NETWORK,
    PORT,
    SUBNET,
)
from caryatid.model.consequences import replace
from caryatid.model.flavor import AvailabilityZoneProfile, Flavor, FlavorProfile
from caryatid.model.host import Host
from caryatid.model.kind import Kind
from caryatid.model.loadbalancer import AdditionalVip, LoadBalancer
from caryatid.model.network import Port, Subnet
from caryatid.model.policy import Caller
from caryatid.store import hosts as host_store
from caryatid.store import rows
from caryatid.store.database import Tx

from .door import Provider

MADE = "loadbalancer"
"""device_owner of a port that came with a load balancer and goes with it."""
GIVEN = "loadbalancer:given"
"""device_owner of a user's port that a load balancer uses; never deleted by us (octavia.md §9.18)."""
PROBES = 32
WALK_MAX = 1 << 16
Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


@dataclass(frozen=True)
class Vips:
    """A load balancer with its addresses, and the ports that must be written with it."""

    loadbalancer: LoadBalancer
    new: tuple[Port, ...] = ()
    taken: tuple[Port, ...] = ()


def profile_data(tx: Tx, row: LoadBalancer) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """What the load balancer's flavor and zone say. Raises Refused when one is unknown or disabled."""
    faults = []
    flavor: Mapping[str, Any] = {}
    zone: Mapping[str, Any] = {}
    if row.flavor_id:
        document = rows.get(tx, FLAVOR, row.flavor_id)
        if document is None:
            faults.append(Fault("Validation failure: Invalid flavor_id.", "flavor_id"))
        elif not cast(Flavor, FLAVOR.load(document)).enabled:
            faults.append(Fault(f"The selected flavor is not allowed in this deployment: {row.flavor_id}", "flavor_id"))
        else:
            profile = rows.get(tx, FLAVORPROFILE, document["flavor_profile_id"])
            flavor = cast(FlavorProfile, FLAVORPROFILE.load(profile)).data if profile else {}
            faults += _provider_faults("Flavor", row.flavor_id, profile, row.provider, "flavor_id")
    if row.availability_zone:
        zone, wrong = _zone(tx, row)
        faults += wrong
    if faults:
        raise Refused(faults)
    return flavor, zone


def _zone(tx: Tx, row: LoadBalancer) -> tuple[Mapping[str, Any], list[Fault]]:
    name = row.availability_zone or ""
    document = rows.get(tx, AVAILABILITY_ZONE, name)
    if document is None or not document["enabled"]:
        return {}, [
            Fault(f"The selected availability zone is not allowed in this deployment: {name}", "availability_zone")
        ]
    profile = rows.get(tx, AVAILABILITY_ZONE_PROFILE, document["availability_zone_profile_id"])
    data = cast(AvailabilityZoneProfile, AVAILABILITY_ZONE_PROFILE.load(profile)).data if profile else {}
    return data, list(_provider_faults("Availability zone", name, profile, row.provider, "availability_zone"))


def _provider_faults(
    title: str, key: str, profile: Mapping[str, Any] | None, provider: str, attribute: str
) -> Iterator[Fault]:
    same = {"amphora", "octavia"}
    named = profile["provider_name"] if profile else provider
    if named != provider and not {named, provider} <= same:
        yield Fault(f"{title} '{key}' is not compatible with provider '{provider}'", attribute)


def vips(tx: Tx, caller: Caller, provider: Provider, row: LoadBalancer) -> Vips:
    """`row` with its addresses chosen, and its ports.

    Raises Refused for what is not there (or not the caller's), Conflict for an address that is taken.
    """
    if provider.network.takes_any_reference and not _known(tx, row):
        return Vips(_imagined(row))
    if row.vip_port_id:
        return _on_port(tx, caller, row)
    subnet = _subnet(tx, caller, row)
    port = _new_port(tx, row, subnet, row.vip_address)
    new = [port]
    additional = []
    for vip in row.additional_vips:
        other = _own_subnet(tx, caller, row, vip.subnet_id, "additional_vips")
        if other.network_id != subnet.network_id:
            raise Refused(
                [Fault("Validation failure: All VIP subnets must belong to the same network.", "additional_vips")]
            )
        extra = _new_port(tx, row, other, vip.ip_address)
        new.append(extra)
        additional.append(AdditionalVip(subnet_id=other.id, ip_address=extra.ip_address, port_id=extra.id))
    placed = replace(
        row,
        vip_address=port.ip_address,
        vip_port_id=port.id,
        vip_subnet_id=subnet.id,
        vip_network_id=subnet.network_id,
        additional_vips=additional,
    )
    return Vips(placed, new=tuple(new))


def subnet_exists(tx: Tx, caller: Caller, project_id: str, subnet_id: str) -> bool:
    return _visible(tx, caller, project_id, SUBNET, subnet_id) is not None


def served_on(tx: Tx, subnet_id: str) -> set[str]:
    """Load balancers that have a VIP on the subnet."""
    ports = rows.find(tx, PORT, subnet_id=subnet_id)
    return {port["device_id"] for port in ports if port["device_owner"] in (MADE, GIVEN)}


def free_addresses(subnet: Subnet, seed: str) -> Iterator[str]:
    """Addresses of `subnet` that may be given out unasked, in an order of its own for each `seed`.

    First some at random, so that a large subnet is not walked through; then all.
    """
    chance = random.Random(seed)  # noqa: S311  spreads, protects nothing
    network = ip_network(subnet.cidr)
    address: type[Address] = type(network.network_address)
    ranges = _ranges(subnet, network)
    sizes = [last - first + 1 for first, last in ranges]
    for _ in range(PROBES):
        first, last = chance.choices(ranges, sizes)[0]
        yield str(address(chance.randint(first, last)))
    for first, last in ranges:
        for number in range(first, min(last, first + WALK_MAX) + 1):
            yield str(address(number))


def _addresses_of_hosts(tx: Tx, subnet: Subnet) -> Iterator[str]:
    """Addresses of `subnet` that may be given out unasked, and that a host has which takes new amphorae."""
    network = ip_network(subnet.cidr)
    ranges = _ranges(subnet, network)
    hosts = [cast(Host, HOST.load(document)) for document in rows.find(tx, HOST)]
    for address in [ip_address(text) for host in hosts if host.enabled for text in host.addresses]:
        if address in network and any(first <= int(address) <= last for first, last in ranges):
            yield str(address)


def _ranges(subnet: Subnet, network: Network) -> list[tuple[int, int]]:
    if subnet.allocation_pools:
        return [(int(ip_address(pool.start)), int(ip_address(pool.end))) for pool in subnet.allocation_pools]
    first, last = int(network.network_address), int(network.broadcast_address)
    return [(first + 1, last - 1)] if last - first > 1 else [(first, last)]


def _known(tx: Tx, row: LoadBalancer) -> bool:
    wanted = ((PORT, row.vip_port_id), (SUBNET, row.vip_subnet_id), (NETWORK, row.vip_network_id))
    return all(rows.place(tx, kind, key) is not None for kind, key in wanted if key)


def _imagined(row: LoadBalancer) -> LoadBalancer:
    """Addresses for references that nobody knows (noop): the same for the same load balancer, from 198.18.0.0/15."""
    number = int.from_bytes(hashlib.sha256(row.id.encode()).digest()[:4]) % (1 << 17)
    address = row.vip_address or str(ip_address("198.18.0.0") + number)
    additional = [
        AdditionalVip(
            subnet_id=vip.subnet_id,
            ip_address=vip.ip_address or str(ip_address("198.18.0.0") + (number + place) % (1 << 17)),
            port_id=str(uuid4()),
        )
        for place, vip in enumerate(row.additional_vips, start=1)
    ]
    subnet = row.vip_subnet_id or str(uuid5(NAMESPACE_URL, row.vip_network_id or row.vip_port_id or row.id))
    return replace(
        row,
        vip_address=address,
        vip_port_id=row.vip_port_id or str(uuid4()),
        vip_subnet_id=subnet,
        additional_vips=additional,
    )


def _on_port(tx: Tx, caller: Caller, row: LoadBalancer) -> Vips:
    document = _visible(tx, caller, row.project_id, PORT, cast(str, row.vip_port_id))
    if document is None:
        raise Refused([Fault(f"Port {row.vip_port_id} not found.", "vip_port_id")])
    port = cast(Port, PORT.load(document))
    faults = []
    if port.device_id:
        faults.append(
            Fault(f"Validation failure: Port {port.id} is already used by device {port.device_id}", "vip_port_id")
        )
    if row.vip_address and row.vip_address != port.ip_address:
        faults.append(
            Fault("Validation failure: Specified VIP address not found on the specified VIP port.", "vip_address")
        )
    if row.vip_subnet_id and row.vip_subnet_id != port.subnet_id:
        faults.append(Fault("Validation failure: Specified VIP subnet is not that of the VIP port.", "vip_subnet_id"))
    if row.additional_vips:
        faults.append(Fault("Validation failure: additional_vips do not go with vip_port_id here.", "additional_vips"))
    if faults:
        raise Refused(faults)
    placed = replace(row, vip_address=port.ip_address, vip_subnet_id=port.subnet_id, vip_network_id=port.network_id)
    return Vips(placed, taken=(replace(port, device_id=row.id, device_owner=GIVEN),))


def _subnet(tx: Tx, caller: Caller, row: LoadBalancer) -> Subnet:
    if row.vip_subnet_id:
        subnet = _own_subnet(tx, caller, row, row.vip_subnet_id, "vip_subnet_id")
        if row.vip_network_id and subnet.network_id != row.vip_network_id:
            raise Refused([Fault("Validation failure: The VIP subnet is not on the VIP network.", "vip_subnet_id")])
        return subnet
    network_id = cast(str, row.vip_network_id)
    if _visible(tx, caller, row.project_id, NETWORK, network_id) is None:
        raise Refused([Fault(f"Network {network_id} not found.", "vip_network_id")])
    for document in rows.find(tx, SUBNET, network_id=network_id):
        subnet = cast(Subnet, SUBNET.load(document))
        if row.vip_address is None and first_free(tx, subnet, row.id) is not None:
            return subnet
        if row.vip_address is not None and ip_address(row.vip_address) in ip_network(subnet.cidr):
            return subnet
    if row.vip_address:
        why = "Supplied network does not contain a subnet for VIP address specified."
    else:
        why = "Subnet(s) in the supplied network do not contain enough available IPs."
    raise Refused([Fault(f"Validation failure: {why}", "vip_network_id")])


def _own_subnet(tx: Tx, caller: Caller, row: LoadBalancer, subnet_id: str, attribute: str) -> Subnet:
    document = _visible(tx, caller, row.project_id, SUBNET, subnet_id)
    if document is None:
        raise Refused([Fault(f"Subnet {subnet_id} not found.", attribute)])
    return cast(Subnet, SUBNET.load(document))


def _visible(tx: Tx, caller: Caller, project_id: str, kind: Kind, key: str) -> Mapping[str, Any] | None:
    """The document, if the project may use it: its own, or a shared network or a subnet of one. A port is never."""
    document = rows.get(tx, kind, key)
    if document is None or document["project_id"] in (project_id, caller.project_id):
        return document
    if kind is PORT:
        return None
    network = document if kind is NETWORK else rows.get(tx, NETWORK, document["network_id"])
    return document if network is not None and network["shared"] else None


def first_free(tx: Tx, subnet: Subnet, seed: str) -> str | None:
    """A free address of `subnet`, or None; whether it stays free, the constraint on ports says. Where addresses are
    those of hosts (attachment `host`), it is one that a host has."""
    known = _addresses_of_hosts(tx, subnet) if subnet.attachment == "host" else free_addresses(subnet, seed)
    for address in known:
        if address != subnet.gateway_ip and not rows.count(tx, PORT, subnet_id=subnet.id, ip_address=address):
            return address
    return None


def _new_port(tx: Tx, row: LoadBalancer, subnet: Subnet, wanted: str | None) -> Port:
    if wanted and ip_address(wanted) not in ip_network(subnet.cidr):
        raise Refused([Fault(f"Validation failure: {wanted} is not within {subnet.cidr}.", "vip_address")])
    shares = subnet.attachment == "host"
    if shares:
        host_store.lock(tx)  # one who shares because it asks, and one who is given what is free, do not get the same
    there = rows.find(tx, PORT, subnet_id=subnet.id, ip_address=wanted) if wanted else []
    if not all(port["sharer"] for port in there):
        raise Conflict(f"VIP address {wanted} is already in use on subnet {subnet.id}.")
    address = wanted or first_free(tx, subnet, row.id)
    if address is None:
        raise Refused(
            [
                Fault(
                    "Validation failure: Subnet(s) in the supplied network do not contain enough available IPs.",
                    "vip_subnet_id",
                )
            ]
        )
    return Port(
        id=str(uuid4()),
        project_id=row.project_id,
        name=f"vip-{row.id}",
        created_at=row.created_at,
        updated_at=row.created_at,
        subnet_id=subnet.id,
        network_id=subnet.network_id,
        ip_address=address,
        sharer=row.id if shares else "",
        device_id=row.id,
        device_owner=MADE,
    )
