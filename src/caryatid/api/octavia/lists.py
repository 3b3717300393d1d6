# SPDX-License-Identifier: Apache-2.0
"""Lists: a query → filters, order and page; and the links that lead on, with everything the query said
(facts: octavia.md §2.4)."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from caryatid.api.call import Call, Pairs, boolean, instant, split
from caryatid.errors import Fault, Refused
from caryatid.model.kind import Kind
from caryatid.store.filters import Direction, Query

from .compat import FILTERS
from .errors import BeforeResource

TAGS = {"tags": "tags", "tags-any": "tags_any", "not-tags": "not_tags", "not-tags-any": "not_tags_any"}
PLACE = ("limit", "marker", "page_reverse")
CHANGED_SINCE = "changed_since"
ORDER = ("sort", "sort_key", "sort_dir")
REPEATED = ("fields", *TAGS, *ORDER)
DIRECTIONS = ("asc", "desc")


@dataclass(frozen=True)
class Page:
    """What a list was asked for."""

    query: Query
    """For the store: one row more than `limit`, to know whether there are more."""
    limit: int
    fields: Collection[str]
    key: str
    """The attribute that markers name."""
    kept: Pairs
    """What links repeat: all of the query but where in the list it was."""

    def cut(self, rows: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], bool]:
        """The rows of this page, and whether there are more in its direction."""
        more = len(rows) > self.limit
        if more:
            rows = rows[-self.limit :] if self.query.page_reverse else rows[: self.limit]
        return rows, more


def parse(
    call: Call,
    kind: Kind,
    *,
    parent_id: str | None = None,
    project_id: str | None = None,
    pairs: Pairs | None = None,
) -> Page:
    """The page that the call asks for. `project_id`: it is limited to this project's. `pairs`: what the query means.

    Raises Refused for filters and order, BeforeResource for the size of the page.
    """
    pairs = call.pairs if pairs is None else pairs
    single = _single([pair for pair in pairs if pair[0] not in REPEATED])
    several = {name: split(value for key, value in pairs if key == name) for name in REPEATED}
    limit = _limit(single.get("limit"), call.door.settings.pagination_max_limit)
    query = Query(
        filters={name: value for name, value in single.items() if name not in {*PLACE, CHANGED_SINCE}},
        changed_since=instant(CHANGED_SINCE, single[CHANGED_SINCE]) if CHANGED_SINCE in single else None,
        **{field: several[name] for name, field in TAGS.items()},
        sort=_sort(several),
        limit=limit + 1,
        offset=0,
        marker=single.get("marker") or None,
        page_reverse=boolean("page_reverse", single.get("page_reverse", "false")),
        project_id=project_id,
        parent_id=parent_id,
    )
    kept = [pair for pair in call.pairs if pair[0] not in PLACE]
    return Page(query, limit, several["fields"], kind.key, kept)


def links(call: Call, page: Page, rows: Sequence[dict[str, Any]], *, more: bool) -> list[dict[str, str]]:
    """Where the list goes on, and where it came from; nowhere, if it is all there."""
    if not rows:
        return []
    reverse, marked = page.query.page_reverse, page.query.marker is not None
    found = []
    if marked if reverse else more:
        found.append(_link(call, page, rows[-1][page.key], "next"))
    if more if reverse else marked:
        found.append(_link(call, page, rows[0][page.key], "previous"))
    return found


def _link(call: Call, page: Page, marker: str, rel: str) -> dict[str, str]:
    place = [("limit", str(page.limit)), *page.kept, ("marker", marker)]
    if rel == "previous":
        place.append(("page_reverse", "True"))
    return {"href": f"{call.base_url}{call.scope['path']}?{urlencode(place, safe=':,')}", "rel": rel}


def _single(pairs: Pairs) -> dict[str, str]:
    """Parameters that may be given once; which of them are filters, the store says. Raises Refused."""
    found: dict[str, str] = {}
    faults = []
    for name, value in pairs:
        name = FILTERS.get(name, name)  # noqa: PLW2901  the same filter under its name of today
        if name in found:
            faults.append(Fault("One or more arguments are either duplicate or invalid", name))
        found[name] = value
    if faults:
        raise Refused(faults)
    return found


def _limit(text: str | None, most: int) -> int:
    if text is None or text == "infinite":
        return most
    try:
        limit = int(text)
    except ValueError:
        raise BeforeResource(400, f"Supplied pagination limit '{text[:200]}' is not valid.") from None
    return min(limit, most) if limit > 0 else most


def _sort(several: dict[str, list[str]]) -> list[tuple[str, Direction]]:
    """Keys and directions. Raises BeforeResource for a direction that is none; keys are the store's to judge."""
    keys = [word.partition(":")[::2] for word in several["sort"]]
    directions = several["sort_dir"]
    if len(directions) > len(several["sort_key"]):
        raise BeforeResource(400, f"Supplied sort direction '{directions[-1][:200]}' is not valid.")
    rest = [*directions, *([""] * len(several["sort_key"]))]
    keys += list(zip(several["sort_key"], rest, strict=False))
    for _, direction in keys:
        if direction and direction not in DIRECTIONS:
            raise BeforeResource(400, f"Supplied sort direction '{direction[:200]}' is not valid.")
    return [(key, "desc" if direction == "desc" else "asc") for key, direction in keys]
