# SPDX-License-Identifier: Apache-2.0
"""The amphora: one HAProxy for one load balancer, run by an agent."""

from dataclasses import dataclass
from typing import Annotated

from .cluster import MachineWish
from .field import Access, Key, Listed, Ref
from .host import Host
from .kind import Kind
from .network import Subnet
from .resource import Dated
from .status import AmphoraRole, AmphoraStatus
from .types import Address, Bool, Id, Int, Name, Time

GENERATED = Access("generated")


class Amphora(Dated):
    """One HAProxy (and keepalived) instance for one load balancer. Made and replaced by the service."""

    loadbalancer_id: Annotated[Id | None, GENERATED, Ref("loadbalancer"), Listed()] = None
    """The load balancer that it serves; null: it is a spare."""
    compute_id: Annotated[Name | None, GENERATED, Key(), Listed()] = None
    """What the compute driver calls it: the host it is on, or its own machine."""
    lb_network_ip: Annotated[Address | None, GENERATED] = None
    """Address of the agent that runs it."""
    vrrp_ip: Annotated[Address | None, GENERATED] = None
    """Its own address on the VIP's subnet."""
    ha_ip: Annotated[Address | None, GENERATED] = None
    """The VIP."""
    vrrp_port_id: Annotated[Id | None, GENERATED] = None
    """Port of its own address."""
    ha_port_id: Annotated[Id | None, GENERATED] = None
    """Port of the VIP."""
    cert_expiration: Annotated[Time | None, GENERATED] = None
    """When the certificate of its agent ends. UTC."""
    cert_busy: Annotated[Bool, GENERATED] = False
    """The certificate is being replaced."""
    role: Annotated[AmphoraRole | None, GENERATED, Listed()] = None
    """Its part in a pair: as VRRP has it or, where that is not known, as it was made. FAULT: it cannot have the VIPs
    now."""
    status: Annotated[AmphoraStatus, GENERATED, Key(16), Listed()] = "PENDING_CREATE"
    """How far it is. `READY`: it is there, and serves nobody yet."""
    spare_of: Annotated[Id | None, Access("generated", shown=False)] = None
    """The flavor that it waits for, of a spare."""
    vrrp_interface: Annotated[Name | None, GENERATED] = None
    """Interface of the VIP."""
    vrrp_id: Annotated[Int | None, GENERATED] = None
    """VRRP router id."""
    vrrp_priority: Annotated[Int | None, GENERATED] = None
    """VRRP priority."""
    cached_zone: Annotated[Name | None, GENERATED] = None
    """Zone in which it was made."""
    image_id: Annotated[Name | None, GENERATED] = None
    """Image it was made from."""
    compute_flavor: Annotated[Name | None, GENERATED] = None
    """Size it was made with."""


AMPHORA = Kind(
    name="amphora",
    model=Amphora,
    title="Amphora",
    path="/octavia/amphorae",
    plural="amphorae",
    links="amphorae_links",
    root=None,
)


@dataclass(frozen=True)
class Leg:
    """An amphora's part in one subnet: the VIPs that it may have there, and its own address beside them."""

    subnet: Subnet
    physical_network: str
    """The uplink of the subnet's network, by the name that hosts give it."""
    vips: tuple[str, ...]
    address: str | None = None
    """Its own, by which the amphorae of a pair speak with each other and with members; None: it has the VIPs alone."""


@dataclass(frozen=True)
class Placed:
    """An amphora and the host that runs it: what drivers are given."""

    amphora: Amphora
    host: Host | None = None
    legs: tuple[Leg, ...] = ()
    """One for each subnet of the load balancer's VIPs; the first is that of the first VIP."""
    peers: tuple[Amphora, ...] = ()
    """The load balancer's other amphorae that stay."""
    machine: MachineWish | None = None
    """What is wanted of its machine, where one is made for it."""

    @property
    def id(self) -> str:
        return self.amphora.id


@dataclass(frozen=True)
class Stamp:
    """When a wish was made and by whom it is carried out: an agent refuses anything lower than it has seen."""

    fence: int
    generation: int
