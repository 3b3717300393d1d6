# SPDX-License-Identifier: Apache-2.0
"""Monitors: how members are checked, from which regions, and how many must agree."""

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import Field

from caryatid.errors import Fault
from caryatid.model.bundle import Purpose
from caryatid.model.field import Access, Listed, Names
from caryatid.model.kind import Kind
from caryatid.model.resource import Assigned, Dated, Described, Document
from caryatid.model.status import ProvisioningStatus
from caryatid.model.types import Bool, ContainerRef, Id, Int, Tags, Time

from .parameters import PASSIVE

MonitorType = Annotated[str, Field(max_length=64, pattern=r"^[a-z][a-z0-9_]*$")]
"""Name of a check: `http`, `https`, `tcp`, … or a plugin's (entry points `caryatid.checks`)."""
PerRegion = Literal["majority", "any", "all"]
InsufficientData = Literal["last_known", "healthy", "unhealthy"]
Seconds = Annotated[float, Field(strict=False)]
TOLD_INTERVALS = 3
"""For so many of its intervals counts what a passive monitor was told, if it says nothing else."""


class Quorum(Document):
    """How many of the regions that know must say the same."""

    policy: Literal["majority", "any", "all", "percent", "count"] = "majority"
    value: Annotated[Int, Field(ge=1, le=100)] | None = None
    """Of `percent` and `count`."""

    def faults(self) -> Iterator[Fault]:
        if (self.policy in ("percent", "count")) != (self.value is not None):
            yield Fault("Validation failure: percent and count need a value, the others have none.", "quorum")


class Named(Document):
    """What a reference among the parameters stands for now."""

    purpose: Purpose
    """`keypair`: `client_cert_ref`; `authorities`: `ca_ref`."""
    reference: ContainerRef
    """As it is named."""
    subject: str
    """Of the certificate; of authorities: of the first one. RFC 4514."""
    not_after: Time
    """When it ends; of authorities: the first of them. UTC."""
    problem: str | None = None
    """Why it could not be read again, or what is wrong with what it stands for now. What was right before stays in
    use."""
    checked_at: Time
    """When it was last read. UTC; empty: it will be at once."""


class GslbMonitor(Described, Assigned, Dated):
    """A check that is made again and again, of each member of the pools that use it, from each region."""

    admin_state_up: Bool = True
    """False: it is not made, and decides nothing."""
    tags: Tags = []
    """Short labels."""
    type: Annotated[MonitorType, Access("create"), Listed()]
    """What is tried."""
    interval: Annotated[Seconds, Field(ge=0.5, le=3600), Listed()] = 10.0
    """Seconds between two checks of a member from one region."""
    timeout: Annotated[Seconds, Field(ge=0.05, le=60)] = 5.0
    """Seconds after which a check has failed, name look-up and connecting included; less than `interval`."""
    retries: Annotated[Int, Field(ge=0, le=5)] = 0
    """Tries that are made at once before a check is held to have failed."""
    rise: Annotated[Int, Field(ge=1, le=20)] = 2
    """Successes in a row that make a region say UP."""
    fall: Annotated[Int, Field(ge=1, le=20)] = 3
    """Failures in a row that make a region say DOWN."""
    rapid_recheck: Bool = True
    """After a result that differs the next one is made after a second (or `interval`, if that is less)."""
    regions: Annotated[list[Id], Names("gslb_region"), Field(max_length=64)] = []
    """Where it is made from; []: from everywhere. Of type `passive`: for which it is told; []: this installation's."""
    quorum: Quorum = Quorum()
    """How many of these must agree."""
    per_region: PerRegion = "majority"
    """How many checkers of a region, if it has several."""
    insufficient_data: InsufficientData = "last_known"
    """What holds while fewer than half of the regions have said anything lately."""
    inverted: Bool = False
    """A failure is what is wanted."""
    parameters: Annotated[dict[str, Any], Field(max_length=32)] = {}
    """What the check wants to know: `path`, `expected_codes`, … (reference: checks)."""
    provisioning_status: Annotated[ProvisioningStatus, Access("generated"), Listed()] = "ACTIVE"
    """Whether all gslbs that use it have taken it as it is shown."""
    certificates: Annotated[list[Named], Access("generated")] = []
    """What `client_cert_ref` and `ca_ref` stand for now."""

    @property
    def told_s(self) -> float | None:
        """For so long it counts what users tell; None: they are not asked, it is tried."""
        if self.type != PASSIVE:
            return None
        return float(self.parameters.get("valid_s") or TOLD_INTERVALS * self.interval)

    def faults(self) -> Iterator[Fault]:
        if self.type != PASSIVE and self.timeout >= self.interval:
            yield Fault("Validation failure: timeout must be less than interval.", "timeout")
        if len(set(self.regions)) != len(self.regions):
            yield Fault("Validation failure: each region may be given once.", "regions")
        yield from self.quorum.faults()


GSLB_MONITOR = Kind(
    name="gslb_monitor",
    model=GslbMonitor,
    title="GSLB Monitor",
    envelope="monitor",
    path="/gslb/v1/monitors",
    plural="monitors",
    links="monitors_links",
    root=None,
    counted=True,
)
