# SPDX-License-Identifier: Apache-2.0
"""What is posted to have an instance made."""

from typing import Any

from caryatid.model.cluster import Cluster, Machine, Nic
from caryatid.wire.rapi.answers import Wanted

from .marks import tags
from .sizes import size_of

DISKLESS = "diskless"
MIRRORED = "drbd"
SEED = "seed"
"""The parameter of the OS by which the agent is told what it needs at first."""


def wanted(cluster: Cluster, machine: Machine, seed: str, *, installation: str, nodes: tuple[str, ...]) -> Wanted:
    """The instance of a machine: on `nodes` (primary, then secondary), or where the allocator has it. `seed`: what its
    agent is told at first, a secret that Ganeti does not keep."""
    size = size_of(cluster, machine.wish)
    body: dict[str, Any] = {
        "__version__": 1,
        "mode": "create",
        "instance_name": machine.name,
        "name_check": False,  # names of ours are in no DNS
        "ip_check": False,
        "os_type": cluster.os,
        "osparams_secret": {SEED: seed},
        "disk_template": cluster.disk_template,
        "disks": [] if cluster.disk_template == DISKLESS else [{"size": size.disk_mib}],
        "nics": [_nic(nic, first=number == 0) for number, nic in enumerate(cluster.nics)],
        "beparams": {"minmem": size.memory_mib, "maxmem": size.memory_mib, "vcpus": size.vcpus},
        "tags": tags(cluster, machine, installation),
        "wait_for_sync": False,  # it serves while its mirror is being filled
        **_where(cluster, nodes),
    }
    if cluster.hypervisor:
        body["hypervisor"] = cluster.hypervisor
    if cluster.hypervisor_parameters:
        body["hvparams"] = dict(cluster.hypervisor_parameters)
    return Wanted(machine.name, body)


def _where(cluster: Cluster, nodes: tuple[str, ...]) -> dict[str, str]:
    if nodes:
        return dict(zip(("pnode", "snode"), nodes, strict=False))
    where = {"iallocator": cluster.iallocator} if cluster.iallocator else {}
    return where | ({"group_name": cluster.group} if cluster.group and where else {})


def _nic(nic: Nic, *, first: bool) -> dict[str, str]:
    """The first has an address of its network; the others carry VIPs, and have none."""
    given = {name: getattr(nic, name) for name in ("network", "link", "mode", "vlan")}
    return {name: value for name, value in given.items() if value} | ({"ip": "pool"} if first else {})
