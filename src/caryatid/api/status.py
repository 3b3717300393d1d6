# SPDX-License-Identifier: Apache-2.0
"""How all load balancers are that one may see: a few words of each, and how old these are."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import orjson
from starlette.responses import Response

from caryatid import metrics
from caryatid.control.receipt import moment
from caryatid.errors import Fault, Forbidden, Refused
from caryatid.model.policy import Caller, allowed, require
from caryatid.model.status import OPERATING, PROVISIONING
from caryatid.store import overview
from caryatid.store.database import Database
from caryatid.store.overview import Seen

from .call import Call, aside, instant, seconds
from .etags import digest, knows, unless_known
from .news import News
from .resources import CHANGED_SINCE
from .routing import Body, Operation, Parameter

PATH: Final = "/v1/status"
RULE: Final = "caryatid_api:status:get_all"
RULE_GLOBAL: Final = "caryatid_api:status:get_all-global"
CHANNEL: Final = "events"
WAIT_MAX_S: Final = 60.0
WAITERS_MAX: Final = 20_000
KEPT_MAX: Final = 100
"""Projects whose load balancers are kept in memory between two requests."""
CHOICES_MAX: Final = 100
FILTERS: Final[Mapping[str, Sequence[str]]] = {
    "project_id": (),
    "provisioning_status": tuple(PROVISIONING),
    "operating_status": tuple(OPERATING),
}
"""What the list can be limited by, and the words that it can be limited to (none: any)."""
Chosen = tuple[list[Seen], str]
"""Some of the load balancers, and what the answer that shows them differs in from others."""


@dataclass
class Look:
    """The load balancers of a project, or all, as of one state of the database."""

    version: Hashable
    rows: list[Seen]
    _chosen: dict[tuple[tuple[str, str], ...], Chosen] = field(default_factory=dict)

    def chosen(self, filters: Mapping[str, str]) -> Chosen:
        """Those that have these values."""
        key = tuple(sorted(filters.items()))
        found = self._chosen.get(key)
        if found is None:
            rows = [row for row in self.rows if all(getattr(row, name) == value for name, value in key)]
            found = rows, _tag(rows)
            if len(self._chosen) < CHOICES_MAX:
                self._chosen[key] = found
        return found


class Overview:
    """Answers what is asked at PATH. What was read stays good until something is committed."""

    def __init__(self, news: News) -> None:
        self._news = news
        self._kept: OrderedDict[str | None, Look] = OrderedDict()
        self._reading: dict[Hashable, asyncio.Task[Look]] = {}
        self._shared: dict[Hashable, asyncio.Task[Look]] = {}
        self._shared_at: Hashable = None
        self._waiters = 0

    async def show(self, call: Call) -> Response:
        options = call.options(*FILTERS, CHANGED_SINCE.name, WAIT.name)
        project_id, filters = _limits(call.caller, options)
        wait_s = seconds(WAIT.name, options.get(WAIT.name, "0"), WAIT_MAX_S)
        text = options.get(CHANGED_SINCE.name)
        changed = None if text is None else instant(CHANGED_SINCE.name, text)
        choose = partial(self._choose, call.door.database, filters, changed)
        rows, tag = await choose(await self.look(call, project_id))
        if wait_s and knows(call.scope, tag) and self._waiters < WAITERS_MAX:
            rows, tag = await self._other(call, project_id, tag, wait_s, choose)
        if knows(call.scope, tag):
            return unless_known(call.scope, tag, b"", {})
        return unless_known(call.scope, tag, _content(rows), {})

    async def look(self, call: Call, project_id: str | None) -> Look:
        """As it is now, or was after this was asked: whoever has changed something sees it."""
        database = call.door.database
        version = await call.read(database.version)
        kept = self._kept.get(project_id)
        if kept is not None and kept.version == version:
            self._kept.move_to_end(project_id)
            return kept
        key = project_id, version
        reading = self._reading.get(key)
        if reading is None:  # one that was begun at this version has seen all that was there at this version
            reading = self._reading[key] = asyncio.create_task(self._read(database, project_id, version))
            reading.add_done_callback(lambda _: self._reading.pop(key))
        return await asyncio.shield(reading)

    async def _read(self, database: Database, project_id: str | None, version: Hashable) -> Look:
        look = Look(version, await aside(_rows, database, project_id))
        self._kept[project_id] = look
        self._kept.move_to_end(project_id)
        while len(self._kept) > KEPT_MAX:
            self._kept.popitem(last=False)
        return look

    async def _choose(self, database: Database, filters: Mapping[str, str], changed: str | None, look: Look) -> Chosen:
        rows, tag = look.chosen(filters)
        if changed is None:
            return rows, tag
        ids = await aside(_changed, database, changed)
        rows = [row for row in rows if row.id in ids]
        return rows, _tag(rows)

    async def _other(self, call: Call, project_id: str | None, tag: str, wait_s: float, choose: Any) -> Chosen:
        """What is there once it is not what `tag` names, or after `wait_s`. All who wait share their looks."""
        deadline = time.monotonic() + wait_s
        self._waiters += 1
        metrics.WAITING.inc()
        try:
            with call.left() as gone:
                while True:
                    number = self._news.number(CHANNEL)
                    found: Chosen = await choose(await self._share(call, project_id, number))
                    left_s = deadline - time.monotonic()
                    if found[1] != tag or left_s <= 0 or gone.done() or self._news.closing:
                        return found
                    await self._news.after(CHANNEL, number, left_s)
        finally:
            self._waiters -= 1
            metrics.WAITING.dec()

    async def _share(self, call: Call, project_id: str | None, number: int) -> Look:
        """A look of this second that was begun after the channel had this number."""
        now = number, int(time.monotonic())
        if self._shared_at != now:
            self._shared, self._shared_at = {}, now
        task = self._shared.get(project_id)
        if task is None:
            task = self._shared[project_id] = asyncio.create_task(self.look(call, project_id))
        return await asyncio.shield(task)


def _rows(database: Database, project_id: str | None) -> list[Seen]:
    with database.read() as tx:
        return overview.read(tx, project_id)


def _changed(database: Database, since: str) -> Collection[str]:
    with database.read() as tx:
        return overview.changed(tx, since)


def _limits(caller: Caller, options: Mapping[str, str]) -> tuple[str | None, dict[str, str]]:
    """The project to which the answer is limited (None: it is not), and by what else. Raises Refused, Forbidden."""
    filters = {name: value for name, value in options.items() if name in FILTERS}
    wrong = [name for name, value in filters.items() if FILTERS[name] and value not in FILTERS[name]]
    if wrong:
        why = "Invalid input for field/attribute {}. Value should be one of: {}"
        raise Refused([Fault(why.format(name, ", ".join(FILTERS[name])), name) for name in wrong])
    named = filters.pop("project_id", None)
    if allowed(caller, RULE_GLOBAL, None):
        return named, filters
    if named not in {None, caller.project_id}:
        raise Forbidden("Policy does not allow this request to be performed.")
    require(caller, RULE, caller.project_id)
    return caller.project_id or "", filters


def _tag(rows: Sequence[Seen]) -> str:
    """Weak: ages are not in it."""
    return f'W/"{digest(orjson.dumps([row[:-1] for row in rows]))}"'


def _content(rows: Sequence[Seen]) -> bytes:
    now = time.time()
    shown = [
        {
            "id": key,
            "name": name,
            "project_id": project_id,
            "provisioning_status": provisioning,
            "operating_status": operating,
            "generation": generation,
            "observed_generation": observed,
            "age_ms": max(0, int((now - heard_at) * 1000)) if heard_at else None,
        }
        for key, name, project_id, provisioning, operating, generation, observed, heard_at in rows
    ]
    return orjson.dumps({"loadbalancers": shown, "at": moment()})


WAIT: Final = Parameter(
    "wait",
    f"With If-None-Match: seconds to wait until something else is to be shown, {WAIT_MAX_S:.0f} at most.",
    {"type": "number", "minimum": 0},
)


def operations(news: News) -> list[Operation]:
    words = [
        Parameter(name, "Only those with this.", {"type": "string", **({"enum": list(allow)} if allow else {})})
        for name, allow in FILTERS.items()
    ]
    return [
        Operation(
            "GET", PATH, Overview(news).show, "How all load balancers are", "Status", gives=SHOWN,
            query=(*words, CHANGED_SINCE, WAIT), errors=(304, 400, 403, 406, 500, 503), rule=RULE,
        )
    ]  # fmt: skip


_NUMBER = {"type": "integer"}
_TEXT = {"type": "string"}
_ONE = {
    "id": _TEXT,
    "name": _TEXT,
    "project_id": _TEXT,
    "provisioning_status": {"enum": list(PROVISIONING)},
    "operating_status": {"enum": list(OPERATING)},
    "generation": {**_NUMBER, "description": "What was asked for last."},
    "observed_generation": {**_NUMBER, "description": "What is in effect."},
    "age_ms": {
        "type": ["integer", "null"],
        "description": "How many milliseconds ago one of its hosts was heard of last; null: never.",
    },
}
SHOWN: Final = Body(
    {
        "type": "object",
        "required": ["loadbalancers", "at"],
        "properties": {
            "loadbalancers": {
                "type": "array",
                "items": {"type": "object", "required": list(_ONE), "properties": _ONE, "additionalProperties": False},
            },
            "at": {"type": "string", "description": "When this was said, UTC."},
        },
    }
)
