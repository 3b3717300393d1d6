# SPDX-License-Identifier: Apache-2.0
"""The API: every operation behind one entry, which finds it, says who asks, and answers what is refused."""

import time
from collections.abc import Iterable
from functools import cache
from importlib.metadata import version
from typing import Any

import orjson
from anyio import fail_after
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from caryatid import metrics, tracing
from caryatid.config import Settings
from caryatid.control.door import Door
from caryatid.errors import Fault, Refused
from caryatid.model.policy import NOBODY
from caryatid.store.wake import Wakeups

from . import (
    access,
    auth,
    certificates,
    checkers,
    clusters,
    events,
    failovers,
    gslb,
    hosts,
    jobs,
    networks,
    openapi,
    secrets,
    service,
    status,
    subscriptions,
    telling,
    vantage,
    versions,
)
from .call import Call, answer
from .cloud import identity, network
from .cloud.errors import told
from .news import News
from .octavia import routes
from .octavia.errors import BeforeResource
from .routing import Body, Operation, Paths, Place
from .settling import Settling

BODY_DEADLINE_S = 30
LOCAL = "local"
METHODS = frozenset({"GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"})
JSON_TYPES = frozenset(
    {
        b"application/json",
        b"application/octet-stream",
        b"application/x-www-form-urlencoded",  # what curl says if nobody tells it
        b"application/javascript",
        b"text/javascript",
    }
)
ANY_TYPES = frozenset({b"*/*", b"application/*", b"application/json"})
IDEMPOTENCY_KEY = b"idempotency-key"
KEY_LENGTH_MAX = 255
CONDITIONAL = frozenset({"PUT", "DELETE"})
"""Methods that may have a condition (If-Match)."""
PRECONDITION = 412
OPEN_TO_ANY = frozenset({"/healthcheck", "/metrics", "/docs", events.PATH, jobs.LOG, secrets.PAYLOAD})
NO_SCRIPTS = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}


def create_app(door: Door, wakeups: Wakeups, news: News | None = None) -> Starlette:
    """The application, for uvicorn. `wakeups` tells what is committed; `news` the same on the loop, to be closed by
    whoever wants to end the application."""
    app = Starlette()
    app.router.default = Entry(door, operations(door.settings, news or News(wakeups)), auth.Gate(door, wakeups))
    return app


def operations(settings: Settings, news: News) -> list[Operation]:
    """All that the API can do."""
    settling = Settling(news)
    found = [
        *versions.operations(),
        *service.operations(),
        *routes.operations(settings, settling),
        *gslb.operations(settling),
        *vantage.operations(),
        *telling.operations(),
        *checkers.operations(),
        *networks.operations(),
        *network.operations(),
        *(identity.operations() if settings.identity_driver == LOCAL else []),
        *hosts.operations(),
        *clusters.operations(),
        *certificates.operations(),
        *failovers.operations(),
        *secrets.operations(),
        *access.operations(),
        *jobs.operations(news),
        *status.operations(news),
        *events.operations(news),
        *subscriptions.operations(),
    ]
    return [*found, *_documents(found)]


class Entry:
    """What every request passes, in this order: path, method, negotiation, caller, body, operation."""

    def __init__(self, door: Door, operations: Iterable[Operation], gate: auth.Gate) -> None:
        self.door = door
        self.gate = gate
        self.paths = Paths(operations)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1000})
            return
        request_id, began = auth.request_id(), time.perf_counter()
        kind, deprecated, sort = "", None, "other"
        try:
            place, values = self._found(scope["path"])
            operation = _operation(place, scope["method"])
            if operation is None:
                response = answer(200)
            else:
                kind, sort = operation.tag, _sort(operation, scope)
                deprecated = operation.deprecated
                response = await self._operate(operation, values, scope, receive, request_id)
        except ClientDisconnect:
            return
        except Exception as error:  # noqa: BLE001  the one place where whatever went wrong becomes an answer
            response = told(scope["path"], error, request_id)
        method = scope["method"] if scope["method"] in METHODS else "other"
        metrics.REQUESTS.labels(method, kind, response.status_code).inc()
        if not isinstance(response, StreamingResponse):
            metrics.REQUEST_SECONDS.labels(sort).observe(time.perf_counter() - began)
        response.raw_headers.append((b"x-openstack-request-id", request_id.encode()))
        if deprecated is not None:
            response.raw_headers.extend(deprecated.headers)
        if method == "HEAD":
            response.body = b""
        await response(scope, receive, send)

    def _found(self, path: str) -> tuple[Place, list[str]]:
        found = self.paths.find(path)
        if found is None:
            raise BeforeResource(404, "The resource could not be found.")
        return found

    async def _operate(
        self, operation: Operation, values: list[str], scope: Scope, receive: Receive, request_id: str
    ) -> Response:
        headers = dict(scope["headers"])
        if operation.path not in OPEN_TO_ANY:
            _refuse_other_answers(headers.get(b"accept", b""))
        auth.refuse_other_sites(scope, headers)
        _refuse_conditions(operation, headers)
        path = dict(zip(operation.names, values, strict=True))
        caller = NOBODY if operation.open else await self.gate.caller(scope, headers, request_id)
        call = Call(self.door, caller, scope, receive, path)
        if operation.takes is not None:
            if operation.takes.is_json:
                _refuse_other_bodies(headers.get(b"content-type", b""))
            call.raw = await read(receive, headers, self.door.settings.body_size_max)
            if operation.takes.is_json:
                call.body = parse(call.raw)
        if (key := headers.get(IDEMPOTENCY_KEY)) is not None and operation.method == "POST":
            call.key = _usable(operation, key)
        parent = headers.get(tracing.HEADER.encode(), b"").decode("latin-1")
        with tracing.span(f"{operation.method} {operation.path}", parent=parent, request_id=request_id):
            return await operation.handler(call)


