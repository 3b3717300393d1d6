# SPDX-License-Identifier: Apache-2.0
"""What becomes of a machine, given what is known of its job and its instance. Pure; applying it twice is applying it
once.

Who watches a cluster does, for each machine:

    verdict = judge(machine, sight, now=…, boot_deadline_s=…)
    write verdict.machine (store: change, compare and set) if verdict.changed; only whoever has written it goes on:
    create   choose a node (`plan.ganeti.choice`) and note it in the same write; POST; then write asked(…)
    delete   DELETE; then write asked(…)
             both within ASK_WITHIN_S of `asked_at`, or not at all: what is not heard of is asked for again
    lost     in the same transaction: the amphora is lost
    forget   nothing is changed: the row of the machine goes, and its host's

So it is always written that something is asked for before it is; what becomes of an answer that is lost is found out by
the instance's name. A name is an amphora's for ever, so there are never two instances of one.

A machine that is WANTED with a job, or asked for, is not made: what a try that failed has left is being removed first.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from dataclasses import replace as changed_to
from typing import Any, Final, Literal

from caryatid.model.cluster import Machine, Phase
from caryatid.wire.rapi.answers import Instance, Job, Live, Problem

from .marks import is_of, names
from .remedies import LOST, NAMESAKE, NOBODY_CAME, Why, backoff_s, of_job, of_problem
from .running import noted

Act = Literal["", "create", "delete", "lost", "forget"]
ASK_WITHIN_S: Final = 15.0
"""What has been written to be asked for is sent so soon, or not: who was held up longer has a successor."""
LATE_S: Final = 60.0
"""What was asked for and not answered is carried out within that time of `asked_at`, or never."""
LINGER_S: Final = 240.0
"""The same of the removal of what a failed try has left: a late one would remove what is wanted, so it is given longer
than the RAPI waits for anything."""
HEARD_S: Final = 15.0
"""An agent that was heard so lately is there."""
STEPS_MAX: Final = 3
"""More than this never follow from one sight."""
BACK: Final[dict[str, Phase]] = {"CREATING": "WANTED", "DELETING": "UNWANTED"}
"""Where a machine goes back to of which an act has failed."""


@dataclass(frozen=True)
class Sight:
    """What is known of one machine. Each time is when the question was put (by the clock of `now`): the answer holds
    all that had happened by then. None: not asked yet."""

    job: Job | None = None
    """The machine's job (`machine.job_id`) as it was read last; None: it could not be read, or there is none. A status
    that is empty: the cluster does not know it."""
    unfinished: Sequence[Job] = ()
    """Jobs of the cluster that are not over; others than those that name the machine's instance do not matter."""
    unfinished_at: float | None = None
    """As of when those are known, all of them. Needed where a machine has been asked for and has no job: ask after the
    configuration, not before; then what is not under way any more is in the configuration, or nowhere."""
    instance: Instance | None = None
    """In the configuration; None: not there."""
    config_at: float | None = None
    live: Live | None = None
    """None: there was no such instance."""
    live_at: float | None = None
    heard_at: float | None = None
    """When its agent was heard of last, if that is known."""


@dataclass(frozen=True)
class Verdict:
    """What the machine is from now on, and what is to be done, once that is written."""

    machine: Machine
    act: Act = ""
    changed: bool = False
    """The row is another one now."""


def judge(machine: Machine, sight: Sight, *, now: float, boot_deadline_s: float) -> Verdict:
    """What becomes of it, as far as it is known now: until something has to be done, or nothing follows any more."""
    after, act = RULES[machine.phase](machine, sight, now, boot_deadline_s)
    for _ in range(STEPS_MAX):
        if act:
            break
        before = after
        after, act = RULES[before.phase](before, sight, now, boot_deadline_s)
        if after == before:
            break
    return Verdict(after, act, changed=after != machine)


def asked(machine: Machine, answer: int | Problem, now: float) -> Machine:
    """The machine, once the RAPI has answered what was asked for it (create or delete): with its job, or why there is
    none. `machine` is what was written before."""
    if isinstance(answer, int):
        return changed_to(machine, job_id=answer)
    why = of_problem(answer)
    if answer.trouble in {"ambiguous", "broken"}:  # it may have been carried out: looked for by its name
        return changed_to(machine, reason=why.reason, remedy=why.remedy)
    return again(machine, why, now)


def again(machine: Machine, why: Why, now: float) -> Machine:
    """It has failed, and nothing of it is under way: it is tried once more after a while."""
    tries = machine.tries + 1
    return changed_to(
        _resting(machine, now),
        phase=BACK.get(machine.phase, machine.phase),
        tries=tries,
        next_at=now + backoff_s(tries, hopeless=why.hopeless),
        reason=why.reason,
        remedy=why.remedy,
        hopeless=why.hopeless,
    )


