# SPDX-License-Identifier: Apache-2.0
"""Writing down what has become of a cluster's machines: in one transaction, always in the same order (machines, hosts,
what is observed, work), so that nobody waits in a circle."""

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from caryatid import metrics
from caryatid.control.authority import Registry
from caryatid.control.gslb.waking import wake_users_of_loadbalancers
from caryatid.control.verdicts import PRIORITY
from caryatid.model import AMPHORA, HOST
from caryatid.model.cluster import Cluster, Machine
from caryatid.model.event import system
from caryatid.plan.ganeti.judging import Act
from caryatid.store import events, hosts, observations, rows, work
from caryatid.store.database import Tx
from caryatid.store.ganeti import jobs, machines, seen
from caryatid.store.ganeti.jobs import ClusterJob
from caryatid.store.ganeti.seen import Seen

from .seeds import new_seed

WATCHER = system("watcher")
GOING = frozenset({"UNWANTED", "DELETING"})
"""Phases of machines that no load balancer has to do with any more."""


@dataclass(frozen=True)
class Step:
    """What one machine was, what it is from now on, and what follows."""

    before: Machine
    after: Machine
    act: Act = ""

    @property
    def told(self) -> bool:
        """Whoever works on its load balancer has something to see."""
        old, new = self.before, self.after
        return new.phase not in GOING and (old.phase, old.reason, old.job_id) != (new.phase, new.reason, new.job_id)


@dataclass(frozen=True)
class Notes:
    """What is to be written down."""

    steps: Sequence[Step] = ()
    jobs: Sequence[ClusterJob] = ()
    seen: Seen | None = None

    @property
    def any(self) -> bool:
        return bool(self.steps or self.jobs or self.seen)


@dataclass(frozen=True)
class Written:
    """What was written: steps that somebody else was not faster than, and seeds of those machines that may be asked
    for now."""

    steps: Sequence[Step] = ()
    seeds: Mapping[str, str] = field(default_factory=dict, repr=False)
    """By amphora. Secret."""


def write(registry: Registry, cluster: Cluster, notes: Notes) -> Written:
    """All of it is so, or nothing is. Raises Busy."""
    with registry.database.transaction() as tx:
        if any(step.act == "forget" for step in notes.steps):
            hosts.lock(tx)
        pairs = [(step.before, step.after) for step in notes.steps]
        changed = {one.amphora_id for one in machines.change(tx, pairs)}
        done = [step for step in notes.steps if step.before.amphora_id in changed]
        seeds = {
            step.after.amphora_id: new_seed(tx, registry, cluster, step.after) for step in done if step.act == "create"
        }
        _forget(tx, [step.before for step in done if step.act == "forget"])
        _lose(tx, [step.after for step in done if step.act == "lost"])
        work.wake_roots(tx, {step.after.loadbalancer_id for step in done if step.told and step.after.loadbalancer_id})
        jobs.write(tx, notes.jobs)
        if notes.seen is not None:
            seen.write(tx, notes.seen)
    _count(done)
    return Written(done, seeds)


def _forget(tx: Tx, gone: Collection[Machine]) -> None:
    """Their instances are no more, and so are the hosts that they were."""
    machines.remove(tx, [one.amphora_id for one in gone])
    were = sorted({one.host_id for one in gone if one.host_id is not None})
    rows.delete(tx, HOST, were)
    for host_id in were:
        hosts.remove_credential(tx, host_id)
    events.append_all(tx, [_event("delete", HOST.name, one.host_id, one) for one in gone if one.host_id is not None])


def _lose(tx: Tx, lost: Sequence[Machine]) -> None:
    """Their amphorae are to be replaced before anything else is done; and nobody asks their agents any more."""
    standing = [(observations.AMPHORA, one.amphora_id, one.loadbalancer_id or "", observations.LOST) for one in lost]
    standing += [(observations.HOST, one.host_id, "", observations.LOST) for one in lost if one.host_id]
    observations.write(tx, standing, time.time())
    roots = {one.loadbalancer_id for one in lost if one.loadbalancer_id}
    work.wake_roots(tx, roots, priority=PRIORITY)
    wake_users_of_loadbalancers(tx, roots)
    events.append_all(tx, [_event("lost", AMPHORA.name, one.amphora_id, one) for one in lost])


def _event(action: str, kind: str, key: str, machine: Machine) -> dict[str, Any]:
    detail = {"machine": machine.name} | ({"reason": machine.reason} if action == "lost" else {})
    root_id = machine.loadbalancer_id if kind == AMPHORA.name else None
    return events.happened(action, kind, key, by=WATCHER, project_id=None, root_id=root_id, detail=detail)


def _count(done: Sequence[Step]) -> None:
    for step in done:
        if step.act == "lost":
            metrics.MACHINES_LOST.labels("boot" if step.before.phase == "BOOTING" else "gone").inc()
            metrics.FAILOVERS.labels("machine").inc()
