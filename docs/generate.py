# SPDX-License-Identifier: Apache-2.0
"""Writes docs/reference/*.md from the declarations in the code. `--check` writes nothing and fails if a page is old."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from making import resources as kinds
from making.checks import checks
from making.commands import commands
from making.lists import lists
from making.words import events, failures, metrics, policy, settings, statuses

from caryatid.model import policyfile

REFERENCE = Path(__file__).parent / "reference"
NOTE = "<!-- Made by `make docs` from the code; changes here are lost. -->"
PAGES: dict[str, Callable[[], Iterator[str]]] = {
    "resources.md": kinds.resources,
    "lists.md": lists,
    "metrics.md": metrics,
    "statuses.md": statuses,
    "events.md": events,
    "policy.md": policy,
    "settings.md": settings,
    "errors.md": failures,
    "checks.md": checks,
    "commands.md": commands,
}


def pages() -> dict[str, str]:
    """Name and text of every page, as the code says now."""
    parts = {**{name: make() for name, make in PAGES.items()}, **dict(kinds.pages())}
    found = {name: "\n\n".join([NOTE, *said]) + "\n" for name, said in parts.items()}
    return {**found, "policy.yaml": "".join(f"{line}\n" for line in policyfile.sample())}


def old(directory: Path = REFERENCE) -> list[str]:
    """Names of pages that differ from what the code says, or are of nothing any more."""
    now = pages()
    files = [*directory.glob("*.*"), *(directory / kinds.FOLDER).glob("*.md")]
    kept = {str(path.relative_to(directory)): path.read_text(encoding="utf-8") for path in files}
    return sorted(name for name in {*now, *kept} if now.get(name) != kept.get(name))


def main() -> None:
    changed = old()
    if "--check" in sys.argv[1:]:
        if changed:
            sys.exit(f"Old: {', '.join(changed)}. Run `make docs`.")
        return
    (REFERENCE / kinds.FOLDER).mkdir(parents=True, exist_ok=True)
    now = pages()
    for name in changed:
        path = REFERENCE / name
        if name in now:
            path.write_text(now[name], encoding="utf-8")
        else:
            path.unlink()
        print(f"docs/reference/{name}")


if __name__ == "__main__":
    main()
