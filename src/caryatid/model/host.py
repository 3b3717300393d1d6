# SPDX-License-Identifier: Apache-2.0
"""The host: a machine with an agent on it, that can carry amphorae."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from caryatid.errors import Fault

from .field import Access, Key, Listed
from .kind import Kind
from .resource import Dated
from .status import OperatingStatus
from .types import Bool, Int, Line, Name, Time

LABELS_MAX = 64
HostDuty = Literal["SERVING", "EVACUATING", "REVOKED"]
Label = Annotated[Line, Field(min_length=1)]
Labels = Annotated[dict[Label, Line], Field(max_length=LABELS_MAX)]


class Host(Dated):
    """A machine whose agent has enrolled."""

    name: Annotated[Name, Access("generated"), Key(), Listed()]
    """What the machine calls itself."""
    agent_url: Annotated[Name, Access("generated"), Listed()]
    """Where its agent answers."""
    agent_version: Annotated[Name, Access("generated"), Listed()] = ""
    """Version of the agent."""
    haproxy_version: Annotated[Name, Access("generated"), Listed()] = ""
    """Version of HAProxy that it runs."""
    bindable_from: Annotated[Int, Access("generated")] = 1
    """The lowest port that its listeners may have."""
    attachments: Annotated[list[Name], Access("generated")] = []
    """How amphorae on it can be connected: subnets with another `attachment` have none here."""
    uplinks: Annotated[list[Name], Access("generated")] = []
    """Names of the physical networks that it is on."""
    protocols: Annotated[list[Name], Access("generated")] = []
    """Protocols of datagrams that its amphorae can carry, of UDP and SCTP."""
    addresses: Annotated[list[Name], Access("generated")] = []
    """The machine's own, loopback and link-local apart: VIPs on subnets of attachment `host` are among them."""
    capacity: Annotated[Int, Field(ge=0, le=100_000), Listed()] = 1000
    """Amphorae it may carry. What it carries beyond, after a change, stays."""
    used: Annotated[Int, Access("generated"), Listed()] = 0
    """Amphorae that it carries now, those that are coming and going too."""
    labels: Labels = {}
    """What flavors and availability zones may ask for (`host_labels`). Amphorae stay when labels change."""
    enabled: Annotated[Bool, Access(on_null=False), Listed()] = True
    """New amphorae may be placed here."""
    duty: Annotated[HostDuty, Access("generated"), Listed()] = "SERVING"
    """`SERVING`: it keeps the amphorae it has. `EVACUATING`: they move away, as far as others can take them. `REVOKED`:
    it is no longer believed, its amphorae are replaced elsewhere, and it can only be deleted."""
    operating_status: Annotated[OperatingStatus, Access("generated"), Listed()] = "OFFLINE"
    """Whether it is heard of: `ONLINE`, `ERROR` once it is taken for lost, `OFFLINE` before anybody has judged it."""
    certificate_expiration: Annotated[Time | None, Access("generated")] = None
    """When its certificate ends. UTC."""

    def faults(self) -> Iterator[Fault]:
        if self.enabled and self.duty != "SERVING":
            remedy = "enrol it anew" if self.duty == "REVOKED" else "the act `enable` ends its evacuation"
            yield Fault(f"Validation failure: a host that is {self.duty} cannot be enabled: {remedy}.", "enabled")


HOST = Kind(name="host", model=Host, title="Host", path="/hosts", plural="hosts", links="hosts_links", root=None)
