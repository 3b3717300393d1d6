# SPDX-License-Identifier: Apache-2.0
"""In which cluster a machine is made, and on which node.

A cluster's allocator, where it names one, chooses the nodes, and keeps the machines of a load balancer apart where the
cluster has the tag `htools:iextags:caryatid:lb` (`marks.TOGETHER`). A wish that insists (`apart`) is not left to that:
then nodes are chosen here.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from caryatid.model.cluster import Cluster, Machine, MachineWish, Size
from caryatid.model.status import OperatingStatus
from caryatid.wire.rapi.answers import Node

from .bodies import MIRRORED
from .sizes import size_of

ON_NODES: Final = frozenset({"plain", MIRRORED})
"""Disk templates whose disks take of what nodes say that they have free: their volume group."""
MIRROR_MIB: Final = 128
"""More than its size that a mirrored disk takes."""
TAKES: Final = frozenset({"CREATING", "BOOTING", "READY"})
"""Phases in which a machine takes memory of its node, and is one to be apart from."""


@dataclass(frozen=True)
class Chosen:
    """The nodes: primary, then secondary where disks are mirrored. None: Ganeti's allocator chooses."""

    nodes: tuple[str, ...] = ()


@dataclass(frozen=True)
class NoRoom:
    """There is none, and what helps."""

    reason: str
    remedy: str
    hopeless: bool = False
    """It will not pass by itself."""


def pick_cluster(
    wish: MachineWish, clusters: Sequence[tuple[Cluster, OperatingStatus]], counts: Mapping[str, int]
) -> Cluster | NoRoom:
    """The one that the wish names, however it does; else, of those that are enabled and ONLINE, the one with the
    fewest machines (`counts`, by cluster id)."""
    if not clusters:
        return NoRoom("No Ganeti cluster is known.", "Make one known: `caryatid cluster create`.", hopeless=True)
    if wish.cluster:
        return _named(wish.cluster, [cluster for cluster, _ in clusters])
    online = [cluster for cluster, status in clusters if cluster.enabled and status == "ONLINE"]
    if online:
        return min(online, key=lambda cluster: (counts.get(cluster.id, 0), cluster.name))
    if not any(cluster.enabled for cluster, _ in clusters):
        return NoRoom("No cluster takes new machines: all are disabled.", ENABLE.format("NAME"), hopeless=True)
    states = ", ".join(f"{cluster.name} is {status}" for cluster, status in clusters if cluster.enabled)
    return NoRoom(f"No cluster that takes new machines answers: {states}.", "See `caryatid cluster status`.")


ENABLE: Final = "`caryatid cluster set {} --enable`."


def _named(name: str, clusters: Sequence[Cluster]) -> Cluster | NoRoom:
    """Also where it does not answer now: its machine is made when it does."""
    found = next((cluster for cluster in clusters if cluster.name == name), None)
    if found is None:
        known = ", ".join(sorted(cluster.name for cluster in clusters))
        remedy = "Mend the availability zone's `compute_zone`, or make the cluster known."
        return NoRoom(f"No cluster is called {name}; there are: {known}.", remedy, hopeless=True)
    if not found.enabled:
        return NoRoom(f"Cluster {name} takes no new machines: it is disabled.", ENABLE.format(name), hopeless=True)
    return found


def choose(
    cluster: Cluster,
    machine: Machine,
    nodes: Sequence[Node],
    machines: Sequence[Machine],
    *,
    nodes_at: float,
    leaving: Collection[str] = (),
) -> Chosen | NoRoom:
    """Where the machine is made. `nodes` as of `nodes_at`; `machines`: all of ours in the cluster: what was given out
    since is in no node's figures yet. `leaving`: amphorae that are about to go, beside which one may be."""
    if cluster.iallocator and not machine.wish.apart:
        return Chosen()
    return _Choosing(cluster, machine, nodes, machines, nodes_at, leaving).found()


