# SPDX-License-Identifier: Apache-2.0
"""Pools of a gslb: members in one place, and when that place is well. Several gslbs may use one."""

import re
from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from caryatid.errors import Fault
from caryatid.model.field import Access, Listed, Names
from caryatid.model.kind import Kind
from caryatid.model.resource import Assigned, Dated, Described, Document
from caryatid.model.status import ProvisioningStatus
from caryatid.model.types import Bool, Id, Int, Tags

from .words import GslbStatus, Latitude, Longitude

MINIMUM = re.compile(r"[1-9][0-9]{0,4}|([1-9][0-9]?|100)%")
AT_LEAST = re.compile(r"all|any|majority|at_least:([1-9]|1[0-6])")


def _minimum(value: str | int) -> str:
    if isinstance(value, bool) or not MINIMUM.fullmatch(str(value)):
        raise ValueError("Value should be a number from 1, or a percentage from 1% to 100%")
    return str(value)


def _policy(value: str) -> str:
    if not AT_LEAST.fullmatch(value):
        raise ValueError("Value should be one of: all, any, majority, at_least:N")
    return value


Minimum = Annotated[str | int, AfterValidator(_minimum)]
MonitorPolicy = Annotated[str, AfterValidator(_policy)]


class MonitorUse(Document):
    """A monitor among those of a pool."""

    monitor_id: Annotated[Id, Names("gslb_monitor")]
    """The monitor."""
    must_be_healthy: Bool = False
    """Whoever fails it is down, whatever the others say."""
    observe_only: Bool = False
    """It is shown, and decides nothing."""

    def faults(self) -> Iterator[Fault]:
        if self.must_be_healthy and self.observe_only:
            yield Fault("Validation failure: a monitor that only observes can demand nothing.", "monitors")


class GslbPool(Described, Assigned, Dated):
    """Members in one place."""

    admin_state_up: Bool = True
    """False takes all of it out of answers."""
    tags: Tags = []
    """Short labels."""
    region_id: Annotated[Id | None, Names("gslb_region")] = None
    """The region that it is in: its place, if it has none of its own (policies `proximity` and `latency`)."""
    latitude: Latitude | None = None
    """Degrees north."""
    longitude: Longitude | None = None
    """Degrees east."""
    bias: Annotated[Int, Field(ge=-99, le=99)] = 0
    """Policy `proximity`: above 0 its area is larger, below smaller."""
    minimum_healthy: Minimum = "1"
    """So many members, or such a part of them, must be well for the pool to be."""
    monitors: Annotated[list[MonitorUse], Field(max_length=16)] = []
    """How its members are checked; []: nobody checks, and all are held to be well."""
    monitor_policy: MonitorPolicy = "all"
    """How many of the monitors must be passed: `all`, `any`, `majority` or `at_least:N`."""
    member_policy: Literal["multivalue", "failover", "weighted", "source_hash"] = "multivalue"
    """How members are chosen where a gslb's policy leaves that to the pool."""
    shed_percent: Annotated[Int, Field(ge=0, le=100)] = 0
    """Of answers that would be this pool's, so many go to the next one that is well (policies `failover`, `geo`,
    `latency`, `weighted`)."""
    provisioning_status: Annotated[ProvisioningStatus, Access("generated"), Listed()] = "ACTIVE"
    """Whether all gslbs that use it have taken it as it is shown."""
    operating_status: Annotated[GslbStatus, Access("generated"), Listed()] = "UNKNOWN"
    """Whether it is well."""

    def faults(self) -> Iterator[Fault]:
        if (self.latitude is None) != (self.longitude is None):
            yield Fault("Validation failure: latitude and longitude are given together.", "latitude")
        known = [use.monitor_id for use in self.monitors]
        if len(set(known)) != len(known):
            yield Fault("Validation failure: each monitor may be used once.", "monitors")
        for use in self.monitors:
            yield from use.faults()


GSLB_POOL = Kind(
    name="gslb_pool",
    model=GslbPool,
    title="GSLB Pool",
    envelope="pool",
    path="/gslb/v1/pools",
    plural="pools",
    links="pools_links",
    root=None,
    counted=True,
)
