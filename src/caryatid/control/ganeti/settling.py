# SPDX-License-Identifier: Apache-2.0
"""From what was written down of a cluster and what is seen there to what is to be written down next. Nothing is asked
and nothing written here."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from math import inf
from typing import Any, Final

from caryatid.model.cluster import Cluster, Machine
from caryatid.plan.ganeti.aligning import Aligned
from caryatid.plan.ganeti.choice import NoRoom, choose
from caryatid.plan.ganeti.judging import again, asked, judge
from caryatid.plan.ganeti.marks import names
from caryatid.plan.ganeti.remedies import Why
from caryatid.store import clock
from caryatid.store.ganeti.jobs import ClusterJob
from caryatid.store.ganeti.seen import Seen
from caryatid.wire.rapi.answers import Job, Problem

from .connection import Health
from .looking import View
from .noting import Step
from .submitting import Order

PROBE_S: Final = 5.0
"""A queue that takes nothing is tried again so soon: nobody says when it does."""
ERROR_LENGTH_MAX: Final = 2000
ACTS: Final = {"CREATING": "create", "READY": "create", "UNWANTED": "create", "WANTED": "delete", "DELETING": "delete"}
"""What a job of a machine in this phase does."""


def judged(
    machines: Iterable[Machine], view: View, heard: Mapping[str, float], *, now: float, boot_deadline_s: float
) -> list[Step]:
    """What becomes of these machines, those apart of which nothing changes."""
    steps = []
    for machine in machines:
        sight = view.of(machine, heard.get(machine.host_id or ""))
        verdict = judge(machine, sight, now=now, boot_deadline_s=boot_deadline_s)
        if verdict.changed or verdict.act:
            steps.append(Step(machine, verdict.machine, verdict.act))
    return steps


def answered(answers: Iterable[tuple[Order, int | Problem]], now: float) -> list[Step]:
    """What becomes of machines that were asked for, now that there is an answer."""
    steps = []
    for order, answer in answers:
        if order.machine is None:
            continue
        after = asked(order.machine, answer, now)
        if isinstance(answer, Problem) and answer.trouble in ("drained", "full"):
            after = replace(after, next_at=min(after.next_at, now + PROBE_S))
        steps.append(Step(order.machine, after))
    return steps


def placed(
    step: Step,
    cluster: Cluster,
    view: View,
    machines: Sequence[Machine],
    leaving: Collection[str],
    now: float,
) -> tuple[Step, tuple[str, ...]]:
    """The step towards making a machine, with the nodes for it; or why there are none for now. `machines`: all of the
    cluster, as they are by then."""
    if not cluster.enabled:
        why = Why(
            f"Cluster {cluster.name} takes no new machines: it is disabled.",
            f"`caryatid cluster set {cluster.name} --enable`.",
            hopeless=True,
        )
        return Step(step.before, again(step.before, why, now)), ()
    found = choose(cluster, step.after, view.nodes, machines, nodes_at=view.nodes_at or 0.0, leaving=leaving)
    if isinstance(found, NoRoom):
        why = Why(found.reason, found.remedy, found.hopeless)
        return Step(step.before, again(step.before, why, now)), ()
    return replace(step, after=replace(step.after, node=next(iter(found.nodes), None))), found.nodes


def forgiven(machines: Iterable[Machine]) -> list[Step]:
    """What rests after it has failed is tried now: what it has failed for may be mended."""
    resting = [one for one in machines if one.next_at and one.phase in ("WANTED", "UNWANTED")]
    return [Step(one, replace(one, next_at=0.0)) for one in resting]


def asked_jobs(answers: Iterable[tuple[Order, int | Problem]], now: float) -> list[ClusterJob]:
    """Jobs that there are from now on."""
    return [
        _job(order.machine, Job(answer, "queued"), "create" if order.wanted else "delete", now)
        for order, answer in answers
        if order.machine is not None and isinstance(answer, int)
    ]


def seen_jobs(machines: Iterable[Machine], view: View, noted: Mapping[int, tuple[str, int]]) -> list[ClusterJob]:
    """Jobs of these machines of which there is something new since it was `noted` (status, serial of the last line)."""
    found = []
    for machine in machines:
        job = view.jobs.get(machine.job_id) if machine.job_id is not None else None
        if job is not None and job.status and noted.get(job.id) != news_of(job):
            act, _ = names(job) or (ACTS.get(machine.phase, "create"), "")
            found.append(_job(machine, job, act, job.received_at or 0.0))
    return found


def news_of(job: Job) -> tuple[str, int]:
    """What is another one when there is news of the job."""
    return job.status, max((line.serial for line in job.log), default=0)


def _job(machine: Machine, job: Job, act: str, asked_at: float) -> ClusterJob:
    return ClusterJob(
        cluster_id=machine.cluster_id,
        job_id=job.id,
        act=act,
        amphora_id=machine.amphora_id,
        loadbalancer_id=machine.loadbalancer_id,
        name=machine.name,
        status=job.status,
        asked_at=machine.asked_at or asked_at,
        started_at=job.started_at,
        ended_at=job.ended_at,
        log=[[line.at, line.text] for line in job.log],
        error=job.error[:ERROR_LENGTH_MAX] or None,
        serial=news_of(job)[1],
    )


def pause_s(machines: Iterable[Machine], now: float) -> float:
    """Seconds until time alone makes something due."""
    moments = [one.next_at for one in machines if one.phase in ("WANTED", "UNWANTED") and one.next_at > now]
    moments += [one.deadline_at for one in machines if one.deadline_at is not None and one.phase == "BOOTING"]
    return max(0.0, min(moments, default=inf) - now)


def summed(cluster_id: str, health: Health, view: View, aligned: Aligned, *, drained: bool) -> Seen:
    """How the cluster is, as it is shown."""
    shown: dict[str, Any] = {
        "software_version": view.info.software_version if view.info else None,
        "answered_at": clock.text(health.answered_at) if health.answered_at else None,
        "master": view.info.master if view.info else None,
        "drained": drained,
        "nodes": [
            {
                "name": node.name,
                "group": node.group,
                "offline": node.offline,
                "drained": node.drained,
                "free_memory_mib": node.free_memory_mib,
                "free_disk_mib": node.free_disk_mib,
            }
            for node in view.nodes
        ],
        "orphans": [{"name": name, "since": clock.text(at)} for name, at in sorted(aligned.orphans.items())],
        "foreign": list(aligned.foreign),
    }
    state, since, reason = health.state, health.since, health.reason
    return Seen(cluster_id, state, since, reason, health.answered_at, view.config_at, view.live_at, shown)
