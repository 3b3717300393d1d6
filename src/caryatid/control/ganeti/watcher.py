# SPDX-License-Identifier: Apache-2.0
"""Who watches one cluster: looks at it, judges what that means for each machine, writes it down, and asks for what is
due. All that is ever asked of the cluster's RAPI is asked from here.

Whoever watches may end at any moment, and another take its place, or two watch at once: what is asked for is written
down before, an instance's name is its amphora's alone, and a row is changed only by who has seen it as it is.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from caryatid import log, metrics
from caryatid.control.authority import Registry
from caryatid.control.door import Door
from caryatid.errors import Busy, CaryatidError
from caryatid.model import AMPHORA
from caryatid.model.cluster import Machine
from caryatid.plan.ganeti.aligning import Aligned, align
from caryatid.plan.ganeti.bodies import wanted
from caryatid.plan.ganeti.judging import ASK_WITHIN_S
from caryatid.plan.ganeti.running import UNSURE
from caryatid.plan.steps import LEAVING
from caryatid.store import observations, rows
from caryatid.wire.rapi.answers import FINAL, Problem
from caryatid.wire.rapi.client import Rapi

from . import looking, noting, scene, settling
from .connection import Connection
from .looking import News, View
from .noting import Notes, Step, Written
from .scene import Scene
from .submitting import Order, Submissions
from .waiting import Waits

TROUBLE_S: Final = 5.0
"""When the master key is away, or the cluster is not known any more."""
BUSY_TURNS_MAX: Final = 100
"""After so many turns in a row there is something wrong with us, and nobody shall pay for it."""
BREATH_S: Final = 0.2
BURY_AGAIN_S: Final = 60.0
"""After which the removal of an instance that is nobody's is asked for once more."""


