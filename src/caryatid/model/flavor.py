# SPDX-License-Identifier: Apache-2.0
"""Providers, and what load balancers are made like (flavors) and where (availability zones)."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field

from caryatid.errors import Fault

from .field import Access, Key, Listed, Ref
from .kind import Kind
from .resource import Row
from .types import Bool, Id, Name

Topology = Literal["SINGLE", "ACTIVE_STANDBY"]
JsonText = Annotated[str, Field(max_length=4096)]
UniqueName = Annotated[Name, Field(min_length=1)]


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
    backend_tls: bool = False
    flavor_keys: tuple[tuple[str, str], ...] = ()
    """(name, description) of what flavor_data may say."""
    zone_keys: tuple[tuple[str, str], ...] = ()
    """(name, description) of what availability_zone_data may say."""
    reasons: tuple[tuple[str, str], ...] = ()
    """(word, sentence): why something is not supported, where there is more to say."""


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
