# SPDX-License-Identifier: Apache-2.0
"""By what instances and their jobs are recognised: that they are ours, of which installation, of which amphora."""

import re
from collections.abc import Sequence
from typing import Final

from caryatid.model.cluster import OURS, Cluster, Machine
from caryatid.wire.rapi.answers import Instance, Job

TOGETHER: Final = f"{OURS}:lb"
"""What the tags of machines of one load balancer begin with. Where the cluster itself has the tag
`htools:iextags:caryatid:lb`, Ganeti's allocator keeps instances that have the same one on different nodes."""


def tags(cluster: Cluster, machine: Machine, installation: str) -> list[str]:
    """Of the machine's instance; each once."""
    ours = [OURS, f"{OURS}:{installation}", f"{OURS}:{machine.amphora_id}"]
    if machine.loadbalancer_id:
        ours.append(f"{TOGETHER}:{machine.loadbalancer_id}")
    return list(dict.fromkeys([*ours, *cluster.tags]))


def is_of(instance: Instance, machine: Machine) -> bool:
    """It is this machine: it is called so and says so itself."""
    return instance.name == machine.name and f"{OURS}:{machine.amphora_id}" in instance.tags


def is_ours(given: Sequence[str], installation: str) -> bool:
    """Who has these tags was made by this installation."""
    return f"{OURS}:{installation}" in given


def names(job: Job) -> tuple[str, str] | None:
    """(`create` or `delete`, name of the instance) of a job that does that; None: it does something else."""
    found = SUMMARY.search(job.summary)
    return (ACTS[found[1]], found[2]) if found else None


ACTS: Final = {"CREATE": "create", "REMOVE": "delete"}
SUMMARY: Final = re.compile(r"\bINSTANCE_(CREATE|REMOVE)\(([^()]+)\)")
"""As Ganeti sums up a job."""
