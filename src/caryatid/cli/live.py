# SPDX-License-Identifier: Apache-2.0
"""A live screen: how something is, and what has happened to it.

Nothing is asked for again and again: the stream of events says when to look.
"""

import queue
import select
import sys
import termios
import threading
import time
import tty
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from rich.console import Console, RenderableType
from rich.live import Live
from rich.text import Text

from caryatid.model import EVENT

from .client import Client, collection
from .events import Names, following, line
from .failures import Failure, Unreachable
from .output import console

TICK_S: Final = 0.2
LOOK_S: Final = 0.3
"""Between two looks: of many events that come together, one look."""
EVENTS_KEPT: Final = 200
ROWS_WHEN_PIPED: Final = 40
QUITS: Final = frozenset("qQ\x03\x04")
Document = Mapping[str, Any]


@dataclass
class Board(ABC):
    """What a screen shows."""

    events: deque[Document] = field(default_factory=lambda: deque(maxlen=EVENTS_KEPT))
    names: Names = field(default_factory=dict)
    cursor: str = ""
    """Where the stream goes on."""
    problem: str = ""
    """Why nothing is heard."""
    query: Sequence[tuple[str, str]] = ()
    """Which events count."""

    @abstractmethod
    def look(self, client: Client) -> None:
        """All is as it is now."""

    @abstractmethod
    def frame(self, height: int) -> RenderableType:
        """The screen, in so many lines."""

    def begin(self, client: Client) -> None:
        """All is as it is now, and the stream goes on from here."""
        found = client.get(collection(EVENT), [*self.query, ("newest", "true"), ("limit", str(EVENTS_KEPT))])
        self.events.extend(found[EVENT.plural])
        self.cursor = found["cursor"]
        self.look(client)
        self.problem = ""


def show(client: Client, board: Board) -> None:
    """Prints the screen once."""
    screen = console()
    board.begin(client)
    screen.print(board.frame(screen.height if screen.is_terminal else ROWS_WHEN_PIPED))


def watch(client: Client, board: Board) -> None:
    """Until q or Ctrl-C. Where there is no terminal, the screen is printed once, and then each event on a line."""
    screen = console()
    board.begin(client)
    if not screen.is_terminal:
        screen.print(board.frame(ROWS_WHEN_PIPED))
    stop, heard = threading.Event(), queue.SimpleQueue[Document | Failure]()
    listener = threading.Thread(target=_listen, args=(client, board, heard, stop), daemon=True)
    listener.start()
    try:
        if screen.is_terminal:
            with Live(console=screen, screen=True, auto_refresh=False) as live, _keys() as pressed:
                _show(client, board, heard, lambda: live.update(board.frame(screen.height), refresh=True), pressed)
        else:
            _print(heard, board.names, screen)
    except KeyboardInterrupt:
        return
    finally:
        stop.set()


def _listen(
    client: Client, board: Board, heard: "queue.SimpleQueue[Document | Failure]", stop: threading.Event
) -> None:
    try:
        for event in following(client, board.query, board.cursor, stop, heard.put):
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
                board.problem = ""
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


def happened(shown: Sequence[Document], names: Names) -> Iterator[RenderableType]:
    """Events on a line each, under their heading."""
    yield Text.assemble("\n", ("Events", "bold"))
    for event in shown:
        said = line(event, names)
        said.no_wrap, said.overflow = True, "ellipsis"
        yield said
    if not shown:
        yield Text("none", style="dim")
