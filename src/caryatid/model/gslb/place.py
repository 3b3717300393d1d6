# SPDX-License-Identifier: Apache-2.0
"""Where names are answered and from where members are checked: regions, DNS backends, zones, shared geo rules."""

from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import Field

from caryatid.errors import Fault
from caryatid.model.field import Access, Key, Listed, Ref, Secret
from caryatid.model.kind import Kind
from caryatid.model.resource import Assigned, Dated, Described, Document
from caryatid.model.types import Address, Bool, Cidr, Id, Int, Line, Port, Url

from .gslb import GeoRule
from .words import Fqdn, Latitude, Longitude, SteeringPolicy

BackendDriver = Annotated[str, Field(max_length=64, pattern=r"^[a-z][a-z0-9_]*$")]
"""Name of a DNS driver (entry points `caryatid.dns`)."""


class GslbRegion(Described, Dated):
    """A place that members are checked from, and that has load balancers."""

    name: Annotated[str, Access("create"), Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"), Key(), Listed()]
    """Its name, which the certificates of its checkers bear."""
    enabled: Annotated[Bool, Listed()] = True
    """False: nobody checks from there, and what was found there does not count."""
    latitude: Latitude | None = None
    """Degrees north."""
    longitude: Longitude | None = None
    """Degrees east."""
    source_cidrs: Annotated[list[Cidr], Field(max_length=64)] = []
    """Where checks come from: what members' firewalls must let in."""
    octavia_url: Url | None = None
    """Of the Octavia there, of which load balancers can be members (type `octavia_lb`): without its version."""
    neutron_url: Url | None = None
    """Of the Neutron there, of which ports can be members (type `neutron_port`): without its version."""
    checkers: Annotated[Int, Access("generated"), Listed()] = 0
    """Checkers that have been heard of lately."""
    seen_at: Annotated[str | None, Access("generated")] = None
    """When the last one was. UTC."""

    def faults(self) -> Iterator[Fault]:
        if (self.latitude is None) != (self.longitude is None):
            yield Fault("Validation failure: latitude and longitude are given together.", "latitude")


class NameServer(Document):
    """One that answers for the zones of a backend, and is asked after each change."""

    address: Address
    port: Port = 53


class GslbBackend(Described, Dated):
    """DNS servers, and how they are told what to answer."""

    driver: Annotated[BackendDriver, Access("create"), Listed()]
    """How: `powerdns`, `rfc2136`, `designate`, `noop`."""
    url: Url | None = None
    """Of the API (powerdns, designate)."""
    server: Address | None = None
    """That takes updates (rfc2136)."""
    port: Port = 53
    """Of that."""
    credentials: Annotated[dict[str, Line], Secret(), Field(max_length=16)] = {}
    """What the driver shows: `api_key`; `key_name`, `key_secret`, `key_algorithm`; …. Kept encrypted."""
    options: Annotated[dict[str, Any], Field(max_length=32)] = {}
    """What else the driver wants to know (reference: DNS backends)."""
    name_servers: Annotated[list[NameServer], Field(max_length=32)] = []
    """Asked after each change whether they answer so; []: nobody is, and a change counts when it was taken."""
    policies: Annotated[list[SteeringPolicy], Access("generated")] = []
    """What its servers can do."""


class GslbZone(Described, Assigned, Dated):
    """A zone in which names are answered."""

    name: Annotated[Fqdn, Access("create"), Key(), Listed()]
    """Its name."""
    backend_id: Annotated[Id, Access("create"), Ref("gslb_backend"), Listed()]
    """Who answers for it."""
    shared: Annotated[Bool, Access(on_null=False, rule="shared"), Listed()] = False
    """Every project may have names in it; an administrator's to say."""

    def faults(self) -> Iterator[Fault]:
        if self.name.startswith("*."):
            yield Fault("Validation failure: a zone has no wildcard in its name.", "name")


class GslbGeomap(Described, Assigned, Dated):
    """Rules about where clients are, for several gslbs."""

    rules: Annotated[list[GeoRule], Field(max_length=500)] = []
    """The most specific network decides, else the autonomous system, the country, the continent; of several that name
    the same, the first."""

    def faults(self) -> Iterator[Fault]:
        for rule in self.rules:
            yield from rule.faults()


GSLB_REGION = Kind(
    name="gslb_region",
    model=GslbRegion,
    title="GSLB Region",
    envelope="region",
    path="/gslb/v1/regions",
    plural="regions",
    links="regions_links",
    root=None,
    unique=(("name",),),
)
GSLB_BACKEND = Kind(
    name="gslb_backend",
    model=GslbBackend,
    title="GSLB Backend",
    envelope="backend",
    path="/gslb/v1/backends",
    plural="backends",
    links="backends_links",
    root=None,
)
GSLB_ZONE = Kind(
    name="gslb_zone",
    model=GslbZone,
    title="GSLB Zone",
    envelope="zone",
    path="/gslb/v1/zones",
    plural="zones",
    links="zones_links",
    root=None,
    unique=(("name",),),
)
GSLB_GEOMAP = Kind(
    name="gslb_geomap",
    model=GslbGeomap,
    title="GSLB Geomap",
    envelope="geomap",
    path="/gslb/v1/geomaps",
    plural="geomaps",
    links="geomaps_links",
    root=None,
)