def unwanted(machine: Machine, now: float) -> Machine:
    """It is to be removed. What is under way for it is kept: it is waited for."""
    if machine.phase in {"UNWANTED", "DELETING"}:
        return machine
    unanswered = machine.phase in {"WANTED", "CREATING"} and machine.job_id is None
    return changed_to(
        machine,
        phase="UNWANTED",
        changed_at=now,
        asked_at=machine.asked_at if unanswered else None,
        tries=0,
        next_at=now,
        deadline_at=None,
        reason=None,
        remedy=None,
        hopeless=False,
    )


Judged = tuple[Machine, Act]


def _wanted(machine: Machine, sight: Sight, now: float, _: float) -> Judged:
    if machine.job_id is not None:
        return _left_over(machine, sight, now), ""
    if job := _under_way("create", machine, sight):
        return changed_to(machine, phase="CREATING", job_id=job.id, asked_at=now, changed_at=now), ""
    if machine.asked_at is not None:
        return _left_over_unanswered(machine, sight, now), ""
    return _due(machine, sight, now) if now >= machine.next_at else (machine, "")


def _due(machine: Machine, sight: Sight, now: float) -> Judged:
    """Nothing is under way for it."""
    if machine.tries and not _after(sight.config_at, machine.changed_at):
        return machine, ""  # something may be left of the last try
    if machine.tries and sight.instance:
        if is_of(sight.instance, machine):
            return changed_to(machine, asked_at=now), "delete"
        return again(machine, NAMESAKE, now), ""
    return changed_to(machine, phase="CREATING", asked_at=now, changed_at=now), "create"


def _left_over(machine: Machine, sight: Sight, now: float) -> Machine:
    """What was left is being removed by a job."""
    job = _job(machine, sight)
    if job is None or (job.status and not job.final):
        return machine
    if job.status in {"", "success"} or _knows_none(job):
        return _resting(machine, now)
    return again(machine, of_job(job), now)


def _left_over_unanswered(machine: Machine, sight: Sight, now: float) -> Machine:
    """Its removal was asked for, and nobody knows whether that was heard."""
    if job := _under_way("delete", machine, sight):
        return changed_to(machine, job_id=job.id)
    late_at = (machine.asked_at or machine.changed_at) + LINGER_S
    over = _after(sight.config_at, late_at) and _after(sight.unfinished_at, late_at)
    return _resting(machine, now) if over else machine


def _creating(machine: Machine, sight: Sight, now: float, boot_deadline_s: float) -> Judged:
    if machine.job_id is None:
        return _creating_unanswered(machine, sight, now, boot_deadline_s), ""
    job = _job(machine, sight)
    if job is None or (job.status and not job.final):
        return machine, ""
    if not job.status:
        return changed_to(machine, job_id=None), ""
    if job.status == "success":
        return _booting_from(machine, now, boot_deadline_s, _node_of(job.result)), ""
    why = of_job(job)
    if job.error_code == "already_exists":  # by an earlier request of ours, perhaps: its instance is looked for
        mind = changed_to(machine, reason=why.reason, remedy=why.remedy, hopeless=why.hopeless)
        return changed_to(mind, job_id=None, asked_at=now), ""
    return again(machine, why, now), ""


def _creating_unanswered(machine: Machine, sight: Sight, now: float, boot_deadline_s: float) -> Machine:
    """It was asked for, and nobody knows whether that was heard."""
    if job := _under_way("create", machine, sight):
        return changed_to(machine, job_id=job.id)
    since = machine.asked_at or machine.changed_at
    if sight.instance and is_of(sight.instance, machine):
        over = _after(sight.config_at, since) and (sight.unfinished_at or 0.0) >= (sight.config_at or 0.0)
        return _booting_from(machine, now, boot_deadline_s, sight.instance.node) if over else machine
    if not _after(sight.config_at, since + LATE_S) or not _after(sight.unfinished_at, since + LATE_S):
        return machine
    if machine.hopeless and machine.reason:
        return again(machine, Why(machine.reason, machine.remedy or "", hopeless=True), now)
    return changed_to(again(machine, LOST, now), next_at=now)


def _booting_from(machine: Machine, now: float, boot_deadline_s: float, node: str | None) -> Machine:
    return changed_to(
        machine,
        phase="BOOTING",
        changed_at=now,
        deadline_at=now + boot_deadline_s,
        job_id=None,
        node=node or machine.node,
        tries=0,
        reason=None,
        remedy=None,
        hopeless=False,
    )


def _booting(machine: Machine, sight: Sight, now: float, boot_deadline_s: float) -> Judged:
    deadline_at = machine.deadline_at or machine.changed_at + boot_deadline_s
    if now >= deadline_at:
        return _dead(machine, NOBODY_CAME, now)
    return _running(machine, sight, now)


