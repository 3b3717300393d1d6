# SPDX-License-Identifier: Apache-2.0
"""Jobs: receipts for accepted changes, what was done for them, and waiting for what is new of them (docs/jobs.md)."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import orjson
from starlette.responses import Response

from caryatid.control import jobs as control
from caryatid.control.receipt import rule
from caryatid.errors import Fault, NotFound, Refused
from caryatid.model import JOB
from caryatid.model.policy import Caller, require
from caryatid.store import jobs
from caryatid.store.database import Database
from caryatid.store.filters import Query

from .call import JSON, Call, answer, aside, boolean, instant, seconds
from .conditions import exact
from .news import News
from .octavia.compat import shower
from .octavia.lists import Page
from .resources import READING, Documents, Resource, verbs
from .routing import Body, Operation, Parameter
from .stream import MEDIA_TYPE, frame, stream
from .waiting import Board, Watched

VERSION = "/v1"
ONE = f"{VERSION}{JOB.path}/{{id}}"
LOG = f"{ONE}/log"
WAIT_MAX_S = 60.0
ARCHIVED = "archived"
UNFILTERED = frozenset({"attempts", "started_at", "serial", ARCHIVED})
"""Attributes that lists cannot be filtered by."""
STREAM_WAIT_S = 3600.0
NUMBER: dict[str, Any] = {"type": "integer", "minimum": 0}
TIME = {"type": "string", "format": "local-date-time"}
RANGES = {
    "created_since": "Only those accepted at this time or later.",
    "created_until": "Only those accepted before this time.",
    "ended_since": "Only those that ended at this time or later.",
    "ended_until": "Only those that ended before this time.",
}
LISTING = (
    *(Parameter(name, said, TIME) for name, said in RANGES.items()),
    Parameter(ARCHIVED, "Those that are archived, instead of the others.", {"type": "boolean", "default": False}),
)
WAITING = (
    Parameter(
        "since",
        "The serial that is known: the answer comes when the job has a higher one, or has ended. Absent: when it has.",
        NUMBER,
    ),
    Parameter(
        "timeout",
        f"Seconds after which the answer comes all the same: {WAIT_MAX_S:.0f} at most, and by default.",
        {"type": "number", "minimum": 0},
    ),
)
POSITION = r"^[0-9]{1,9}\.[0-9]{1,9}$"
FOLLOWING = (
    Parameter(
        "follow",
        "Lines come as server-sent events as they are said, each with its position as id, and at last `end` with the "
        "job. Last-Event-ID resumes.",
        {"type": "boolean", "default": False},
    ),
    Parameter("after", "Only lines after this position.", {"type": "string", "pattern": POSITION}),
)


FOLLOWED = tuple(code for code in READING if code != 406)  # noqa: PLR2004  it is open to other media types


class Jobs(Resource):
    """Jobs are no rows of a kind: their state is read off the generations of their root."""

    def __init__(self, news: News) -> None:
        super().__init__(JOB)
        self.board = Board(news)
        self.show_listed = shower(JOB, without=("log",))

    async def wait(self, call: Call) -> Response:
        """The job as soon as there is news of it."""
        options = call.options("since", "timeout")
        since = _serial(options["since"]) if "since" in options else None
        timeout_s = seconds("timeout", options.get("timeout", str(WAIT_MAX_S)), WAIT_MAX_S)
        with self.board.watch(call.path["id"]) as watched:
            await self._read(call, watched)
            with call.left() as gone:
                await self.board.wait(call.door.database, watched, since, timeout_s, gone)
            if not watched.content:
                watched.content = orjson.dumps({JOB.wrapper: self.show(watched.document or {})})
            response = Response(watched.content)
        response.raw_headers.append(JSON)
        return response

    async def log(self, call: Call) -> Response:
        """What was done for the job: all of it, or as it is said."""
        options = call.options("follow", "after")
        after = _position(options.get("after") or _last_event_id(call))
        document = await self._document(call)
        if boolean("follow", options.get("follow", "false")):
            return stream(self._follow(call, after))
        return answer(200, {"log": [line for line in document["log"] if _place(line) > after]})

    async def cancel(self, call: Call) -> Response:
        call.options()
        document = await aside(control.cancel, call.door, call.caller, call.path["id"])
        return answer(200, {JOB.wrapper: self.show(document)})

    def document(self, database: Database, caller: Caller, key: str, parent_id: str | None) -> dict[str, Any]:  # noqa: ARG002
        document = _found(database, key)
        self._require_seeing(caller, document)
        return document

    def _require_seeing(self, caller: Caller, document: Mapping[str, Any]) -> None:
        """What belongs to no project is for who asked for it, and for who may see everything. Raises Forbidden."""
        project_id = document["project_id"]
        if project_id is None and document["user_id"] == caller.user_id:
            return
        require(caller, self._global if project_id is None else self._get_one, project_id)

    async def _document(self, call: Call) -> dict[str, Any]:
        return await call.read(self.document, call.door.database, call.caller, call.path["id"], None)

    async def _read(self, call: Call, watched: Watched) -> None:
        """The job that is watched is known, and may be seen. Raises NotFound, Forbidden, Busy."""
        found = partial(call.read, _found, call.door.database, watched.key)
        self._require_seeing(call.caller, await self.board.read(watched, found))

    async def _follow(self, call: Call, after: tuple[int, int]) -> AsyncIterator[bytes]:
        with self.board.watch(call.path["id"]) as watched:
            await self._read(call, watched)
            document = watched.document or {}
            while True:
                for line in document["log"]:
                    if (place := _place(line)) > after:
                        after = place
                        yield frame(line, key=line["position"])
                if document["ended_at"] is not None:
                    yield frame({JOB.wrapper: self.show_listed(document)}, event="end")
                if document["ended_at"] is not None or self.board.closing:
                    return
                document = await self.board.wait(call.door.database, watched, document["serial"], STREAM_WAIT_S)

    def _page(self, database: Database, caller: Caller, page: Page) -> Documents:
        require(caller, self._get_all, page.query.project_id)
        query, bounds, archived = _sought(page.query)
        with database.read() as tx:
            return jobs.page(tx, query, archived=archived, bounds=bounds)


def _found(database: Database, key: str) -> dict[str, Any]:
    with database.read() as tx:
        document = jobs.get(tx, key)
    if document is None:
        raise NotFound(JOB.title, key)
    return document


def _sought(query: Query) -> tuple[Query, Mapping[str, str], bool]:
    """The query without what is no attribute; the bounds of times in it; and whether archived jobs are meant."""
    filters = dict(query.filters)
    bounds = {name: instant(name, str(filters.pop(name))) for name in RANGES if name in filters}
    archived = boolean(ARCHIVED, str(filters.pop(ARCHIVED, "false")))
    return replace(query, filters=filters), bounds, archived


def _serial(text: str) -> int:
    if text.isascii() and text.isdecimal() and len(text) < 20:  # noqa: PLR2004  as many digits as a serial can have
        return int(text)
    raise Refused([Fault(f"Invalid input for field/attribute since. Value: '{text[:200]}'.", "since")])


def _position(text: str) -> tuple[int, int]:
    """Where a line stands. Raises Refused."""
    attempt, _, line = text.partition(".")
    if all(part.isascii() and part.isdecimal() and len(part) < 10 for part in (attempt, line)):  # noqa: PLR2004
        return int(attempt), int(line)
    raise Refused([Fault(f"Invalid input for field/attribute after. Value: '{text[:200]}'.", "after")])


def _place(line: Mapping[str, Any]) -> tuple[int, int]:
    return _position(line["position"])


def _last_event_id(call: Call) -> str:
    found = [value.decode("latin-1") for name, value in call.scope["headers"] if name == b"last-event-id"]
    return found[0] if found and found[0] else "0.0"


def operations(news: News) -> list[Operation]:
    jobs_ = Jobs(news)
    many, one = verbs(jobs_, VERSION, "list get")
    listing = tuple(parameter for parameter in many.query if parameter.name not in UNFILTERED)
    shared: dict[str, Any] = {"tag": JOB.title, "kind": JOB, "errors": READING, "rule": rule(JOB, "get_one")}
    lines = Body({"type": "array", "items": {"$ref": "#/components/schemas/LogLine"}}, "log")
    shown = Body(JOB.model.__name__, JOB.wrapper)
    others = [
        Operation("GET", f"{ONE}/wait", jobs_.wait, "Wait for news of it", gives=shown, query=WAITING, **shared),
        Operation("GET", LOG, jobs_.log, "What was done for it", query=FOLLOWING, gives=replace(
            lines, media_types=("application/json", MEDIA_TYPE)), **(shared | {"errors": FOLLOWED})),
        Operation("PUT", f"{ONE}/cancel", jobs_.cancel, "Take it back before it begins", gives=shown,
                  **(shared | {"errors": (*READING, 409), "rule": rule(JOB, "put_cancel")})),
    ]  # fmt: skip
    return [replace(many, query=(*LISTING, *listing)), one, *map(exact, others)]
