# SPDX-License-Identifier: Apache-2.0
"""Networks, subnets and ports: where load balancers' addresses come from when no cloud provides them."""

from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from typing import Annotated, Literal

from pydantic import Field

from caryatid.errors import Fault

from .field import Access, Key, Listed, Ref
from .kind import Kind
from .resource import Dated, Described, Document, Owned
from .types import Address, Bool, Cidr, Id, Name, ProjectId, Tags

Attachment = Literal["loopback", "uplink", "routed", "host", "bgp", "noop"]
NAMESPACED = frozenset({"uplink", "routed"})
"""Attachments that need a network namespace on the amphora's host, and so an agent that may make one."""


class AllocationPool(Document):
    """A range of addresses that may be given out, ends included."""

    start: Address
    end: Address


class _Shared(Described, Owned, Dated):
    project_id: Annotated[ProjectId, Access("create"), Key(36), Listed()]
    """The project that owns it; default: the caller's."""
    tags: Tags = []
    """Short labels."""


class Network(_Shared):
    """A set of subnets that are one broadcast domain."""

    shared: Annotated[Bool, Access(on_null=False), Listed()] = False
    """Every project may use it."""
    physical_network: Annotated[Name, Access("create"), Listed()] = "default"
    """The uplink on which hosts find it, by the name that their agents give it (setting `agent_uplinks`)."""


class Subnet(_Shared):
    """A range of addresses on a network."""

    network_id: Annotated[Id, Access("create"), Ref("network"), Listed()]
    """The network it belongs to."""
    cidr: Annotated[Cidr, Access("create"), Listed()]
    """The range."""
    gateway_ip: Annotated[Address | None, Access()] = None
    """Where what is not on the subnet is reached."""
    allocation_pools: Annotated[list[AllocationPool], Field(max_length=64)] = []
    """Addresses that may be given out unasked; []: all but the first and last of the range, and the gateway."""
    attachment: Annotated[Attachment, Access("create"), Listed()] = "loopback"
    """How its addresses reach the world. `loopback`: they are this machine's own, within 127.0.0.0/8. `uplink`: each
    amphora is on the physical network itself. `routed`: the host routes each address to its amphora. `host`: they are
    addresses that the host has already. `bgp`: announced by the host; not built yet."""
    proxy_arp: Annotated[Bool, Access(on_null=False)] = False
    """Attachment `routed`: the host answers ARP (IPv6: NDP) for its addresses on the uplink, so that nobody needs a
    route."""

    def faults(self) -> Iterator[Fault]:
        network = ip_network(self.cidr)
        for name, address in self._addresses():
            if ip_address(address) not in network:
                yield Fault(f"Validation failure: {address} is not within {self.cidr}.", name)
        for pool in self.allocation_pools:
            start, end = ip_address(pool.start), ip_address(pool.end)
            if start.version == end.version and int(start) > int(end):
                yield Fault(f"Validation failure: {pool.start} comes after {pool.end}.", "allocation_pools")
        if self.attachment == "loopback" and not network.is_loopback:
            yield Fault(
                f"Validation failure: {self.cidr} is not within 127.0.0.0/8, which attachment loopback needs.", "cidr"
            )

    def _addresses(self) -> Iterator[tuple[str, str]]:
        if self.gateway_ip:
            yield "gateway_ip", self.gateway_ip
        for pool in self.allocation_pools:
            yield "allocation_pools", pool.start
            yield "allocation_pools", pool.end


class Port(_Shared):
    """An address of a subnet, and who has it."""

    subnet_id: Annotated[Id, Access("create"), Ref("subnet"), Listed()]
    """The subnet of the address."""
    network_id: Annotated[Id, Access("generated"), Ref("network"), Listed()]
    """The network of the subnet."""
    ip_address: Annotated[Address, Access("create"), Key(64), Listed()]
    """The address; default: a free one."""
    device_id: Annotated[Name, Access("generated"), Key(), Listed()] = ""
    """What uses the address; empty: nothing."""
    sharer: Annotated[Name, Access("generated", shown=False), Key(36)] = ""
    """On a subnet of attachment `host`: the load balancer, if it shares the address with those who ask for it by name.
    Empty: the address is nobody else's."""
    device_owner: Annotated[Name, Access("generated")] = ""
    """What kind of thing that is: `loadbalancer`, or empty."""


NETWORK = Kind(
    name="network",
    model=Network,
    title="Network",
    path="/networks",
    plural="networks",
    links="networks_links",
    root=None,
)
SUBNET = Kind(
    name="subnet", model=Subnet, title="Subnet", path="/subnets", plural="subnets", links="subnets_links", root=None
)
PORT = Kind(
    name="port",
    model=Port,
    title="Port",
    path="/ports",
    plural="ports",
    links="ports_links",
    root=None,
    unique=(("subnet_id", "ip_address", "sharer"),),
)
