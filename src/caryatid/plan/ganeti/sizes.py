# SPDX-License-Identifier: Apache-2.0
"""How large a machine is."""

from caryatid.model.cluster import Cluster, MachineWish, Size


def size_of(cluster: Cluster, wish: MachineWish) -> Size:
    """As its wish says, else as machines of the cluster are."""
    return Size(
        vcpus=wish.vcpus or cluster.machine.vcpus,
        memory_mib=wish.memory_mib or cluster.machine.memory_mib,
        disk_mib=wish.disk_mib or cluster.machine.disk_mib,
    )
