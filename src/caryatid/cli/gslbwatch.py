# SPDX-License-Identifier: Apache-2.0
"""The watcher of global load balancing: names with their answers, what they use, and what has happened, live."""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.text import Text

from caryatid.model import GSLB, GSLB_MEMBER, GSLB_POOL

from . import gslbtree, live
from .client import Client
from .failures import Failure
from .live import Document, happened
from .output import dotted
from .overview import badness

TREES_MAX: Final = 10
AT_A_TIME: Final = 8
HEADINGS: Final = 6
"""Lines that are no name or event."""
EVENTS_MIN: Final = 5
KINDS: Final = (GSLB, GSLB_POOL, GSLB_MEMBER)


@dataclass
class Board(live.Board):
    """What the screen shows."""

    gslbs: Sequence[Document] = ()
    """The worst first."""
    trees: Mapping[str, Document] = field(default_factory=dict)
    """Of the worst, by id."""
    regions: Sequence[Document] = ()
    query: Sequence[tuple[str, str]] = tuple(("type", f"{kind.name}.*") for kind in KINDS)

    def look(self, client: Client) -> None:
        """Names, the trees of the worst, and regions are as they are now."""
        self.gslbs = sorted(client.all(GSLB), key=badness)
        self.regions = client.get("/gslb/v1/regions")["regions"]
        with ThreadPoolExecutor(AT_A_TIME) as pool:
            found = pool.map(lambda one: _tree(client, one["id"]), self.gslbs[:TREES_MAX])
            self.trees = {tree["id"]: tree for tree in found if tree is not None}
        self.names.update((one["id"], one["name"]) for one in self.gslbs if one["name"])

    def frame(self, height: int) -> RenderableType:
        """The regions on a line, the trees as far as there is room, the last events."""
        names = {region["id"]: region["name"] for region in self.regions}
        lines = [line for one in self.gslbs for line in self._shown(one, names)]
        room = max(3, height - HEADINGS - EVENTS_MIN)
        left = max(EVENTS_MIN, height - HEADINGS - min(len(lines), room))
        parts: list[RenderableType] = [_regions(self.regions), Text(f"\nNames {len(self.gslbs)}", style="bold")]
        parts += lines[:room] or [Text("none", style="dim")]
        parts += happened(list(self.events)[-left:], self.names)
        if self.problem:
            parts.append(Text(self.problem, style="red", no_wrap=True))
        return Group(*parts)

    def _shown(self, one: Document, names: Mapping[str, str]) -> Iterator[Text]:
        """A line for each row of its tree, so that the screen can be filled to the last one."""
        for line in _lines(self.trees.get(one["id"], {**one, "pools": []}), names):
            line.no_wrap, line.overflow = True, "ellipsis"
            yield line


def _tree(client: Client, gslb_id: str) -> dict[str, Any] | None:
    """The status tree; None if it has gone meanwhile."""
    try:
        return gslbtree.look(client, gslb_id)
    except Failure as failure:
        if failure.exit_code != Failure.exit_code:
            raise
        return None


def _regions(regions: Sequence[Document]) -> Text:
    said = [_region(region) for region in sorted(regions, key=lambda region: str(region["name"]))]
    return Text.assemble(("Regions ", "bold"), Text("  ").join(said))


def _region(region: Document) -> Text:
    heard = bool(region["checkers"])
    return Text.assemble(("●", "green" if heard else "red"), f" {region['name']}{'' if heard else ', silent'}")


def _lines(tree: Document, names: Mapping[str, str]) -> Iterator[Text]:
    yield gslbtree.headline(tree)
    for sentence in tree.get("why", ()):
        if not sentence.startswith("pool "):  # that is said of the member below
            yield Text(f"    {sentence}", style="dim")
    for pool in tree["pools"]:
        for member in sorted(pool["members"], key=badness):
            said = Text("  ").join(gslbtree.votes(member["per_region"], names))
            called = member.get("name") or member.get("address") or member["id"]
            yield Text.assemble("  ", dotted(member["operating_status"]), f" {pool['name']} / {called}  ", said)