def _sort(operation: Operation, scope: Scope) -> str:
    """What takes about as long."""
    if operation.open or operation.kind is None:
        return "other"
    if operation.method != "GET":
        return "change"
    if b"wait" in scope["query_string"] or operation.path.endswith("/wait"):
        return "wait"
    return "list" if operation.gives is not None and operation.gives.many else "show"


def _operation(place: Place, method: str) -> Operation | None:
    """The operation of a method; None: OPTIONS, which any path answers. Raises BeforeResource for other methods."""
    operation = place.operations.get(method)
    if operation is None and method != "OPTIONS":
        allow = ", ".join(sorted({*place.operations, "OPTIONS"}))
        raise BeforeResource(405, "The method is not allowed for this resource.", headers={"Allow": allow})
    return operation


def _refuse_conditions(operation: Operation, headers: auth.Headers) -> None:
    """Raises BeforeResource for a condition that cannot be checked: it is not passed over."""
    checked = operation.method not in CONDITIONAL or PRECONDITION in operation.errors
    if not checked and headers.get(b"if-match", b"*") != b"*":
        raise BeforeResource(PRECONDITION, "This has no entity tag: what If-Match names cannot be so.")


def _refuse_other_answers(accept: bytes) -> None:
    """Raises BeforeResource if the client takes no JSON (RFC 9110 §12.5.1)."""
    if not accept or accept in ANY_TYPES:
        return
    for part in accept.lower().split(b","):
        media_type, *parameters = (word.strip() for word in part.split(b";"))
        refused = any(word.replace(b" ", b"").rstrip(b"0.") == b"q=" for word in parameters)
        if media_type in ANY_TYPES and not refused:
            return
    raise BeforeResource(406, "Only content type application/json is accepted.")


def _refuse_other_bodies(content_type: bytes) -> None:
    media_type = content_type.split(b";")[0].strip().lower()
    if media_type and media_type not in JSON_TYPES and not media_type.endswith(b"+json"):
        raise UnknownMimetype(media_type.decode("latin-1")[:200])


class UnknownMimetype(Refused):
    def __init__(self, media_type: str) -> None:
        super().__init__([Fault(f"Unknown mimetype: {media_type}", status=415)])


def _usable(operation: Operation, key: bytes) -> str:
    """The key under which the request may come again. Raises BeforeResource."""
    if not operation.repeatable:
        raise BeforeResource(400, "This takes no Idempotency-Key: what is given here is not kept.")
    text = key.decode("latin-1")
    if not 0 < len(text) <= KEY_LENGTH_MAX or not text.isascii() or not text.isprintable():
        raise BeforeResource(400, f"An Idempotency-Key has 1 to {KEY_LENGTH_MAX} printable ASCII characters.")
    return text


async def read(receive: Receive, headers: auth.Headers, size_max: int) -> bytes:
    """The body of a request. Raises BeforeResource as soon as it is larger than `size_max` bytes, or late."""
    declared = headers.get(b"content-length", b"")
    if declared.isdigit() and int(declared) > size_max:
        raise _too_large(size_max)
    chunks: list[bytes] = []
    size = 0
    try:
        with fail_after(BODY_DEADLINE_S):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientDisconnect
                chunks.append(message.get("body", b""))
                size += len(chunks[-1])
                if size > size_max:
                    raise _too_large(size_max)
                if not message.get("more_body", False):
                    return b"".join(chunks)
    except TimeoutError:
        raise BeforeResource(408, f"The body did not arrive within {BODY_DEADLINE_S} s.") from None


def _too_large(size_max: int) -> BeforeResource:
    return BeforeResource(413, f"The body of a request has at most {size_max} bytes here.")


def parse(body: bytes) -> Any:
    """The JSON document; None if there is none. Raises Refused if it is no JSON, or has null characters in it."""
    if not body.strip():
        return None
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise Refused([Fault("Request is not in valid JSON format")]) from None
    if b"\\u0000" in body and _has_null_character(document):
        raise Refused([Fault("Text must not contain null characters.")])
    if document is None:
        raise Refused([Fault("The body should be an object.")])
    return document


def _has_null_character(value: Any) -> bool:
    if isinstance(value, dict):
        return any("\x00" in name or _has_null_character(inner) for name, inner in value.items())
    if isinstance(value, list):
        return any(map(_has_null_character, value))
    return isinstance(value, str) and "\x00" in value


def _documents(found: list[Operation]) -> list[Operation]:
    """Two views of what the others say of themselves."""

    @cache
    def described() -> Any:
        return openapi.document(found, version("caryatid"))

    async def show_document(_call: Call) -> Response:
        return answer(200, described())

    async def show_page(_call: Call) -> Response:
        return Response(openapi.page(described()), 200, NO_SCRIPTS, media_type="text/html")

    gives = Body({"type": "object"})
    page = Body({"type": "string"}, media_types=("text/html",))
    return [
        Operation(
            "GET", "/openapi.json", show_document, "This document", service.TAG, gives=gives, errors=(406,), open=True
        ),
        Operation("GET", "/docs", show_page, "This document, for people", service.TAG, gives=page, open=True),
    ]
