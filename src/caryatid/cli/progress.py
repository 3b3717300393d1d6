# SPDX-License-Identifier: Apache-2.0
"""Following jobs until they end: how far they are, and what is said of them as it is said."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Event
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

from caryatid.model.job import JOB

from .client import Client, item
from .failures import Failure, TryAgain, Unreachable, WaitEnded
from .output import console

WAIT_S = 30.0
"""How long one request waits for news."""
RETRY_S = 0.5
WELL = frozenset({"succeeded", "superseded"})
"""How a job ends that one need not worry about."""
Job = dict[str, Any]


def follow(client: Client, job_ids: Sequence[str], timeout_s: float) -> None:
    """Every job has succeeded, or does not matter any more. Shows on standard error meanwhile how far they are.

    Raises Failure with the reasons of those that failed, WaitEnded after `timeout_s`. An API that goes away
    meanwhile is waited for.
    """
    deadline = time.monotonic() + timeout_s
    failed = []
    with _shown(len(job_ids)) as show:
        for job_id in job_ids:
            job: Job = {}
            for job in news(client, job_id, deadline):
                show(job)
            if job["ended_at"] is None:
                raise WaitEnded(_unfinished(job))
            if job["state"] not in WELL:
                failed.append(_why(job))
    if failed:
        raise Failure(*failed)


def news(client: Client, job_id: str, deadline: float) -> Iterator[Job]:
    """The job as it is, and again whenever there is news of it, until it has ended or the deadline (by the monotonic
    clock) has passed."""
    since, job = 0, None
    while True:
        left_s = deadline - time.monotonic()
        query = [("since", str(since)), ("timeout", f"{max(0.0, min(WAIT_S, left_s)):.3f}")]
        try:
            job = client.get(f"{item(JOB, job_id)}/wait", query)[JOB.wrapper]
        except (Unreachable, TryAgain):
            if left_s <= 0:
                raise
            Event().wait(min(RETRY_S, left_s))
            continue
        if job["serial"] > since or job["ended_at"] is not None:
            yield job
        since = job["serial"]
        if job["ended_at"] is not None or left_s <= 0:
            return


@dataclass
class Lines:
    """The lines of a job that have not been seen yet."""

    job_id: str = ""
    seen: set[str] = field(default_factory=set)

    def new(self, job: Job) -> list[Mapping[str, Any]]:
        if job["id"] != self.job_id:
            self.job_id, self.seen = job["id"], set()
        found = [line for line in job["log"] if line["position"] not in self.seen]
        self.seen.update(line["position"] for line in found)
        return found


def line_text(line: Mapping[str, Any]) -> str:
    """A line of a log, for people."""
    return f"{line['at'][11:19]} {line['text']}"


def _why(job: Job) -> str:
    reason = job.get("reason") or "the job does not say why"
    return " ".join(filter(None, (f"{name_of(job)} {_HOW.get(job['state'], job['state'])}: {reason}", job["remedy"])))


_HOW = {"cancelled": "was cancelled"}


def _unfinished(job: Job) -> str:
    why = f" ({job['reason']})" if job.get("reason") else ""
    return f"{name_of(job)} is still {job['state']}{why}. It goes on: caryatid job wait {job['id']}"


def name_of(job: Job) -> str:
    return f"{job['action'].capitalize()} of {job['resource_type']} {job['resource_id']}"


class _Screen:
    """Lines as they come; on a terminal below them a bar for the job, and one for all of them if there are several."""

    def __init__(self, bars: Progress, count: int) -> None:
        self._bars = bars
        self._lines = Lines()
        self._all = bars.add_task(f"{count} jobs", total=count, state="") if count > 1 else None
        self._bar: TaskID | None = None

    def __call__(self, job: Job) -> None:
        if job["id"] != self._lines.job_id:
            self._begin(job)
        for line in self._lines.new(job):
            self._bars.console.print(Text(line_text(line), style="dim"))
        if self._bar is not None:
            done, known = job["progress"]["done"], job["progress"]["known"]
            self._bars.update(self._bar, completed=done, total=known or None, state=job["state"])
        if job["ended_at"] is not None and self._all is not None:
            self._bars.advance(self._all)

    def _begin(self, job: Job) -> None:
        if self._bar is not None:
            self._bars.remove_task(self._bar)
        self._bar = self._bars.add_task(name_of(job), total=None, state=job["state"])


@contextmanager
def _shown(count: int) -> Iterator[_Screen]:
    screen = console(err=True)
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[state]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=screen, transient=True, disable=not screen.is_terminal) as bars:
        yield _Screen(bars, count)
