# SPDX-License-Identifier: Apache-2.0
"""Events: what has happened, from any place in the log on; waiting for more, and streams (docs/events.md)."""

import time
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from starlette.responses import Response

from caryatid.errors import CaryatidError, Fault, Forbidden, Refused
from caryatid.model.event import EVENT, Cursor, Sought, cursor, cursor_of, shown
from caryatid.model.eventtypes import TYPES
from caryatid.model.policy import Caller, allowed, require
from caryatid.store import clock, events
from caryatid.store.database import Database, Tx

from . import auth
from .call import Call, answer, aside, boolean, limited, seconds
from .news import News
from .routing import Body, Operation, Parameter
from .stream import MEDIA_TYPE, frame, stream
from .tail import Follower, Tail

PATH: Final = "/v1/events"
NOW: Final = "now"
WAIT_MAX_S: Final = 60.0
LIMIT: Final = 100
BATCH: Final = 200
"""Events that a stream writes at once."""
LIMIT_MAX: Final = 1000
STREAM_MAX_S: Final = 3600.0
"""A stream ends after so long: whoever comes back shows again who it is."""
POSITION_S: Final = 10.0
"""After so long without an event a stream says how far it is, so that who comes back does not begin far behind."""
RETRY_MS: Final = 500
GET_ALL: Final = "caryatid_api:event:get_all"
EVERYWHERE: Final = "caryatid_api:event:get_all-global"
TYPE: Final = "type"
KINDS: Final = frozenset(name.partition(".")[0] for name in TYPES)
FILTERS: Final = ("resource_type", "resource_id", "project_id", "loadbalancer_id", "user_id")
TIMES: Final = ("since", "until")
WORDS = {"type": "array", "items": {"type": "string"}}
QUERY: Final = (
    Parameter(TYPE, "Only these types: `loadbalancer.create`, `member.*`; repeated, or a comma list.", WORDS),
    *(Parameter(name, f"Only those with this: {EVENT.attributes[name].description}") for name in FILTERS),
    Parameter("since", "Only those written at this time or later: `2026-11-21T18:00:00`, UTC."),
    Parameter("until", "Only those written before this time."),
    Parameter(
        "after",
        "The cursor to go on from: the id of an event, or `cursor` of an answer. `0`: the oldest that is kept; `now`: "
        "what happens from now on. Without it from the oldest; a stream from now on.",
    ),
    Parameter("newest", "Not the oldest but the newest of them, oldest first.", {"type": "boolean", "default": False}),
    Parameter("limit", "So many at most.", {"type": "integer", "minimum": 1, "maximum": LIMIT_MAX, "default": LIMIT}),
    Parameter(
        "wait",
        f"If there are none: seconds to wait for some, {WAIT_MAX_S:.0f} at most; the answer comes with the first.",
        {"type": "number", "minimum": 0},
    ),
)
KNOWN: Final = tuple(parameter.name for parameter in QUERY if parameter.name != TYPE)


class Gone(CaryatidError):
    status = 410

    def __init__(self) -> None:
        super().__init__(
            "This cursor is not in the log any more: its event was removed by age, or the database was restored from a "
            "copy. What came after it may be gone. Go on from 0, or from now, and read what exists."
        )


class Events:
    """The log, and those who wait for more of it."""

    def __init__(self, news: News) -> None:
        self.news = news
        self.tail = Tail(news)

    async def get(self, call: Call) -> Response:
        headers = dict(call.scope["headers"])
        options = call.options(*KNOWN, several=TYPE)
        sought = _sought(call, options)
        limit, newest = (
            limited(options.get("limit"), LIMIT, LIMIT_MAX),
            boolean("newest", options.get("newest", "false")),
        )
        wait_s = seconds("wait", options.get("wait", "0"), WAIT_MAX_S)
        if MEDIA_TYPE.encode() in headers.get(b"accept", b""):
            after = headers.get(b"last-event-id", b"").decode("latin-1") or options.get("after", NOW)
            return await self._stream(call.door.database, sought, after)
        after = options.get("after", "0")
        database = call.door.database
        found, place = await aside(_read, database, sought, after, limit, newest=newest)
        if wait_s and not found:
            found, place = await self._wait(call, sought, place, limit, wait_s)
        return answer(200, {EVENT.plural: found, "cursor": place.text})

    async def _wait(
        self, call: Call, sought: Sought, place: Cursor, limit: int, wait_s: float
    ) -> tuple[list[dict[str, Any]], Cursor]:
        """The first that come after the place, and the place behind them; none after `wait_s`."""
        deadline, access = time.monotonic() + wait_s, self.news.number(auth.CHANNEL)
        database = call.door.database
        await self.tail.begin(database)
        with self.tail.follower(sought) as follower, call.left() as gone:
            gone.add_done_callback(lambda _: follower.end())
            while True:
                if place < follower.start:  # what came before it began
                    found, place = await aside(_read, database, sought, place.text, limit, newest=False)
                else:
                    told = [one for one in follower.take(limit) if one.cursor > place]
                    found = [one.document for one in told]
                    place = told[-1].cursor if told else max(place, self.tail.position)
                left_s = deadline - time.monotonic()
                if found or left_s <= 0 or follower.ended or self.news.number(auth.CHANNEL) != access:
                    return found, place
                await follower.wait(left_s)

    async def _stream(self, database: Database, sought: Sought, after: str) -> Response:
        """The answer that tells what happens as it happens. Raises Gone, Busy before it begins."""
        place = await aside(_place, database, after)
        return stream(self._frames(database, sought, place))

    async def _frames(self, database: Database, sought: Sought, place: Cursor) -> AsyncIterator[bytes]:
        """What there is after the place, page by page, and then what comes."""
        until, access = time.monotonic() + STREAM_MAX_S, self.news.number(auth.CHANNEL)
        yield b"retry: %d\nid: %s\n\n" % (RETRY_MS, place.text.encode())
        await self.tail.begin(database)
        with self.tail.follower(sought) as follower:
            while time.monotonic() < until and self.news.number(auth.CHANNEL) == access:
                if place < follower.start:  # it has just begun, or was too slow
                    rows, place = await aside(_page, database, sought, place)
                    frames = [_frame(row) for row in rows]
                else:
                    frames, place = self._taken(follower, place)
                if frames:
                    yield b"".join(frames)
                elif follower.ended:
                    return
                elif place >= follower.start:
                    await follower.wait(POSITION_S)

    def _taken(self, follower: Follower, place: Cursor) -> tuple[list[bytes], Cursor]:
        """What the follower was told after the place, and the place behind it. Of what it was not told, only where that
        ends, and that not often: who comes back from there need not read it."""
        told = [one for one in follower.take(BATCH) if one.cursor > place]
        if told:
            return [one.frame for one in told], told[-1].cursor
        end = self.tail.position
        if follower.said_at + POSITION_S > time.monotonic() or end <= place:
            return [], place
        follower.said_at = time.monotonic()
        return [b"id: %s\n\n" % end.text.encode()], end


