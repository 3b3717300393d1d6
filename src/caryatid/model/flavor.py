# SPDX-License-Identifier: Apache-2.0
"""Providers, and what load balancers are made like (flavors) and where (availability zones)."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from caryatid.errors import Fault

from .cluster import MEMORY_MIB_MIN
from .field import Access, Key, Listed, Ref
from .host import Labels
from .kind import Kind, faults_of
from .resource import Document, Row
from .tls import OLDEST_FIRST
from .types import Bool, Id, Name

Topology = Literal["SINGLE", "ACTIVE_STANDBY"]
JsonText = Annotated[str, Field(max_length=4096)]
UniqueName = Annotated[Name, Field(min_length=1)]


class MachineData(Document):
    """How large a machine is that is made for an amphora; what is null is as the cluster has it (`machine`)."""

    vcpus: Annotated[int, Field(ge=1, le=256)] | None = None
    """Virtual processors."""
    memory_mib: Annotated[int, Field(ge=MEMORY_MIB_MIN, le=1 << 20)] | None = None
    """Memory in MiB."""
    disk_mib: Annotated[int, Field(ge=1, le=1 << 20)] | None = None
    """Disk in MiB."""


class FlavorData(Document):
    """What flavor_data may say to the provider `amphora`."""

    loadbalancer_topology: Topology = "SINGLE"
    """`SINGLE`: one amphora; `ACTIVE_STANDBY`: two that share the VIPs."""
    anti_affinity: Literal["strict", "best-effort"] = "best-effort"
    """Where the amphorae of a pair are. `best-effort`: on two hosts, or on one where there is no other. `strict`: on
    two hosts; until there are two, there is one amphora. Of machines of a cluster: on two nodes."""
    host_labels: Labels = {}
    """Labels that a host must have to carry the amphorae; the availability zone's are added. Without effect where each
    amphora gets a machine of its own."""
    spares: Annotated[int, Field(ge=0, le=100)] = 0
    """Amphorae of this flavor that wait, built, to take the place of others."""
    haproxy_threads: Annotated[int, Field(ge=1, le=64)] | None = None
    """Threads of one HAProxy; null: as many as its host has CPUs."""
    haproxy_maxconn: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """Connections that one HAProxy takes at a time, whatever its listeners allow together; null: what they do."""
    log_flows: bool | None = None
    """Flows are logged; null: as the setting `tenant_log_flows` says."""
    log_format: Annotated[str, Field(max_length=2048)] | None = None
    """Format of a flow; null: as the setting `tenant_log_format` says."""
    machine: MachineData = MachineData()
    """How large machines are that are made for the amphorae: `vcpus`, `memory_mib`, `disk_mib`; what is not said is as
    the cluster has it. Without effect on hosts."""
    compute_flavor: Name | None = None
    """Size of the amphorae elsewhere; taken, and without effect: `machine` says it."""


class ZoneData(Document):
    """What availability_zone_data may say to the provider `amphora`."""

    host_labels: Labels = {}
    """Labels that a host must have to carry the zone's amphorae. Without effect where each gets a machine of its
    own."""
    compute_zone: Name | None = None
    """Name of the cluster in which machines are made for the zone's amphorae; null: any. Without effect on hosts."""


@dataclass(frozen=True)
class Capabilities:
    """What a provider's drivers can do. What is not named here answers 501."""

    listener_protocols: frozenset[str]
    pool_protocols: frozenset[str]
    algorithms: frozenset[str]
    monitor_types: frozenset[str]
    topologies: frozenset[str]
    l7_protocols: frozenset[str]
    """Listener protocols that can have L7 policies."""
    rate_limit_protocols: frozenset[str] = frozenset()
    """Listener protocols that can have rate limits."""
    rate_limit_actions: frozenset[str] = frozenset()
    rate_limit_metrics: frozenset[str] = frozenset()
    rate_limit_windows: int = 0
    """Ways of counting (model.ratelimit.Window) of one listener."""
    datagram_algorithms: frozenset[str] | None = None
    """Those of pools for datagrams; None: as of all others."""
    datagram_flows_max: int | None = None
    """The highest `connection_limit` that a listener for datagrams can have; None: any."""
    datagram_attachments: frozenset[str] | None = None
    """Those of VIPs' subnets on which datagrams are carried; None: all."""
    datagram_families_apart: bool = False
    """Datagrams to an IPv4 VIP get to IPv4 members alone, and so with IPv6."""
    backend_tls: bool = False
    tls_versions: frozenset[str] = frozenset(OLDEST_FIRST)
    tls_version_gaps: bool = False
    """Versions need not be neighbours."""
    flavor_data: type[Document] = Document
    """What flavor_data may say: a class with an attribute for each key. Types and limits are checked when it is said;
    drivers are given what was said, without defaults."""
    zone_data: type[Document] = Document
    """What availability_zone_data may say."""
    reasons: tuple[tuple[str, str], ...] = ()
    """(word, sentence): why something is not supported, where there is more to say."""


