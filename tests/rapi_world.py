# SPDX-License-Identifier: Apache-2.0
"""A Ganeti cluster as its RAPI shows it: instances, jobs, answers, and what goes wrong with them. A plain model of what
was measured at real ones, without threads, network or clock: `now` is set, jobs go on when they are told to.

Its methods are those of `wire.rapi.client.Rapi`. Each call takes the next of `faults`, if there is one:
`unreachable` (nothing is carried out), `ambiguous` (it is, and the answer is lost), `late` (the same, and it is carried
out up to LATEST_S later), or any other trouble of a RAPI (nothing is carried out).
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from caryatid.wire.rapi.answers import Info, Instance, Job, Live, Node, Problem, Waited, Wanted

LATEST_S = 40.0
"""After so long a request that was not answered is not carried out any more."""
NODE = "node1.example.test"
Removed = Callable[[str], None]


@dataclass
class Thing:
    """An instance."""

    instance: Instance
    status: str = "ADMIN_down"
    memory_mib: int = 0


@dataclass
class Task:
    """A job: what it does when it runs."""

    job: Job
    act: str
    name: str
    body: dict[str, Any] = field(default_factory=dict)
    archived: bool = False
    began: bool = False


@dataclass
class Late:
    """A request that is carried out later than anybody waits for it."""

    at: float
    carry_out: Callable[[], object]


class RapiWorld:
    """One cluster."""

    def __init__(self, now: float = 1_000_000.0) -> None:
        self.now = now
        self.things: dict[str, Thing] = {}
        self.tasks: dict[int, Task] = {}
        self.late: list[Late] = []
        self.faults: deque[str] = deque()
        self.refusal: tuple[str, str, str] | None = None
        """(kind, code, text) with which every job that makes an instance fails; None: they do not."""
        self.delay_s = LATEST_S
        """Of late requests."""
        self.there = [Node(NODE, "default", free_memory_mib=65536, free_disk_mib=1 << 20)]
        self.on_removed: Removed = lambda _: None
        """Called before a job removes an instance."""
        self.calls: list[str] = []
        self._last_job = 100

    # what a RAPI answers

    def info(self) -> Info | Problem:
        return self._fault("info") or Info("cluster.example.test", NODE, "3.0.2", "fake", ["fake"], ["plain"])

    def nodes(self) -> Sequence[Node] | Problem:
        return self._fault("nodes") or list(self.there)

    def instances(self, tag: str) -> Sequence[Instance] | Problem:
        return self._fault("instances") or [one.instance for one in self._tagged(tag)]

    def live(self, tag: str) -> Sequence[Live] | Problem:
        found = [Live(one.instance.name, one.status, one.instance.node) for one in self._tagged(tag)]
        return self._fault("live") or found

    def create(self, wanted: Wanted) -> int | Problem:
        return self._submitted("create", wanted.name, dict(wanted.body))

    def delete(self, name: str) -> int | Problem:
        return self._submitted("delete", name, {})

    def job(self, job_id: int) -> Job | Problem:
        known = self.tasks.get(job_id)
        return self._fault("job") or (known.job if known else Job(job_id, ""))

    def jobs(self, ids: Sequence[int]) -> Sequence[Job] | Problem:
        known = [self.tasks[one] for one in ids if one in self.tasks]
        return self._fault("jobs") or [one.job for one in known if not one.archived]

    def unfinished(self) -> Sequence[Job] | Problem:
        return self._fault("unfinished") or [one.job for one in self.tasks.values() if not one.job.final]

    def wait(self, job_id: int, status: str, serial: int) -> Waited | Problem:
        known = self.tasks.get(job_id)
        missing = Problem("missing", f"GET /2/jobs/{job_id}/wait: Can't load job file", 500)
        return self._fault("wait") or (Waited(known.job.status) if known and not known.archived else missing)

    def cancel(self, job_id: int) -> bool | Problem:
        known = self.tasks.get(job_id)
        if fault := self._fault("cancel"):
            return fault
        if known is None or known.began or known.job.final:
            return False
        self._end(known, "canceled")
        return True

    # what happens there

    def pass_time(self, seconds: float) -> None:
        """Requests that were held up are carried out."""
        self.now += seconds
        due = [one for one in self.late if one.at <= self.now]
        self.late = [one for one in self.late if one.at > self.now]
        for one in due:
            one.carry_out()

    def unended(self) -> list[int]:
        """Jobs that are not over, oldest first."""
        return [key for key, task in self.tasks.items() if not task.job.final]

    def step(self, job_id: int) -> None:
        """The job goes on: from the queue; into its work; to its end. One at a time works on an instance."""
        task = self.tasks[job_id]
        if task.job.final:
            return
        if not task.began:
            if not any(one.began and one.name == task.name and not one.job.final for one in self.tasks.values()):
                self._begin(task)
            return
        if task.act == "create" and self.things[task.name].status == "ADMIN_down":
            self.things[task.name].status = "running"
            self._end(task, "success", result=[[NODE]])
        elif task.act == "create":
            self._end(task, "success", result=[[NODE]])
        else:
            if task.name in self.things:
                self.on_removed(task.name)
                del self.things[task.name]
            self._end(task, "success")

    def fail(self, job_id: int, *, left: bool) -> None:
        """The job fails in the middle; of what it was to make something is `left`, or nothing."""
        task = self.tasks[job_id]
        if not task.began or task.job.final:
            return
        if task.act == "create" and not left:
            self.things.pop(task.name, None)
        self._end(task, "error", ("OpExecError", "", "Could not start instance"))

    def archive(self, job_id: int) -> None:
        """It is over, and found by its number only."""
        if self.tasks[job_id].job.final:
            self.tasks[job_id].archived = True

    def forget(self, job_id: int) -> None:
        """The queue has lost it, and what it had begun stays as it is."""
        if self.tasks[job_id].job.final:
            del self.tasks[job_id]

    def settle(self, steps_max: int = 1000) -> None:
        """All jobs are over, as well as they can be."""
        for _ in range(steps_max):
            if not (unended := self.unended()):
                return
            for job_id in unended:
                self.step(job_id)
        raise AssertionError("jobs do not end")

    # inside

    def _begin(self, task: Task) -> None:
        task.began = True
        task.job = replace(task.job, status="running", started_at=self.now)
        taken = task.name in self.things
        if task.act == "delete":
            if not taken:
                self._end(task, "error", ("OpPrereqError", "unknown_entity", f"Instance '{task.name}' not known"))
        elif self.refusal:
            self._end(task, "error", self.refusal)
        elif taken:
            text = f"Instance '{task.name}' is already in the cluster"
            self._end(task, "error", ("OpPrereqError", "already_exists", text))
        else:
            made = Instance(task.name, f"uuid-{task.job.id}", NODE, tags=tuple(task.body.get("tags", ())))
            self.things[task.name] = Thing(replace(made, addresses=("192.0.2.9",), created_at=self.now))

    def _end(self, task: Task, status: str, error: tuple[str, str, str] = ("", "", ""), result: Any = None) -> None:
        kind, code, text = error
        ended = replace(task.job, status=status, ended_at=self.now, result=result)
        task.job = replace(ended, error=text, error_kind=kind, error_code=code)

    def _submitted(self, act: str, name: str, body: dict[str, Any]) -> int | Problem:
        trouble = self.faults.popleft() if self.faults else ""
        self.calls.append(act)
        problem = Problem("ambiguous", f"{act} {name}: nobody has answered in time")
        match trouble:
            case "":
                return self._submit(act, name, body)
            case "ambiguous":
                self._submit(act, name, body)
                return problem
            case "late":
                self.late.append(Late(self.now + self.delay_s, lambda: self._submit(act, name, body)))
                return problem
            case _:
                return Problem(trouble, f"{act} {name}: {trouble}", 500)  # type: ignore[arg-type]

    def _submit(self, act: str, name: str, body: dict[str, Any]) -> int:
        self._last_job += 1
        summary = f"INSTANCE_{'CREATE' if act == 'create' else 'REMOVE'}({name})"
        job = Job(self._last_job, "queued", summary, received_at=self.now, instances=(name,))
        self.tasks[job.id] = Task(job, act, name, body)
        return job.id

    def _fault(self, call: str) -> Problem | None:
        self.calls.append(call)
        trouble = self.faults.popleft() if self.faults else ""
        return Problem(trouble if trouble != "late" else "ambiguous", f"{call}: {trouble}", 500) if trouble else None  # type: ignore[arg-type]

    def _tagged(self, tag: str) -> list[Thing]:
        return [one for one in self.things.values() if tag in one.instance.tags]
