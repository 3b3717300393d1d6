# SPDX-License-Identifier: Apache-2.0
"""The watcher: load balancers, what is being done and what has happened, on one live screen."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from caryatid.model import JOB

from . import live
from .client import Client
from .events import Names
from .live import Document, happened
from .output import dotted
from .overview import badness

STATUS: Final = "/v1/status"
JOBS_MAX: Final = 50
HEADINGS: Final = 9
"""Lines that are no load balancer, job or event."""


@dataclass
class Board(live.Board):
    """What the screen shows."""

    loadbalancers: Sequence[Document] = ()
    jobs: Sequence[Document] = ()
    """Those that have not ended, oldest first."""

    def look(self, client: Client) -> None:
        """Load balancers and jobs are as they are now."""
        self.loadbalancers = sorted(client.get(STATUS)["loadbalancers"], key=badness)
        self.jobs = client.all(JOB, [("ended_at", "null")], limit=JOBS_MAX)
        self.names.update((one["id"], one["name"]) for one in self.loadbalancers if one["name"])

    def frame(self, height: int) -> RenderableType:
        return frame(self, height)


def frame(board: Board, height: int) -> RenderableType:
    """The screen, in so many lines."""
    room = max(3, height - HEADINGS)
    jobs = board.jobs[: max(1, room // 4)]
    loadbalancers = board.loadbalancers[: max(1, room // 2)]
    left = room - max(1, len(jobs)) - max(1, len(loadbalancers))
    parts = [*_loadbalancers(board.loadbalancers, loadbalancers), *_jobs(board.jobs, jobs, board.names)]
    parts += happened(list(board.events)[-max(1, left) :], board.names)
    if board.problem:
        parts.append(Text(board.problem, style="red", no_wrap=True))
    return Group(*parts)


def _loadbalancers(known: Sequence[Document], shown: Sequence[Document]) -> Iterator[RenderableType]:
    yield Text.assemble(("Load balancers", "bold"), f" {len(known)}  ", *_counts(known))
    grid = Table.grid(padding=(0, 2))
    for one in shown:
        name = Text(str(one["name"] or one["id"]), style="bold", no_wrap=True)
        wanted, seen = one["generation"], one["observed_generation"]
        far = f"generation {wanted}" if wanted == seen else f"generation {wanted}, {seen} in effect"
        age = "" if one["age_ms"] is None else f"heard of {one['age_ms'] / 1000:.0f} s ago"
        states = dotted(one["operating_status"]), dotted(one["provisioning_status"])
        grid.add_row(*states, name, Text(far, style="dim"), Text(age, style="dim"))
    yield grid if shown else Text("none", style="dim")
    if len(shown) < len(known):
        yield Text(f"and {len(known) - len(shown)} more", style="dim")


def _counts(known: Sequence[Document]) -> Iterator[Text]:
    words = [one["operating_status"] for one in known]
    for word in sorted({*words}, key=lambda word: badness({"operating_status": word})):
        yield Text.assemble(dotted(word), f" {words.count(word)}  ")


def _jobs(known: Sequence[Document], shown: Sequence[Document], names: Names) -> Iterator[RenderableType]:
    yield Text.assemble("\n", ("Jobs under way", "bold"), f" {len(known)}{'+' if len(known) == JOBS_MAX else ''}")
    grid = Table.grid(padding=(0, 2))
    for job in shown:
        which = names.get(job["resource_id"], job["resource_id"])
        what = Text(f"{job['action']} {job['resource_type']} {which}", no_wrap=True)
        grid.add_row(dotted(job["state"]), what, _progress(job), Text(job.get("reason") or "", style="dim"))
    yield grid if shown else Text("none", style="dim")


def _progress(job: Document) -> str:
    progress = job.get("progress") or {}
    return f"{progress['done']} of {progress['known']} steps" if progress.get("known") else ""
