# SPDX-License-Identifier: Apache-2.0
"""One request, as handlers see it, and the answers they make."""

import asyncio
import hashlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any, ParamSpec, TypeVar
from urllib.parse import parse_qsl

import orjson
from anyio import CapacityLimiter, to_thread
from anyio.lowlevel import RunVar
from starlette.responses import Response
from starlette.types import Receive, Scope

from caryatid.control import repeating
from caryatid.control.door import Door
from caryatid.control.receipt import Accepted
from caryatid.errors import Fault, Refused
from caryatid.model.policy import Caller, Once
from caryatid.model.types import FALSE, TRUE

P = ParamSpec("P")
T = TypeVar("T")
Pairs = list[tuple[str, str]]

PARAMETERS_MAX = 500
FIELDS = "fields"
JSON = (b"content-type", b"application/json")


@dataclass(slots=True)
class Call:
    """A request that has found its operation."""

    door: Door
    caller: Caller
    scope: Scope
    receive: Receive
    path: Mapping[str, str]
    """What the path names: `{"pool_id": …, "id": …}`."""
    body: Any = None
    """The JSON document that came with it, if its operation takes one; None: an empty body."""
    raw: bytes = b""
    """The body as it came, if its operation takes one."""
    key: str = ""
    """The Idempotency-Key under which it may come again."""

    @property
    def pairs(self) -> Pairs:
        """The query, in its order. Raises Refused if it cannot be read."""
        query = self.scope["query_string"]
        if not query:
            return []
        try:
            pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True, max_num_fields=PARAMETERS_MAX)
        except ValueError:
            raise Refused([Fault(f"A query has at most {PARAMETERS_MAX} parameters.")]) from None
        if any("\x00" in name or "\x00" in value for name, value in pairs):
            raise Refused([Fault("A query must not contain null characters.")])
        return pairs

    def options(self, *known: str, several: str = "") -> dict[str, str]:
        """The query of an operation that knows only these parameters, and `several`, which may be repeated.

        Raises Refused, naming each other one.
        """
        found: dict[str, str] = {}
        faults = []
        for name, value in self.pairs:
            if name == several:
                continue
            if name not in known:
                faults.append(Fault(f'Unknown argument: "{name[:200]}"', name))
            elif name in found:
                faults.append(Fault("One or more arguments are either duplicate or invalid", name))
            found[name] = value
        if faults:
            raise Refused(faults)
        return found

    def words(self, name: str) -> list[str]:
        """The words of a parameter that may be repeated, and be a comma list."""
        return split(value for key, value in self.pairs if key == name)

    def fields(self) -> list[str]:
        """The attributes that the answer shall be limited to; none: all. Raises Refused for any other parameter."""
        if not self.scope["query_string"]:
            return []
        self.options(several=FIELDS)
        return self.words(FIELDS)

    @property
    def base_url(self) -> str:
        """What links begin with: the operator's `api_base_uri`, or the address as the request had it."""
        if self.door.settings.api_base_uri:
            return self.door.settings.api_base_uri.rstrip("/")
        host = next((value.decode("latin-1") for name, value in self.scope["headers"] if name == b"host"), "")
        if not host:
            server = self.scope.get("server") or ("localhost", None)
            host = server[0] if server[1] is None else f"{server[0]}:{server[1]}"
        return f"{self.scope.get('scheme', 'http')}://{host}"

    async def act(self, wish: Callable[..., Accepted], *args: Any, **kwargs: Any) -> Accepted:
        """What `wish(door, caller, *args, **kwargs)` gives; or gave, if the request comes again under its key."""
        if not self.key:
            return await aside(wish, self.door, self.caller, *args, **kwargs)
        caller = replace(self.caller, once=Once(self.key, self._fingerprint()))
        act = partial(wish, self.door, caller, *args, **kwargs)
        return await aside(repeating.once, self.door.database, caller, act)

    @contextmanager
    def left(self) -> Iterator[asyncio.Future[None]]:
        """Done when who asks has gone. For operations that take no body, and may take long."""
        gone = asyncio.ensure_future(self._gone())
        try:
            yield gone
        finally:
            gone.cancel()

    async def _gone(self) -> None:
        while (await self.receive())["type"] != "http.disconnect":
            pass

    def _fingerprint(self) -> str:
        """Of what is asked for: where, and with which body."""
        asked = b"\0".join((self.scope["path"].encode(), self.scope["query_string"], self.raw))
        return hashlib.sha256(asked).hexdigest()

    async def read(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What `function` reads from the database. It must be short: with SQLite it runs on the loop itself,
        which takes less than changing threads."""
        if self.door.database.dialect == "sqlite":
            return function(*args, **kwargs)
        return await aside(function, *args, **kwargs)


DIGITS_MAX = 18
THREADS_MAX = 16
"""Requests of a process that may be at the database at a time: fewer than it has connections, so that the loop,
which reads by itself, never waits for one."""
THREADS: RunVar[CapacityLimiter] = RunVar("threads")


async def aside(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """The same on a thread, the loop meanwhile serving others."""
    try:
        limiter = THREADS.get()
    except LookupError:
        limiter = CapacityLimiter(THREADS_MAX)
        THREADS.set(limiter)
    return await to_thread.run_sync(partial(function, *args, **kwargs), limiter=limiter)


def split(values: Iterable[str]) -> list[str]:
    """The words of values that may each be a comma list."""
    return [word for value in values for word in value.split(",") if word]


def boolean(name: str, text: str) -> bool:
    """A boolean of a query. Raises Refused if it is none."""
    if text.strip().lower() in TRUE:
        return True
    if text.strip().lower() in FALSE:
        return False
    why = f"Value: '{text[:200]}'. Value not an unambiguous boolean: {text[:200]}"
    raise Refused([Fault(f"Invalid input for field/attribute {name}. {why}", name)])


def limited(text: str | None, default: int, most: int) -> int:
    """How many are wanted (`limit` of a query): from 1 to `most`. Raises Refused."""
    if text is None:
        return default
    limit = int(text) if text.isascii() and text.isdigit() and len(text) <= DIGITS_MAX else 0
    if not 1 <= limit <= most:
        why = f"Value: '{text[:200]}'. Value should be a number from 1 to {most}"
        raise Refused([Fault(f"Invalid input for field/attribute limit. {why}", "limit")])
    return limit


def seconds(name: str, text: str, most: float) -> float:
    """A time to wait, of a query; `most` at most. Raises Refused if it is none."""
    try:
        found = float(text)
    except ValueError:
        found = math.nan
    if not found >= 0:
        why = f"Value: '{text[:200]}'. Value should be a number"
        raise Refused([Fault(f"Invalid input for field/attribute {name}. {why}", name)])
    return min(found, most)


def instant(name: str, text: str) -> str:
    """A moment of a query, in ISO 8601 (without a zone: UTC), as documents write it (model.types.Time). Raises
    Refused."""
    try:
        at = datetime.fromisoformat(text)
        at = at.astimezone(UTC) if at.tzinfo else at
    except (ValueError, OverflowError):
        why = f"Value: '{text[:200]}'. Value should be a time: 2026-11-20T19:05:25, or with Z or +01:00 behind it"
        raise Refused([Fault(f"Invalid input for field/attribute {name}. {why}", name)]) from None
    return at.replace(tzinfo=None).isoformat(timespec="microseconds")


def answer(status: int, content: Any = None, headers: Mapping[str, str] | None = None) -> Response:
    """An answer in JSON; None: no body, and no content type."""
    if content is None:
        return Response(b"", status, headers)
    response = Response(orjson.dumps(content), status, headers)
    response.raw_headers.append(JSON)
    return response


def accepted(status: int, receipt: Accepted, content: Any = None) -> Response:
    """The answer to a wish: what is shown of it, and the job that carries it out in a header."""
    return answer(status, content, {"Caryatid-Job": receipt.job_id} if receipt.job_id else None)