def operations(news: News) -> list[Operation]:
    gives = Body(EVENT.model.__name__, EVENT.plural, many=True, media_types=("application/json", MEDIA_TYPE))
    gone = Gone.status
    return [
        Operation(
            "GET", PATH, Events(news).get, "List: event; wait for more, or stream them", EVENT.title, EVENT,
            gives=gives, query=QUERY, errors=(400, 403, gone, 500, 503), rule=GET_ALL,
        )
    ]  # fmt: skip


def _frame(row: dict[str, Any]) -> bytes:
    document = shown(row)
    return frame(document, event=document["type"], key=document["id"])


def _sought(call: Call, options: dict[str, str]) -> Sought:
    """What the caller seeks, of what it may see. Raises Refused, Forbidden."""
    faults = list(_faults(call.words(TYPE)))
    times = {}
    for name in TIMES:
        try:
            times[name] = _moment(options[name]) if name in options else None
        except ValueError:
            faults.append(_invalid(name, options[name], "Value should be a time like 2026-11-21T18:00:00"))
    if faults:
        raise Refused(faults)
    named = {name: options[name] for name in FILTERS if name in options}
    project_id = _project(call.caller, named.pop("project_id", None))
    return Sought(types=tuple(call.words(TYPE)), project_id=project_id, **named, **times)


def _project(caller: Caller, wanted: str | None) -> str | None:
    """The project that the caller sees events of; None: all. Raises Forbidden."""
    if allowed(caller, EVERYWHERE, None):
        return wanted
    require(caller, GET_ALL, caller.project_id)
    if wanted not in (None, caller.project_id) or not caller.project_id:
        raise Forbidden("Policy does not allow this request to be performed.")
    return caller.project_id


def _faults(types: Sequence[str]) -> Iterator[Fault]:
    for name in types:
        kind, _, act = name.partition(".")
        if name not in TYPES and not (act == "*" and kind in KINDS):
            yield _invalid(TYPE, name, "There is no such type; docs/reference/events.md has them all")


def _moment(text: str) -> str:
    """As it is compared with: UTC, without a zone."""
    at = datetime.fromisoformat(text)
    return clock.text((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp())


def _invalid(name: str, value: str, why: str) -> Fault:
    return Fault(f"Invalid input for field/attribute {name}. Value: '{value[:200]}'. {why}", name)


def _read(
    database: Database, sought: Sought, after: str, limit: int, *, newest: bool
) -> tuple[list[dict[str, Any]], Cursor]:
    """Events as they are shown, and the place to go on from. Raises Refused, Gone."""
    with database.read() as tx:
        end = events.last(tx)
        begin = _known(tx, after, end)
        rows = (events.newest if newest else events.after)(tx, begin, limit=limit, sought=sought)
    more = len(rows) == limit and not newest
    return [shown(row) for row in rows], cursor_of(rows[-1]) if more else max(begin, end)


def _page(database: Database, sought: Sought, after: Cursor) -> tuple[list[dict[str, Any]], Cursor]:
    with database.read() as tx:
        rows, end = events.after(tx, after, limit=LIMIT_MAX, sought=sought), events.last(tx)
    return rows, cursor_of(rows[-1]) if len(rows) == LIMIT_MAX else max(after, end)


def _place(database: Database, after: str) -> Cursor:
    with database.read() as tx:
        return _known(tx, after, events.last(tx))


def _known(tx: Tx, after: str, end: Cursor) -> Cursor:
    """The place that `after` names, in the log as it is now. Raises Refused, Gone."""
    if after == NOW:
        return end
    try:
        named = cursor(after)
    except ValueError:
        raise Refused([_invalid("after", after, "Value should be a cursor")]) from None
    place = events.known(tx, named)
    if place is None:
        raise Gone
    return place
