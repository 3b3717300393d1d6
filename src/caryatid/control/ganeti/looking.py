# SPDX-License-Identifier: Apache-2.0
"""What a cluster is asked, and when: seldom while nothing happens, more often while jobs run, at once after news."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from caryatid import metrics
from caryatid.model.cluster import OURS, Machine
from caryatid.plan.ganeti.judging import Sight
from caryatid.wire.rapi.answers import Info, Instance, Job, Live, Node, Problem
from caryatid.wire.rapi.client import Rapi

CONFIG_BUSY_S: Final = 1.0
CONFIG_IDLE_S: Final = 10.0
JOBS_S: Final = 1.0
JOBS_WAITED_S: Final = 5.0
"""The same, while somebody waits for each of them: what it says in between is for its log."""
LIVE_S: Final = 3.0
LIVE_BOOTING_S: Final = 2.0
LIVE_DOUBT_S: Final = 1.1
"""After an instance was seen not to run: once more is believed."""
INFO_S: Final = 60.0
UNFINISHED_S: Final = 1.0
NODES_S: Final = 2.0
"""So old may be what nodes have free when one is chosen."""
RUNNING: Final = "running"
LOST_JOBS_MAX: Final = 2
"""Jobs that the queue does not have any more are asked for one by one: so many in a turn."""


@dataclass(frozen=True)
class View:
    """What is known of a cluster. Each time is when the question was put, in seconds since the epoch; None: never."""

    info: Info | None = None
    info_at: float | None = None
    nodes: Sequence[Node] = ()
    nodes_at: float | None = None
    instances: Mapping[str, Instance] = field(default_factory=dict)
    config_at: float | None = None
    lives: Mapping[str, Live] = field(default_factory=dict)
    live_at: float | None = None
    jobs: Mapping[int, Job] = field(default_factory=dict)
    """Those of our machines."""
    jobs_at: float | None = None
    unfinished: Sequence[Job] = ()
    unfinished_at: float | None = None

    def of(self, machine: Machine, heard_at: float | None) -> Sight:
        """What is known of one machine."""
        return Sight(
            job=self.jobs.get(machine.job_id) if machine.job_id is not None else None,
            unfinished=[job for job in self.unfinished if machine.name in job.instances and not self._over(job.id)],
            unfinished_at=self.unfinished_at,
            instance=self.instances.get(machine.name),
            config_at=self.config_at,
            live=self.lives.get(machine.name),
            live_at=self.live_at,
            heard_at=heard_at,
        )

    def _over(self, job_id: int) -> bool:
        """It has been seen to have ended since the unfinished ones were asked for."""
        known = self.jobs.get(job_id)
        return known is not None and (known.final or not known.status)


@dataclass(frozen=True)
class Due:
    """What is to be asked now."""

    info: bool = False
    jobs: Sequence[int] = ()
    config: bool = False
    unfinished: bool = False
    live: bool = False
    in_s: float = CONFIG_IDLE_S
    """When nothing is, something will be in so many seconds."""

    @property
    def any(self) -> bool:
        return bool(self.info or self.jobs or self.config or self.unfinished or self.live)


def open_jobs(view: View, machines: Iterable[Machine]) -> list[int]:
    """Jobs of these machines that are not known to be over."""
    ids = {one.job_id for one in machines if one.job_id is not None}
    return sorted(one for one in ids if (job := view.jobs.get(one)) is None or not (job.final or not job.status))


@dataclass(frozen=True)
class News:
    """What has happened that only looking tells."""

    jobs: bool = False
    """A job has ended: jobs are looked at, and nothing else before."""
    config: bool = False
    """There may be other instances than before."""


def due(
    view: View, machines: Sequence[Machine], *, now: float, news: News, asking: Collection[str], waited: bool
) -> Due:
    """`asking`: instances that requests of ours are under way for. `waited`: somebody waits for each of the jobs."""
    jobs = open_jobs(view, machines)
    if jobs and news.jobs:
        return Due(jobs=jobs)
    moments = {"info": _next(view.info_at, INFO_S), "config": _next(view.config_at, CONFIG_IDLE_S)}
    searched = any(_is_searched_for(one) for one in machines if one.name not in asking)
    if jobs or searched or asking:
        moments["config"] = _next(max(view.config_at or 0.0, view.live_at or 0.0) or None, CONFIG_BUSY_S)
    if jobs:
        moments["jobs"] = _next(_last(view, machines), JOBS_WAITED_S if waited else JOBS_S)
    if searched:
        moments["unfinished"] = moments["config"] = min(moments["config"], _next(view.unfinished_at, UNFINISHED_S))
    if any(one.phase in ("BOOTING", "READY") for one in machines):
        moments["live"] = _next(view.live_at, _live_s(view, machines))
    found = {name for name, at in moments.items() if at <= now}
    if news.config or view.config_at is None:
        found.add("config")
    elif "live" in found and not searched:
        found.discard("config")  # nodes know better; the configuration's turn is next
    return Due(
        info="info" in found,
        jobs=jobs if "jobs" in found else (),
        config="config" in found,
        unfinished="unfinished" in found,
        live="live" in found,
        in_s=max(0.0, min(moments.values()) - now),
    )


def _last(view: View, machines: Iterable[Machine]) -> float | None:
    """When something was last known of the jobs: one that was just begun needs no looking at."""
    asked = [one.asked_at for one in machines if one.job_id is not None and one.asked_at is not None]
    return max([*([view.jobs_at] if view.jobs_at is not None else []), *asked], default=None)


def look(rapi: Rapi, view: View, wanted: Due, clock: Callable[[], float]) -> View | Problem:
    """What is known afterwards. The first question that gets no answer ends it."""
    steps: list[tuple[bool, Callable[[Rapi, View, float], View | Problem]]] = [
        (wanted.info, _info),
        (bool(wanted.jobs), lambda rapi, view, now: _jobs(rapi, view, now, wanted.jobs)),
        (wanted.config, _config),
        (wanted.unfinished, _unfinished),  # after the configuration: what has ended is in one of them
        (wanted.live, _live),
    ]
    for is_due, step in steps:
        if is_due:
            with metrics.RAPI_SLOTS.track_inprogress():
                seen = step(rapi, view, clock())
            if isinstance(seen, Problem):
                return seen
            view = seen
    return view


def look_at_nodes(rapi: Rapi, view: View, clock: Callable[[], float]) -> View | Problem:
    """What nodes have free is known, and not old."""
    now = clock()
    if _next(view.nodes_at, NODES_S) > now:
        return view
    with metrics.RAPI_SLOTS.track_inprogress():
        nodes = rapi.nodes()
    return nodes if isinstance(nodes, Problem) else replace(view, nodes=nodes, nodes_at=now)


def _info(rapi: Rapi, view: View, now: float) -> View | Problem:
    info = rapi.info()
    if isinstance(info, Problem):
        return info
    nodes = rapi.nodes()
    if isinstance(nodes, Problem):
        return nodes
    return replace(view, info=info, info_at=now, nodes=nodes, nodes_at=now)


def _config(rapi: Rapi, view: View, now: float) -> View | Problem:
    found = rapi.instances(OURS)
    if isinstance(found, Problem):
        return found
    return replace(view, instances={one.name: one for one in found}, config_at=now)


def _live(rapi: Rapi, view: View, now: float) -> View | Problem:
    found = rapi.live(OURS)
    return found if isinstance(found, Problem) else replace(view, lives={one.name: one for one in found}, live_at=now)


def _unfinished(rapi: Rapi, view: View, now: float) -> View | Problem:
    found = rapi.unfinished()
    return found if isinstance(found, Problem) else replace(view, unfinished=found, unfinished_at=now)


def _jobs(rapi: Rapi, view: View, now: float, ids: Sequence[int]) -> View | Problem:
    """Those that are asked for, and no others. Who is not in the queue any more is asked for by name."""
    found = rapi.jobs(ids)
    if isinstance(found, Problem):
        return found
    known = {job.id: job for job in found}
    for job_id in sorted(set(ids) - known.keys())[:LOST_JOBS_MAX]:
        job = rapi.job(job_id)
        if isinstance(job, Problem):
            return job
        known[job_id] = job
    return replace(view, jobs={**view.jobs, **known}, jobs_at=now)


def _next(at: float | None, period_s: float) -> float:
    return 0.0 if at is None else at + period_s


def _is_searched_for(machine: Machine) -> bool:
    """It was asked for, or its end, and nobody knows what became of that."""
    under_way = machine.phase in ("WANTED", "CREATING", "DELETING", "UNWANTED")
    return under_way and machine.asked_at is not None and machine.job_id is None


def _live_s(view: View, machines: Iterable[Machine]) -> float:
    period_s = LIVE_S
    for one in machines:
        if one.phase == "BOOTING":
            period_s = min(period_s, LIVE_BOOTING_S)
        if one.phase in ("BOOTING", "READY"):
            live = view.lives.get(one.name)
            if view.live_at is not None and (live is None or live.status != RUNNING) and one.changed_at < view.live_at:
                period_s = LIVE_DOUBT_S
    return period_s
