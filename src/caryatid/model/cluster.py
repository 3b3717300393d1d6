# SPDX-License-Identifier: Apache-2.0
"""The cluster: a Ganeti in which amphorae are instances; and what is wanted of a machine there."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field

from caryatid.errors import Fault

from .field import Access, Key, Listed, Secret
from .kind import Kind
from .resource import Dated, Described, Document
from .status import OperatingStatus
from .types import Bool, Int, Line, Name, Port, Time

GanetiName = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+-]*$")]
"""What Ganeti calls something of its own: a group, a network, an OS with its variant."""
Word = Annotated[str, Field(max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
RapiUrl = Annotated[str, Field(max_length=255, pattern=r"^https://[^\s/?#@]+/?$")]
MEMORY_MIB_MIN = 128


class Size(Document):
    """How large a machine is."""

    vcpus: Annotated[Int, Field(ge=1, le=256)] = 1
    """Virtual processors."""
    memory_mib: Annotated[Int, Field(ge=MEMORY_MIB_MIN, le=1 << 20)] = 512
    """Memory in MiB."""
    disk_mib: Annotated[Int, Field(ge=1, le=1 << 20)] = 1024
    """Disk in MiB."""


class Nic(Document):
    """A network interface of each machine."""

    network: GanetiName | None = None
    """The Ganeti network that it is on, and that gives it its address."""
    link: GanetiName | None = None
    """Else the bridge (or what its mode connects it to)."""
    mode: Literal["bridged", "routed", "openvswitch"] | None = None
    """How; null: as the cluster has it."""
    vlan: Annotated[str, Field(max_length=64, pattern=r"^[.:0-9]*$")] | None = None
    """VLAN on an Open vSwitch."""
    uplink: Word | None = None
    """The physical network that it leads to, as networks name it (`physical_network`): VIPs there are brought to the
    amphora through it."""

    def faults(self) -> Iterator[Fault]:
        if self.network is not None and (self.link, self.mode, self.vlan) != (None, None, None):
            why = "Validation failure: a Ganeti network says link, mode and VLAN itself: give it alone."
            yield Fault(why, "nics")


class Cluster(Described, Dated):
    """A Ganeti cluster that amphorae can be instances of."""

    name: Annotated[Line, Field(min_length=1), Key(), Listed()]
    """Unique; availability zones name it as their `compute_zone`."""
    enabled: Annotated[Bool, Access(on_null=False), Listed()] = True
    """New machines may be made here. Those that there are stay."""
    rapi_url: Annotated[RapiUrl, Listed()]
    """URL of its RAPI: the master, port 5080 as a rule, over TLS."""
    rapi_user: Annotated[Line, Field(min_length=1)]
    """A user of the RAPI with the right `write`."""
    rapi_password: Annotated[Line, Secret()] = ""
    """The user's password. Kept encrypted."""
    rapi_ca: Annotated[str, Field(max_length=65536)] = ""
    """PEM of the authorities against which the RAPI's certificate is checked, or of that certificate itself. Empty:
    those of the controller's machine."""
    group: GanetiName | None = None
    """Node group of the machines; null: any."""
    iallocator: GanetiName | None = None
    """Ganeti's allocator that chooses nodes (`hail`); null: chosen here, by free memory and disk."""
    hypervisor: GanetiName | None = None
    """Hypervisor of the machines; null: the cluster's default."""
    hypervisor_parameters: Annotated[dict[Word, Any], Field(max_length=64)] = {}
    """Its parameters (`hvparams`)."""
    os: GanetiName = "caryatid+default"
    """OS definition and variant that makes the machines' disks."""
    disk_template: GanetiName = "plain"
    """How disks are kept: `plain`, `drbd`, `file`, `sharedfile`, `rbd`, `ext`."""
    machine: Size = Size()
    """How large machines are of which a flavor says nothing else (`machine`)."""
    nics: Annotated[list[Nic], Field(min_length=1, max_length=8)]
    """The machines' interfaces. The first one has the agent's address: it is on a Ganeti network."""
    agent_port: Port = 9443
    """Port of the agents."""
    domain: Annotated[str, Field(max_length=128, pattern=r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$")] = "caryatid.invalid"
    """Names of instances end so."""
    tags: Annotated[
        list[Annotated[str, Field(max_length=128, pattern=r"^[A-Za-z0-9.+*/:@_-]+$")]], Field(max_length=16)
    ] = []
    """More tags of the instances, beside those by which they are recognised."""
    boot_deadline_s: Annotated[Int, Field(ge=5, le=3600)] = 300
    """Seconds after which a machine is given up whose agent has not come; another is made."""
    operating_status: Annotated[OperatingStatus, Access("generated"), Listed()] = "OFFLINE"
    """`ONLINE`: its RAPI answers; `ERROR`: it does not, or not as it should; `OFFLINE`: nobody has asked yet."""
    status_reason: Annotated[str | None, Access("generated")] = None
    """Why it is not ONLINE, and what helps."""
    software_version: Annotated[Name | None, Access("generated"), Listed()] = None
    """Ganeti's, as it says."""
    machines: Annotated[Int, Access("generated"), Listed()] = 0
    """Instances that are ours there, or are to be."""
    seen_at: Annotated[Time | None, Access("generated"), Listed()] = None
    """When it answered last. UTC."""

    def faults(self) -> Iterator[Fault]:
        for nic in self.nics:
            yield from nic.faults()
        if self.nics[0].network is None:
            why = "the first interface needs a Ganeti network (`gnt-network add`): its address is from there."
            yield Fault(f"Validation failure: {why}", "nics")
        named = [nic.uplink for nic in self.nics if nic.uplink]
        if len(set(named)) != len(named):
            yield Fault("Validation failure: each physical network is reached through one interface.", "nics")


CLUSTER = Kind(
    name="cluster",
    model=Cluster,
    title="Cluster",
    path="/clusters",
    plural="clusters",
    links="clusters_links",
    root=None,
    unique=(("name",),),
)

Phase = Literal["WANTED", "CREATING", "BOOTING", "READY", "DEAD", "UNWANTED", "DELETING"]
"""How far a machine is. WANTED: to be asked for. CREATING: a job makes it. BOOTING: the job is done, and its agent has
not spoken. READY: its agent has enrolled. DEAD: it is there no more, or runs no more, and is to be replaced. UNWANTED:
to be removed. DELETING: a job removes it; then its row is gone."""
GIVEN_UP: frozenset[Phase] = frozenset({"DEAD", "UNWANTED", "DELETING"})
"""Phases of machines that nobody waits for: the amphora is replaced, or removed."""
OURS = "caryatid"
"""Tag of every instance of ours; `caryatid:<installation>` and `caryatid:<amphora id>` say whose and which."""


@dataclass(frozen=True)
class MachineWish:
    """What is wanted of an amphora's machine: what compute drivers that make machines are told."""

    cluster: str = ""
    """Name of the cluster (`compute_zone` of the availability zone); empty: any that takes new ones."""
    vcpus: int | None = None
    memory_mib: int | None = None
    disk_mib: int | None = None
    """None: as the cluster has it."""
    apart: bool = False
    """Never on the node of another amphora of its load balancer (anti_affinity strict); else only where there is no
    other."""


@dataclass(frozen=True)
class Machine:
    """The machine of one amphora: wanted, made, seen. Times are seconds since the epoch."""

    amphora_id: str
    loadbalancer_id: str | None
    """None: of a spare."""
    cluster_id: str
    name: str
    """Of the instance; made of the amphora's id, so the same machine is never made twice."""
    wish: MachineWish
    phase: Phase
    changed_at: float
    """Since when it is in this phase."""
    host_id: str | None = None
    """The host as which its agent has enrolled."""
    job_id: int | None = None
    """The job that makes or removes it now."""
    asked_at: float | None = None
    """When that was asked for, whether or not the answer came."""
    node: str | None = None
    address: str | None = None
    """Of its first interface."""
    status: str | None = None
    """In Ganeti's words: `running`, `ERROR_down`, ….; empty: it is not there."""
    seen_at: float | None = None
    """When it was so."""
    source: str | None = None
    """Who said so: `config`, `live`, `job`."""
    reason: str | None = None
    """Why it is not further."""
    remedy: str | None = None
    """What helps."""
    hopeless: bool = False
    """It will not pass by itself: somebody has to mend what `reason` says. It is tried again all the same."""
    tries: int = 0
    """How often making or removing it has failed."""
    next_at: float = 0.0
    """Nothing is tried before."""
    deadline_at: float | None = None
    """When it is given up, unless its agent has come."""


def instance_name(amphora_id: str, domain: str) -> str:
    """What Ganeti calls the machine of an amphora."""
    return f"amphora-{amphora_id}.{domain}"


def amphora_of(name: str) -> str | None:
    """The amphora whose machine is called so; None: the name is not of ours."""
    label = name.split(".", 1)[0]
    return label.removeprefix("amphora-") if label.startswith("amphora-") else None