class Watcher:
    """Watches a cluster, as long as `turn` is called again and again, by one thread."""

    def __init__(self, door: Door, registry: Registry, cluster_id: str, rapi: Callable[..., Rapi] = Rapi) -> None:
        """`rapi`: makes a client for an address, user, password and authorities."""
        self._door = door
        self._registry = registry
        self._cluster_id = cluster_id
        self._bell = threading.Event()
        self._ended = threading.Event()
        """A job has."""
        self._stirred = False
        """There may be other instances than when the configuration was last looked at."""
        self._submissions = Submissions(self.ring)
        self._waits = Waits(self._heard)
        self._connection = Connection(cluster_id, rapi)
        self._view = View()
        self._aligned = Aligned()
        self._aligned_at: float | None = None
        self._ahead_s = 0.0
        """How much further the clock of all is than ours."""
        self._noted: dict[int, tuple[str, int]] = {}
        """Of each job: what is written down of it."""
        self._buried: dict[str, float] = {}
        """Instances that are nobody's: when their removal was asked for (monotonic)."""
        self._wanted_at: str | None = None
        """When the cluster was last changed by its operator."""
        self._forgive = False
        self._drained = False
        self._unwritten = True
        """There is news of the cluster itself."""
        self._installation = ""
        self._busy_turns = 0
        self._log = log.get(cluster=cluster_id)

    def ring(self) -> None:
        """There may be something to do: the turn that waits goes on."""
        self._bell.set()

    def stop(self) -> list[threading.Thread]:
        """Nothing new is begun, and the turn that waits goes on; threads that still hear from the RAPI."""
        threads = [*self._waits.stop(), *self._submissions.threads()]
        self.ring()
        return threads

    def turn(self) -> None:
        """What is to be done is done; then until there is more, or `ring`."""
        self._bell.clear()
        try:
            pause_s = self._turn()
        except Busy:
            pause_s = BREATH_S  # nothing was written, and nothing is lost: it is found out again
        except CaryatidError as error:
            self._log.warning("cluster not watched", reason=str(error))
            pause_s = TROUBLE_S
        self._busy_turns = 0 if pause_s > 0 else self._busy_turns + 1
        if self._busy_turns > BUSY_TURNS_MAX:
            pause_s = BREATH_S
        if pause_s > 0:
            self._bell.wait(pause_s)

    def _turn(self) -> float:
        """Seconds for which there is nothing to do."""
        here = scene.read(self._door, self._cluster_id)
        if here is None:
            return TROUBLE_S  # it is gone, and soon nobody watches it
        self._ahead_s = here.now - time.time()
        self._follow(here)
        found = self._connection.rapi(here.cluster, here.password)
        if isinstance(found, Problem) and not self._connection.pause_s:
            self._failed(found)
        rapi = None if isinstance(found, Problem) else found
        if self._settle(here, rapi):
            return 0.0
        due_in_s = settling.pause_s(here.machines, here.now)
        if rapi is None or self._connection.pause_s:
            return min(due_in_s, self._connection.pause_s)
        return min(due_in_s, self._look(here, rapi))

    def _follow(self, here: Scene) -> None:
        """A cluster that its operator has changed may do now what it would not."""
        if self._wanted_at is None:
            self._installation = scene.installation(self._door.database)
            if here.seen is not None:
                self._connection.remember(here.seen)
        elif self._wanted_at != here.cluster.updated_at:
            self._forgive = True
        self._wanted_at = here.cluster.updated_at or ""

    def _look(self, here: Scene, rapi: Rapi) -> float:
        news = News(self._ended.is_set(), self._stirred)
        waited = news.jobs or self._waits.attend(rapi, looking.open_jobs(self._view, here.machines))
        asking = self._submissions.names
        due = looking.due(self._view, here.machines, now=self._now(), news=news, asking=asking, waited=waited)
        if not due.any:
            return due.in_s
        self._ended.clear()
        if self._take(looking.look(rapi, self._view, due, self._now)):
            self._stirred = self._stirred and not due.config
        elif news.jobs:
            self._ended.set()
        return 0.0

    def _take(self, seen: View | Problem) -> bool:
        """What was seen is what is known; False: nothing was."""
        if isinstance(seen, Problem):
            self._failed(seen)
            return False
        self._view, self._unwritten = seen, True
        self._forgive = self._connection.answered(self._now()) or self._forgive
        return True

    def _failed(self, problem: Problem) -> None:
        self._connection.failed(problem, self._now())
        self._unwritten = True

    def _settle(self, here: Scene, rapi: Rapi | None) -> bool:
        """What is known is judged and written down, and what is due asked for. True: machines are not as they were."""
        answers = self._submissions.answers()
        self._hear(answers)
        self._align(here)
        jobs = settling.asked_jobs(answers, here.now) + settling.seen_jobs(here.machines, self._view, self._noted)
        steps = settling.answered(answers, here.now)
        nodes: Mapping[str, Sequence[str]] = {}
        quiet = [one for one in here.machines if one.name not in self._submissions.names]
        forgiving = self._forgive
        if forgiving and (forgiven := settling.forgiven(quiet)):
            steps += forgiven
        else:
            more, nodes = self._judge(here, quiet, rapi)
            steps += more
        if any(step.before.job_id is not None and step.after.job_id is None for step in steps):
            self._stirred = True
        health = self._connection.health
        seen = settling.summed(self._cluster_id, health, self._view, self._aligned, drained=self._drained)
        notes = Notes(steps, jobs, seen if self._unwritten else None)
        written = noting.write(self._registry, here.cluster, notes) if notes.any else Written()
        self._remember(here, notes, answers)
        self._forgive = self._forgive and not forgiving
        if rapi is not None:
            self._send(rapi, here, written, nodes)
        return bool(steps)

    def _judge(
        self, here: Scene, quiet: Sequence[Machine], rapi: Rapi | None
    ) -> tuple[list[Step], Mapping[str, Sequence[str]]]:
        """What becomes of machines, and on which nodes those are to be made that are asked for now. What there is no
        free place for stays as it is, and its turn comes."""
        steps: list[Step] = []
        nodes: dict[str, Sequence[str]] = {}
        there = {one.amphora_id: one for one in here.machines}
        found = settling.judged(
            quiet, self._view, self._last_heard(quiet), now=here.now, boot_deadline_s=here.cluster.boot_deadline_s
        )
        free = self._submissions.free if self._connection.well else 0
        for step in sorted(found, key=lambda one: one.before.changed_at):
            if step.act in ("create", "delete"):
                if rapi is None or free <= 0:
                    continue
                if step.act == "create":
                    if not self._knows_nodes(here, step.after, rapi):
                        free = 0
                        continue
                    step, where = self._placed(here, step, list(there.values()))  # noqa: PLW2901  as it is then
                    nodes[step.after.amphora_id] = where
                free -= 1 if step.act else 0
            there[step.after.amphora_id] = step.after
            steps.append(step)
        return steps, nodes

    def _knows_nodes(self, here: Scene, machine: Machine, rapi: Rapi) -> bool:
        """What nodes have free is known, where it is to be; a question to the RAPI now and then."""
        if here.cluster.iallocator and not machine.wish.apart:
            return True
        return self._take(looking.look_at_nodes(rapi, self._view, self._now))

    def _placed(self, here: Scene, step: Step, machines: Sequence[Machine]) -> tuple[Step, Sequence[str]]:
        leaving: set[str] = set()
        if step.after.wish.apart and step.after.loadbalancer_id:
            with self._door.database.read() as tx:
                beside = rows.find(tx, AMPHORA, loadbalancer_id=step.after.loadbalancer_id)
            leaving = {one["id"] for one in beside if one["status"] in LEAVING}
        return settling.placed(step, here.cluster, self._view, machines, leaving, here.now)

    def _last_heard(self, machines: Sequence[Machine]) -> Mapping[str, float]:
        """Host → when its agent was last heard of; read where that decides."""
        doubtful = [
            one.host_id
            for one in machines
            if one.host_id and (live := self._view.lives.get(one.name)) is not None and live.status in UNSURE
        ]
        if not doubtful:
            return {}
        with self._door.database.read() as tx:
            heard = observations.standing(tx, observations.HEARD)
        return {host_id: heard[host_id][1] for host_id in doubtful if host_id in heard}

    def _hear(self, answers: Sequence[tuple[Order, int | Problem]]) -> None:
        """What answers to requests say of the cluster itself."""
        for order, answer in answers:
            drained = isinstance(answer, Problem) and answer.trouble == "drained"
            if drained != self._drained:
                self._drained, self._unwritten = drained, True
                self._forgive = self._forgive or not drained
            if isinstance(answer, Problem):
                self._log.warning("not asked for", instance=order.name, trouble=answer.trouble, reason=answer.text)
                self._stirred = True  # it may have been carried out all the same

    def _align(self, here: Scene) -> None:
        """What of ours there is in the cluster that nobody knows of."""
        if self._view.config_at is None or self._view.config_at == self._aligned_at:
            return
        self._aligned_at = self._view.config_at
        self._aligned = align(
            here.machines,
            list(self._view.instances.values()),
            list(self._view.lives.values()),
            installation=self._installation,
            config_at=self._aligned_at,
            orphans=self._aligned.orphans,
        )

    def _remember(self, here: Scene, notes: Notes, answers: Sequence[tuple[Order, int | Problem]]) -> None:
        """All this is written down."""
        self._submissions.noted([order.name for order, _ in answers])
        self._unwritten = self._unwritten and notes.seen is None
        for job in notes.jobs:
            if job.status in FINAL:
                metrics.CLUSTER_JOBS.labels(job.act, job.status).inc()
        ids = {one.job_id for one in here.machines} | {job.job_id for job in notes.jobs}
        jobs = {key: job for key, job in self._view.jobs.items() if key in ids}
        self._view = replace(self._view, jobs=jobs)
        self._noted = {key: settling.news_of(job) for key, job in jobs.items()}

    def _send(self, rapi: Rapi, here: Scene, written: Written, nodes: Mapping[str, Sequence[str]]) -> None:
        """What may be asked for is."""
        for step in written.steps:
            self._tell(step)
            machine = step.after
            if step.act == "create":
                seed, where = written.seeds[machine.amphora_id], tuple(nodes[machine.amphora_id])
                body = wanted(here.cluster, machine, seed, installation=self._installation, nodes=where)
                self._submissions.send(rapi, Order(machine.name, machine, body), self._left_s(machine))
            elif step.act == "delete":
                self._submissions.send(rapi, Order(machine.name, machine), self._left_s(machine))
        if self._connection.well:
            self._bury(rapi)

    def _left_s(self, machine: Machine) -> float:
        """For which what has been written down may still be asked for."""
        return ASK_WITHIN_S - (self._now() - (machine.asked_at or 0.0))

    def _bury(self, rapi: Rapi) -> None:
        """Instances of ours that have been nobody's for long enough are removed."""
        now = time.monotonic()
        self._buried = {name: at for name, at in self._buried.items() if now - at < BURY_AGAIN_S}
        for name in self._aligned.remove:
            if name not in self._buried and name not in self._submissions.names and self._submissions.free:
                self._buried[name] = now
                self._log.warning("instance is nobody's, and removed", instance=name)
                self._submissions.send(rapi, Order(name, None), ASK_WITHIN_S)

    def _tell(self, step: Step) -> None:
        after = step.after
        if step.act == "forget":
            self._log.info("machine gone", amphora=after.amphora_id)
        elif (step.before.phase, step.before.reason) != (after.phase, after.reason):
            said = {"node": after.node, "reason": after.reason, "remedy": after.remedy, "job": after.job_id}
            told = {name: value for name, value in said.items() if value is not None}
            self._log.info("machine", amphora=after.amphora_id, phase=after.phase, **told)

    def _heard(self) -> None:
        """A job has ended."""
        self._ended.set()
        self.ring()

    def _now(self) -> float:
        return time.time() + self._ahead_s