@dataclass(frozen=True)
class _Choosing:
    """Chooses nodes for one machine."""

    cluster: Cluster
    machine: Machine
    nodes: Sequence[Node]
    machines: Sequence[Machine]
    nodes_at: float
    leaving: Collection[str]

    def found(self) -> Chosen | NoRoom:
        useful = list(self._useful())
        if not useful:
            return self._why_none_takes()
        roomy = [node for node in useful if self._memory(node) >= self._size.memory_mib and self._has_disk(node)]
        if not roomy:
            return self._why_full(useful)
        apart = [node for node in roomy if node.name not in self._taken]
        if self.machine.wish.apart and not apart:
            return self._why_not_apart()
        # those apart come first, whether or not they have partners; nodes without a partner cannot take a mirror
        for primary in [*self._best(apart), *([] if self.machine.wish.apart else self._best(roomy))]:
            if self.cluster.disk_template != MIRRORED:
                return Chosen((primary.name,))
            if secondary := self._partner(primary, useful):
                return Chosen((primary.name, secondary.name))
        return NoRoom(
            "Mirrored disks (drbd) need a second node with room in the same group, and there is none.",
            "Free disk on the nodes, add a node, or use another `disk_template`.",
        )

    def _useful(self) -> Iterator[Node]:
        """Those that would take it, full or not; what a node that does not answer has is not known."""
        for node in self.nodes:
            in_group = self.cluster.group in {None, node.group}
            up = node.vm_capable and not node.offline and not node.drained and node.free_memory_mib is not None
            if in_group and up:
                yield node

    @property
    def _size(self) -> Size:
        return size_of(self.cluster, self.machine.wish)

    @property
    def _taken(self) -> frozenset[str | None]:
        """Nodes that the load balancer's other machines are on."""
        return frozenset(
            one.node
            for one in self._others
            if one.loadbalancer_id is not None
            and one.loadbalancer_id == self.machine.loadbalancer_id
            and one.amphora_id not in self.leaving
        )

    @property
    def _others(self) -> Iterator[Machine]:
        return (
            one
            for one in self.machines
            if one.phase in TAKES and one.amphora_id != self.machine.amphora_id and one.node
        )

    def _given(self, node: Node) -> list[Size]:
        """What was given out on a node after it was looked at, or is not in use yet."""
        return [
            size_of(self.cluster, one.wish)
            for one in self._others
            if one.node == node.name and (one.phase == "CREATING" or one.changed_at > self.nodes_at)
        ]

    def _memory(self, node: Node) -> int:
        return (node.free_memory_mib or 0) - sum(size.memory_mib for size in self._given(node))

    def _has_disk(self, node: Node) -> bool:
        """Where disks are elsewhere, or nobody knows, the cluster itself says whether there is room."""
        if self.cluster.disk_template not in ON_NODES or node.free_disk_mib is None:
            return True
        more = MIRROR_MIB if self.cluster.disk_template == MIRRORED else 0
        needed = [self._size, *self._given(node)]
        return node.free_disk_mib >= sum(size.disk_mib + more for size in needed)

    def _best(self, nodes: Sequence[Node]) -> list[Node]:
        """The one with the most free memory first; of equal ones that with the fewest of our machines."""
        ours = Counter(one.node for one in self._others)
        return sorted(nodes, key=lambda node: (-self._memory(node), ours[node.name], node.name))

    def _partner(self, primary: Node, nodes: Sequence[Node]) -> Node | None:
        """For the mirror: of the same group, with room for the disk."""
        fit = [one for one in nodes if one.name != primary.name and one.group == primary.group and self._has_disk(one)]
        return next(iter(self._best(fit)), None)

    def _why_none_takes(self) -> NoRoom:
        group = f" of group {self.cluster.group}" if self.cluster.group else ""
        if self.cluster.group and not any(node.group == self.cluster.group for node in self.nodes):
            groups = ", ".join(sorted({node.group for node in self.nodes})) or "none"
            remedy = "Mend the cluster's `group`, or put nodes there (`gnt-group assign-nodes`)."
            return NoRoom(
                f"No node is in group {self.cluster.group}; groups with nodes: {groups}.", remedy, hopeless=True
            )
        reason = f"No node{group} takes instances: each is offline, drained, not vm_capable, or does not answer."
        return NoRoom(reason, "See `gnt-node list -o name,role,vm_capable,mfree`.")

    def _why_full(self, nodes: Sequence[Node]) -> NoRoom:
        most = max(self._memory(node) for node in nodes)
        disk = f" and {self._size.disk_mib} MiB of disk" if self.cluster.disk_template in ON_NODES else ""
        return NoRoom(
            f"No node has room for a machine of {self._size.memory_mib} MiB{disk}: of {len(nodes)} that take instances "
            f"the freest has {max(most, 0)} MiB of memory.",
            "Free memory or disk, add a node, or lower the machines' size (`machine`, of the flavor or cluster).",
        )

    def _why_not_apart(self) -> NoRoom:
        return NoRoom(
            "The flavor wants the amphorae of a pair on different nodes (anti_affinity strict), and no second node has "
            "room.",
            "Add a node, free memory on another one, or use a flavor without anti_affinity strict.",
        )
