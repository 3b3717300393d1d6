# SPDX-License-Identifier: Apache-2.0
"""The load balancer: the root of everything regional, and the addresses it answers on."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Literal

from caryatid.errors import Fault

from .field import Access, Back, Key, Listed, Ref
from .kind import Kind
from .resource import Described, Document, Provisioned
from .types import Address, Id, Name, ProjectId


class AdditionalVip(Document):
    """A further address of the load balancer, on another subnet of the same network."""

    subnet_id: Id
    ip_address: Address | None = None
    port_id: Annotated[Id | None, Access("generated")] = None


@dataclass(frozen=True)
class Vip:
    """An address on which a load balancer answers (seed 003)."""

    ip_address: str
    port_id: str | None
    subnet_id: str | None
    network_id: str | None


class LoadBalancer(Described, Provisioned):
    """Takes traffic on one or more virtual IP addresses (VIPs) and spreads it by what its listeners say."""

    project_id: Annotated[ProjectId, Access("create"), Key(36), Listed()]
    """The project that owns it; default: the caller's."""
    vip_address: Annotated[Address | None, Access("create"), Key(64), Listed()] = None
    """The address to answer on; default: a free one of the subnet."""
    vip_port_id: Annotated[Id | None, Access("create")] = None
    """The port that holds the address; default: one is made."""
    vip_subnet_id: Annotated[Id | None, Access("create"), Key(36)] = None
    """The subnet of the address. One of port, subnet and network must be given."""
    vip_network_id: Annotated[Id | None, Access("create"), Key(36)] = None
    """The network of the address; its first subnet with room is taken."""
    vip_qos_policy_id: Id | None = None
    """Quality-of-service policy of the VIP port, where the network driver has them."""
    vip_sg_ids: Annotated[list[Id], Access(rule="vip_sg_ids")] = []
    """Security groups of the VIP port, where the network driver has them; excludes allowed_cidrs."""
    vip_vnic_type: Annotated[Literal["normal", "direct"], Access("generated")] = "normal"
    """How the VIP port is attached; from the flavor."""
    additional_vips: Annotated[list[AdditionalVip], Access("create")] = []
    """Further addresses, each on a subnet of its own in the same network."""
    provider: Annotated[Name, Access("create"), Listed()] = "amphora"
    """Who carries it out."""
    flavor_id: Annotated[Id | None, Access("create"), Ref("flavor")] = None
    """What it is made like (topology, size)."""
    availability_zone: Annotated[Name | None, Access("create"), Key()] = None
    """Where it is made, by name."""
    listeners: Annotated[list[Id], Access("generated"), Back("listener", "loadbalancer_id", nested="listeners")] = []
    """Its listeners."""
    pools: Annotated[list[Id], Access("generated"), Back("pool", "loadbalancer_id", nested="pools")] = []
    """Its pools."""

    def faults(self) -> Iterator[Fault]:
        if not (self.vip_port_id or self.vip_network_id or self.vip_subnet_id):
            yield Fault(
                "Validation failure: VIP must contain one of: vip_port_id, vip_network_id, vip_subnet_id.",
                "vip_subnet_id",
            )
        subnets = [vip.subnet_id for vip in self.additional_vips]
        if len(set(subnets)) < len(subnets) or self.vip_subnet_id in subnets:
            yield Fault(
                "Validation failure: Duplicate VIP subnet(s) specified. Only one IP can be bound per subnet.",
                "additional_vips",
            )
        if self.vip_sg_ids and self.vip_vnic_type == "direct":
            yield Fault("Validation failure: VIP Security Groups are not allowed with VNIC direct type", "vip_sg_ids")

    @property
    def vips(self) -> tuple[Vip, ...]:
        """The addresses it answers on, the first one first; empty while it has none."""
        if self.vip_address is None:
            return ()
        first = Vip(self.vip_address, self.vip_port_id, self.vip_subnet_id, self.vip_network_id)
        others = (
            Vip(vip.ip_address, vip.port_id, vip.subnet_id, self.vip_network_id)
            for vip in self.additional_vips
            if vip.ip_address
        )
        return (first, *others)


LOADBALANCER = Kind(
    name="loadbalancer",
    model=LoadBalancer,
    title="Load Balancer",
    path="/lbaas/loadbalancers",
    plural="loadbalancers",
    links="loadbalancers_links",
    counted=True,
)
