# SPDX-License-Identifier: Apache-2.0
"""Following jobs until they end, with their log lines as they come."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from threading import Event
from typing import Any

from caryatid.model.job import JOB

from .client import Client, item
from .failures import Failure, Unreachable, WaitEnded
from .output import console

POLL_MIN_S = 0.2
POLL_MAX_S = 1.0
POLL_GROWTH = 1.5


def follow(client: Client, job_ids: Sequence[str], timeout_s: float) -> None:
    """Every job has succeeded. Prints their log lines on standard error meanwhile.

    Raises Failure with the reasons of those that failed, WaitEnded after `timeout_s`. An API that goes away
    meanwhile is waited for.
    """
    deadline = time.monotonic() + timeout_s
    failed = []
    with _progress() as say:
        for job_id in job_ids:
            job = _end_of(client, job_id, deadline, say)
            if job["state"] == "failed":
                failed.append(f"{_name(job)} failed: {job.get('reason') or 'the job does not say why'}")
    if failed:
        raise Failure(*failed)


Say = Callable[[dict[str, Any], int], None]


def _end_of(client: Client, job_id: str, deadline: float, say: Say) -> dict[str, Any]:
    """The job once it has ended; `say` is given it as often as it is seen, and how many lines were known before."""
    pause_s, known = POLL_MIN_S, 0
    job: dict[str, Any] = {}
    while True:
        left_s = deadline - time.monotonic()
        try:
            # the API answers as soon as the job ends, so the end is known at once and lines soon
            waiting = [("wait", f"{max(0.0, min(pause_s, left_s)):.3f}")] if job else []
            job = client.get(item(JOB, job_id), waiting)[JOB.wrapper]
        except Unreachable:
            if left_s <= 0:
                raise
            Event().wait(min(pause_s, left_s))
        else:
            say(job, known)
            known = len(job["log"])
        if job.get("ended_at") is not None:
            return job
        if left_s <= 0:
            raise WaitEnded(_unfinished(job))
        pause_s = min(pause_s * POLL_GROWTH, POLL_MAX_S)


def _unfinished(job: dict[str, Any]) -> str:
    why = f" ({job['reason']})" if job.get("reason") else ""
    return f"{_name(job)} is still {job['state']}{why}. It goes on: caryatid job wait {job['id']}"


def _name(job: dict[str, Any]) -> str:
    return f"{job['action'].capitalize()} of {job['resource_type']} {job['resource_id']}"


@contextmanager
def _progress() -> Iterator[Say]:
    """Prints new log lines; on a terminal also what is waited for."""
    screen = console(err=True)
    with screen.status("") as status:

        def say(job: dict[str, Any], known: int) -> None:
            for line in job["log"][known:]:
                screen.print(f"{line['at'][11:19]} {line['text']}", markup=False, style="dim")
            status.update(f"{_name(job)}: {job['state']}")

        yield say