def data_faults(schema: type[Document], attribute: str, data: dict[str, Any]) -> Iterator[Fault]:
    """What a provider whose profiles may say what `schema` says cannot take in `data`."""
    known = ", ".join(sorted(schema.model_fields)) or "nothing"
    for name in sorted(set(data) - set(schema.model_fields)):
        yield Fault(f"Validation failure: {attribute} does not know {name}; it may say {known}.", attribute)
    try:
        schema.model_validate({name: value for name, value in data.items() if name in schema.model_fields})
    except ValidationError as error:
        for fault in faults_of(error, attribute):
            yield Fault(fault.message, attribute)


def _object_faults(name: str, text: str) -> Iterator[Fault]:
    try:
        good = isinstance(json.loads(text), dict)
    except ValueError:
        good = False
    if not good:
        yield Fault(f"Validation failure: {text} is not a valid option for {name}: a JSON object is.", name)


class FlavorProfile(Row):
    """What a provider needs to know to make a flavor."""

    name: Annotated[UniqueName, Key(), Listed()]
    """Human-readable."""
    provider_name: Annotated[Name, Listed()]
    """The provider that reads flavor_data."""
    flavor_data: JsonText
    """A JSON object as text; its keys are those of the provider's flavor capabilities."""

    def faults(self) -> Iterator[Fault]:
        yield from _object_faults("flavor_data", self.flavor_data)

    @property
    def data(self) -> dict[str, Any]:
        return dict(json.loads(self.flavor_data))


class Flavor(Row):
    """A kind of load balancer that operators offer."""

    name: Annotated[UniqueName, Key(), Listed()]
    """Unique."""
    description: Name = ""
    """Human-readable."""
    enabled: Annotated[Bool, Access(on_null=False), Listed()] = True
    """New load balancers may ask for it."""
    flavor_profile_id: Annotated[Id, Access("create"), Ref("flavorprofile"), Listed()]
    """What it is made from."""


class AvailabilityZoneProfile(Row):
    """What a provider needs to know to place load balancers in a zone."""

    name: Annotated[UniqueName, Key(), Listed()]
    """Human-readable."""
    provider_name: Annotated[Name, Listed()]
    """The provider that reads availability_zone_data."""
    availability_zone_data: JsonText
    """A JSON object as text; its keys are those of the provider's availability zone capabilities."""

    def faults(self) -> Iterator[Fault]:
        yield from _object_faults("availability_zone_data", self.availability_zone_data)

    @property
    def data(self) -> dict[str, Any]:
        return dict(json.loads(self.availability_zone_data))


class AvailabilityZone(Row):
    """A place that operators offer; known by its name."""

    id: Annotated[Id, Access("generated", shown=False)]
    """Made by the service; the wire knows a zone by its name."""
    name: Annotated[UniqueName, Access("create"), Key(), Listed()]
    """Unique."""
    description: Name = ""
    """Human-readable."""
    enabled: Annotated[Bool, Access(on_null=False), Listed()] = True
    """New load balancers may ask for it."""
    availability_zone_profile_id: Annotated[Id, Access("create"), Ref("availability_zone_profile"), Listed()]
    """What it is made from."""


FLAVORPROFILE = Kind(
    name="flavorprofile",
    model=FlavorProfile,
    title="Flavor Profile",
    path="/lbaas/flavorprofiles",
    plural="flavorprofiles",
    links="flavorprofile_links",
    root=None,
    policy="flavor-profile",
)
FLAVOR = Kind(
    name="flavor",
    model=Flavor,
    title="Flavor",
    path="/lbaas/flavors",
    plural="flavors",
    links="flavors_links",
    root=None,
    unique=(("name",),),
)
AVAILABILITY_ZONE_PROFILE = Kind(
    name="availability_zone_profile",
    model=AvailabilityZoneProfile,
    title="Availability Zone Profile",
    path="/lbaas/availabilityzoneprofiles",
    plural="availability_zone_profiles",
    links="availability_zone_profile_links",
    root=None,
    policy="availability-zone-profile",
)
AVAILABILITY_ZONE = Kind(
    name="availability_zone",
    model=AvailabilityZone,
    title="Availability Zone",
    path="/lbaas/availabilityzones",
    plural="availability_zones",
    links="availability_zones_links",
    root=None,
    policy="availability-zone",
    key="name",
    unique=(("name",),),
)
