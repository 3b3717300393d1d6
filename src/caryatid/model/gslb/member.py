# SPDX-License-Identifier: Apache-2.0
"""Members of a gslb's pool: what a name can be answered with."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from caryatid.errors import Fault
from caryatid.model.field import Access, Key, Listed, Names, Ref
from caryatid.model.kind import Kind
from caryatid.model.resource import Dated, Described, Document, Owned
from caryatid.model.status import ProvisioningStatus
from caryatid.model.types import Address, Bool, HostName, Id, Line, Port, Tags, Time

from .words import GslbStatus, Priority, Weight

KOSMOS = {"IP": "ip", "NEUTRON_LBAAS_V2": "octavia_lb", "NEUTRON_PORT": "neutron_port"}
"""What Kosmos calls types, in capitals or not."""


def _todays(value: object) -> object:
    return KOSMOS.get(value.upper(), value) if isinstance(value, str) else value


MemberType = Annotated[str, Field(max_length=64, pattern=r"^[a-z][a-z0-9_]*$"), BeforeValidator(_todays)]
"""`ip`, `hostname`, `load_balancer`, `octavia_lb`, `neutron_port`, or a plugin's."""
ServeMode = Literal["obey", "always", "never", "obey_sticky_down"]
BUILT_IN = ("ip", "hostname", "load_balancer", "octavia_lb", "neutron_port")
NEEDED = {
    "ip": ("address",),
    "hostname": ("hostname",),
    "load_balancer": ("loadbalancer_id",),
    "octavia_lb": ("loadbalancer_id", "region_id"),
    "neutron_port": ("port_id", "region_id"),
}
"""What a member of each type cannot be without."""


class Seen(Document):
    """What one region says of a member."""

    region_id: Id | None
    """null: this installation."""
    monitor_id: Id | None
    """null: what a load balancer or a port is said to be by whoever has it."""
    vote: Literal["UP", "DOWN", "UNKNOWN"]
    at: Time
    """When that was last confirmed. UTC."""
    since: Time
    """When it became so. UTC."""
    reason: str = ""
    rtt_ms: float | None = None


class GslbMember(Described, Owned, Dated):
    """Something that a name can be answered with."""

    pool_id: Annotated[Id, Access("create"), Ref("gslb_pool", shown=None)]
    """The pool that it is in."""
    type: Annotated[MemberType, Access("create"), Listed()] = "ip"
    """What it is: an address, a name (answered as CNAME), a load balancer of ours (here, or in another region), one of
    an Octavia elsewhere, a port of a Neutron elsewhere, or what a plugin makes of it."""
    address: Annotated[Address | None, Key(64), Listed()] = None
    """Type `ip`: the address that is answered. Others: what was found out, if it is one."""
    hostname: Annotated[HostName | None, Listed()] = None
    """Type `hostname`: the name that is answered."""
    loadbalancer_id: Annotated[Id | None, Access("create"), Key(36)] = None
    """Type `load_balancer` and `octavia_lb`: whose VIPs are answered."""
    region_id: Annotated[Id | None, Access("create"), Key(36), Names("gslb_region")] = None
    """The region that it is in. `octavia_lb` and `neutron_port` need one; null with `load_balancer`: this one."""
    port_id: Annotated[Id | None, Access("create")] = None
    """Type `neutron_port`: whose addresses are answered."""
    port: Port | None = None
    """What monitors without a port of their own speak to."""
    monitor_address: Address | None = None
    """Where it is checked, if not at its address."""
    monitor_port: Port | None = None
    """The port of it."""
    admin_state_up: Bool = True
    """False takes it out of answers."""
    weight: Weight = 1
    """Its part of its pool; 0: nobody new is sent there."""
    priority: Priority = 0
    """Pools with member_policy `failover`: the lowest that is well."""
    backup: Bool = False
    """Only used when fewer others are well than the pool needs."""
    serve_mode: ServeMode = "obey"
    """Whether its health decides: `obey`; `always`: it is answered anyway; `never`; `obey_sticky_down`: once down, it
    stays out until somebody changes it."""
    drain_until: Time | None = None
    """From now on nobody new is sent there, until this time. UTC."""
    tags: Tags = []
    """Short labels."""
    parameters: Annotated[dict[str, Line], Field(max_length=32)] = {}
    """What the plugin of its type wants to know."""
    provisioning_status: Annotated[ProvisioningStatus, Access("generated"), Listed()] = "ACTIVE"
    """Whether all gslbs that use it have taken it as it is shown."""
    operating_status: Annotated[GslbStatus, Access("generated"), Listed()] = "UNKNOWN"
    """Whether it is well, as enough regions see it."""
    status_reason: Annotated[str | None, Access("generated")] = None
    """Why it is not."""
    per_region: Annotated[list[Seen], Access("generated")] = []
    """What each region says of it, by each monitor."""

    def faults(self) -> Iterator[Fault]:
        for wanted in NEEDED.get(self.type, ()):
            if getattr(self, wanted) is None:
                yield Fault(f"Validation failure: a member of type {self.type} needs {wanted}.", wanted)


GSLB_MEMBER = Kind(
    name="gslb_member",
    model=GslbMember,
    title="GSLB Member",
    envelope="pool_member",
    path="/gslb/v1/pools/{pool_id}/pool_members",
    plural="pool_members",
    links="pool_members_links",
    parent="pool_id",
    root=None,
    counted=True,
)
