# SPDX-License-Identifier: Apache-2.0
"""The watcher: load balancers, what is being done and what has happened, on one live screen.

Nothing is asked for again and again: the stream of events says when to look.
"""

import queue
import select
import sys
import termios
import threading
import time
import tty
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from caryatid.model import EVENT, JOB

from .client import Client, collection
from .events import Names, following, line
from .failures import Failure, Unreachable
from .output import console, dotted
from .overview import badness

STATUS: Final = "/v1/status"
TICK_S: Final = 0.2
LOOK_S: Final = 0.3
"""Between two looks: of many events that come together, one look."""
EVENTS_KEPT: Final = 200
JOBS_MAX: Final = 50
HEADINGS: Final = 9
"""Lines that are no load balancer, job or event."""
ROWS_WHEN_PIPED: Final = 40
QUITS: Final = frozenset("qQ\x03\x04")
Document = Mapping[str, Any]


@dataclass
class Board:
    """What the screen shows."""

    loadbalancers: Sequence[Document] = ()
    jobs: Sequence[Document] = ()
    """Those that have not ended, oldest first."""
    events: deque[Document] = field(default_factory=lambda: deque(maxlen=EVENTS_KEPT))
    names: Names = field(default_factory=dict)
    cursor: str = ""
    """Where the stream goes on."""
    problem: str = ""
    """Why nothing is heard."""

    def look(self, client: Client) -> None:
        """Load balancers and jobs are as they are now."""
        self.loadbalancers = sorted(client.get(STATUS)["loadbalancers"], key=badness)
        self.jobs = client.all(JOB, [("ended_at", "null")], limit=JOBS_MAX)
        self.names.update((one["id"], one["name"]) for one in self.loadbalancers if one["name"])
        self.problem = ""

    def begin(self, client: Client) -> None:
        """All is as it is now, and the stream goes on from here."""
        found = client.get(collection(EVENT), [("newest", "true"), ("limit", str(EVENTS_KEPT))])
        self.events.extend(found[EVENT.plural])
        self.cursor = found["cursor"]
        self.look(client)


def show(client: Client) -> None:
    """Prints the screen once."""
    board, screen = Board(), console()
    board.begin(client)
    screen.print(frame(board, screen.height if screen.is_terminal else ROWS_WHEN_PIPED))


def watch(client: Client) -> None:
    """Until q or Ctrl-C. Where there is no terminal, the screen is printed once, and then each event on a line."""
    board, screen = Board(), console()
    board.begin(client)
    if not screen.is_terminal:
        screen.print(frame(board, ROWS_WHEN_PIPED))
    stop, heard = threading.Event(), queue.SimpleQueue[Document | Failure]()
    listener = threading.Thread(target=_listen, args=(client, board.cursor, heard, stop), daemon=True)
    listener.start()
    try:
        if screen.is_terminal:
            with Live(console=screen, screen=True, auto_refresh=False) as live, _keys() as pressed:
                _show(client, board, heard, lambda: live.update(frame(board, screen.height), refresh=True), pressed)
        else:
            _print(heard, board.names, screen)
    except KeyboardInterrupt:
        return
    finally:
        stop.set()


def _listen(client: Client, after: str, heard: "queue.SimpleQueue[Document | Failure]", stop: threading.Event) -> None:
    try:
        for event in following(client, (), after, stop, heard.put):
            heard.put(event)
    except Failure as failure:
        heard.put(failure)


def _show(
    client: Client,
    board: Board,
    heard: "queue.SimpleQueue[Document | Failure]",
    draw: Callable[[], None],
    pressed: Callable[[], str],
) -> None:
    """Draws whenever something has happened, until a key ends it."""
    draw()
    looked, due = time.monotonic(), False
    while not QUITS & {*pressed()}:
        news = _take(heard)
        for one in news:
            if isinstance(one, Failure):
                board.problem = " ".join(one.reasons)
            else:
                board.events.append(one)
        due = due or bool(news)
        if due and time.monotonic() - looked >= LOOK_S:
            try:
                board.look(client)
            except Failure as failure:
                board.problem = " ".join(failure.reasons)
            looked, due = time.monotonic(), bool(board.problem)
        if news or due or looked > time.monotonic() - TICK_S:
            draw()


def _take(heard: "queue.SimpleQueue[Document | Failure]") -> list[Document | Failure]:
    """What has been heard; waits a moment for it."""
    found: list[Document | Failure] = []
    try:
        found.append(heard.get(timeout=TICK_S))
        while True:
            found.append(heard.get_nowait())
    except queue.Empty:
        return found


def _print(heard: "queue.SimpleQueue[Document | Failure]", names: Names, screen: Console) -> None:
    while True:
        one = heard.get()
        if isinstance(one, Unreachable):
            continue
        if isinstance(one, Failure):
            raise one
        screen.print(line(one, names))


@contextmanager
def _keys() -> Iterator[Callable[[], str]]:
    """What has been pressed since the last time; nothing where there are no keys."""
    if not sys.stdin.isatty():
        yield lambda: ""
        return
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)

    def pressed() -> str:
        ready, _, _ = select.select([descriptor], [], [], 0)
        return sys.stdin.read(1) if ready else ""

    try:
        tty.setcbreak(descriptor)
        yield pressed
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def frame(board: Board, height: int) -> RenderableType:
    """The screen, in so many lines."""
    room = max(3, height - HEADINGS)
    jobs = board.jobs[: max(1, room // 4)]
    loadbalancers = board.loadbalancers[: max(1, room // 2)]
    left = room - max(1, len(jobs)) - max(1, len(loadbalancers))
    parts = [*_loadbalancers(board.loadbalancers, loadbalancers), *_jobs(board.jobs, jobs, board.names)]
    parts += _events(list(board.events)[-max(1, left) :], board.names)
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


def _events(shown: Sequence[Document], names: Names) -> Iterator[RenderableType]:
    yield Text.assemble("\n", ("Events", "bold"))
    for event in shown:
        said = line(event, names)
        said.no_wrap, said.overflow = True, "ellipsis"
        yield said
    if not shown:
        yield Text("none", style="dim")