def _ready(machine: Machine, sight: Sight, now: float, _: float) -> Judged:
    """Its agent may have come before its job was over."""
    job = _job(machine, sight)
    if job is not None and (job.final or not job.status):
        machine = changed_to(machine, job_id=None)
    return _running(machine, sight, now)


def _running(machine: Machine, sight: Sight, now: float) -> Judged:
    heard = sight.heard_at is not None and now - sight.heard_at < HEARD_S
    after, why = noted(machine, sight.instance, sight.config_at, sight.live, sight.live_at, heard=heard)
    return _dead(after, why, now) if why else (after, "")


def _dead(machine: Machine, why: Why, now: float) -> Judged:
    after = changed_to(machine, phase="DEAD", changed_at=now, reason=why.reason, remedy=why.remedy, deadline_at=None)
    return after, "lost"


def _as_it_is(machine: Machine, _: Sight, __: float, ___: float) -> Judged:
    return machine, ""


def _unwanted(machine: Machine, sight: Sight, now: float, _: float) -> Judged:
    if machine.job_id is not None:  # it is being made still: a removal would find nothing, and it would be there after
        job = _job(machine, sight)
        over = job is not None and (job.final or not job.status)
        return (_resting(machine, now) if over else machine), ""
    if job := _under_way("delete", machine, sight):
        return changed_to(machine, phase="DELETING", job_id=job.id, asked_at=now, changed_at=now), ""
    if sight.instance and is_of(sight.instance, machine):
        due = now >= machine.next_at
        return (changed_to(machine, phase="DELETING", asked_at=now, changed_at=now), "delete") if due else (machine, "")
    if job := _under_way("create", machine, sight):
        return changed_to(machine, job_id=job.id), ""
    return _gone(machine, sight, now)


def _gone(machine: Machine, sight: Sight, now: float) -> Judged:
    """Its instance is nowhere to be seen, and not being made."""
    if machine.asked_at is not None:
        late_at = machine.asked_at + LATE_S
        over = _after(sight.config_at, late_at) and _after(sight.unfinished_at, late_at)
        return (_resting(machine, now) if over else machine), ""
    return machine, "forget" if _after(sight.config_at, machine.changed_at) else ""


def _deleting(machine: Machine, sight: Sight, now: float, _: float) -> Judged:
    if machine.job_id is None:
        return _deleting_unanswered(machine, sight, now)
    job = _job(machine, sight)
    if job is None or (job.status and not job.final):
        return machine, ""
    if not job.status:
        return changed_to(machine, job_id=None), ""
    if job.status == "success" or _knows_none(job):
        return machine, "forget"
    return again(machine, of_job(job), now), ""


def _deleting_unanswered(machine: Machine, sight: Sight, now: float) -> Judged:
    if job := _under_way("delete", machine, sight):
        return changed_to(machine, job_id=job.id), ""
    since = machine.asked_at or machine.changed_at
    if _after(sight.config_at, since) and not (sight.instance and is_of(sight.instance, machine)):
        return machine, "forget"
    if _after(sight.config_at, since + LATE_S):
        return changed_to(again(machine, LOST, now), next_at=now), ""
    return machine, ""


RULES: Final[dict[Phase, Callable[[Machine, Sight, float, float], Judged]]] = {
    "WANTED": _wanted,
    "CREATING": _creating,
    "BOOTING": _booting,
    "READY": _ready,
    "DEAD": _as_it_is,  # until its amphora is replaced, and it unwanted
    "UNWANTED": _unwanted,
    "DELETING": _deleting,
}


def _resting(machine: Machine, now: float) -> Machine:
    """Nothing is under way for it, and what the cluster looked like before now says nothing about it."""
    return changed_to(machine, job_id=None, asked_at=None, changed_at=now)


def _job(machine: Machine, sight: Sight) -> Job | None:
    """The machine's job, if that is what was read."""
    return sight.job if sight.job and sight.job.id == machine.job_id else None


def _under_way(act: str, machine: Machine, sight: Sight) -> Job | None:
    """Not one that is known to be over by now: what is not over may have been asked for earlier."""
    over = sight.job.id if sight.job and (sight.job.final or not sight.job.status) else None
    found = (job for job in sight.unfinished if not job.final and job.id != over)
    return next((job for job in found if names(job) == (act, machine.name)), None)


def _knows_none(job: Job) -> bool:
    """A removal that found nothing to remove."""
    return job.error_code == "unknown_entity"


def _after(at: float | None, moment: float) -> bool:
    return at is not None and at > moment


def _node_of(result: Any) -> str | None:
    """The primary node, of what a job that made an instance says: a list of nodes, or such a list of one operation."""
    while isinstance(result, list | tuple) and result:
        result = result[0]
    return result if isinstance(result, str) else None
