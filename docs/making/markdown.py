# SPDX-License-Identifier: Apache-2.0
"""Pieces of Markdown."""

from collections.abc import Iterable, Sequence
from typing import Any


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A Markdown table."""
    body = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(escaped(str(text)) for text in row) + " |" for row in body)


def escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def code(text: str) -> str:
    return f"`{text}`"


def words(given: Iterable[str]) -> str:
    return ", ".join(code(word) for word in sorted(given))
