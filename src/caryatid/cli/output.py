# SPDX-License-Identifier: Apache-2.0
"""Answers on the screen: tables for people, JSON and YAML for programs, bare values for shells."""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from caryatid.model.quota import ALIASES

Format = Literal["table", "json", "yaml", "value"]
WIDTH_WHEN_PIPED = 10_000
"""Nothing is cut or folded for a program that reads a table."""

COLOURS = {
    "green": ("ACTIVE", "ONLINE", "ALLOCATED", "READY", "succeeded", "true"),
    "yellow": (
        "DEGRADED",
        "DRAINING",
        "UNKNOWN",
        "BOOTING",
        "retrying",
        "PENDING_CREATE",
        "PENDING_UPDATE",
        "PENDING_DELETE",
    ),
    "red": ("ERROR", "DOWN", "FAIL_OPEN", "failed"),
    "cyan": ("NO_MONITOR", "queued", "running"),
    "bright_black": ("OFFLINE", "DISABLED", "DELETED", "false", "superseded", "cancelled"),
}
STYLES = {word: colour for colour, words in COLOURS.items() for word in words}
PLACES = {"id": -4, "name": -3, "provisioning_status": -2, "operating_status": -1}
PLACES |= {"project_id": 1, "created_at": 2, "updated_at": 3}
OLDER = {"tenant_id", *ALIASES}
"""Names that say again what another says, for older clients; not in tables."""
STATUS_NAMES = frozenset({"provisioning_status", "operating_status", "status", "state"})


def console(*, err: bool = False) -> Console:
    """The terminal, or the file or pipe in its place."""
    stream = sys.stderr if err else sys.stdout
    return Console(file=stream, width=None if stream.isatty() else WIDTH_WHEN_PIPED, highlight=False, soft_wrap=True)


def dotted(word: str) -> Text:
    """A status as a coloured dot and its word: never colour alone."""
    return Text.assemble(("●", STYLES.get(word, "")), " ", (word, STYLES.get(word, "")))


def cell(name: str, value: Any) -> Text:
    """One value in a table."""
    if name in STATUS_NAMES and value:
        return dotted(str(value))
    return Text(plain(value))


def plain(value: Any) -> str:
    """One value in words: ids for references, `key=value` for documents, nothing for null."""
    match value:
        case None:
            return ""
        case bool():
            return str(value).lower()
        case list():
            return ", ".join(plain(item) for item in value)
        case {"id": only} if len(value) == 1:
            return str(only)
        case dict():
            return " ".join(f"{name}={plain(item)}" for name, item in value.items() if item is not None)
        case _:
            return str(value)


def ordered(names: Iterable[str]) -> list[str]:
    """Names of attributes as people look for them: what it is called, how it is, the rest, and whose and when."""
    return sorted((name for name in names if name not in OLDER), key=lambda name: PLACES.get(name, 0))


@dataclass(frozen=True)
class Output:
    """How the user wants to read answers."""

    format: Format = "table"
    columns: Sequence[str] = ()

    def many(self, documents: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
        """Prints a list; `columns` are those of the table, if the user names none."""
        if self.format == "table":
            self._table(documents, self.columns or columns)
        elif self.format == "value":
            for document in documents:
                print("\t".join(plain(document.get(name)) for name in self.columns or columns))
        else:
            self._data([self._picked(document) for document in documents])

    def one(self, document: Mapping[str, Any]) -> None:
        """Prints one document, an attribute a line; for people what it is called comes first."""
        picked = self._picked(document)
        if self.format == "value":
            print("\n".join(plain(value) for value in picked.values()))
            return
        if self.format != "table":
            self._data(picked)
            return
        table = Table(box=None, show_header=False, pad_edge=False)
        table.add_column(style="bold", no_wrap=True)
        table.add_column(overflow="fold")
        for name in self.columns or ordered(picked):
            table.add_row(name, cell(name, picked[name]))
        console().print(table)

    def _table(self, documents: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for column in columns:
            table.add_column(column, overflow="fold")
        for document in documents:
            table.add_row(*(cell(name, document.get(name)) for name in columns))
        console().print(table)

    def _picked(self, document: Mapping[str, Any]) -> dict[str, Any]:
        return {name: document.get(name) for name in self.columns} if self.columns else dict(document)

    def _data(self, data: Any) -> None:
        if self.format == "json":
            print(json.dumps(data, indent=2, ensure_ascii=False))
        else:
            import yaml

            print(yaml.safe_dump(data, sort_keys=False, allow_unicode=True), end="")
