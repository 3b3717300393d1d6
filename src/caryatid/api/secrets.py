# SPDX-License-Identifier: Apache-2.0
"""Secrets and containers that are kept here, at Barbican's paths and in its shapes, so that its clients can be used.

What a secret is can be written and never read again: only the drivers of load balancers get it.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import urlencode

from starlette.responses import Response

from caryatid.control import secrets
from caryatid.control.receipt import rule
from caryatid.errors import Busy, CaryatidError, Fault, Forbidden, NotFound, Refused
from caryatid.model import CONTAINER, SECRET
from caryatid.model.kind import Kind
from caryatid.model.policy import Caller, allowed, require
from caryatid.model.secret import BINARY, kept
from caryatid.store import rows
from caryatid.store.database import Database
from caryatid.store.filters import Direction, Query

from .call import Call, accepted, answer, aside
from .conditions import exact
from .etags import precondition, tagged
from .octavia.errors import BeforeResource, text_of
from .resources import READING, REMOVING, SHOWING, WRITING
from .routing import Body, Handler, Operation, Parameter

VERSION = "/v1"
PAYLOAD = f"{VERSION}{SECRET.path}/{{id}}/payload"
PAGE = 10
"""Rows of a page, if the client does not say."""
DIGITS_MAX = 9
FILTERS = {
    SECRET.name: {
        "name": "name",
        "alg": "algorithm",
        "bits": "bit_length",
        "mode": "mode",
        "secret_type": "secret_type",
    },
    CONTAINER.name: {"name": "name", "type": "type"},
}
"""Parameters of a list, and the attributes that they mean."""
SORTED = {"created": "created_at", "updated": "updated_at"}
NO_READING = (
    "A payload cannot be read, by nobody: it can be replaced (PUT), and listeners and pools can name its secret."
)
REFERENCE = {"type": "string", "description": "Under which listeners and pools can name it."}
RAW = Body({"type": "string"}, media_types=("text/plain", *sorted(BINARY)))


@dataclass(frozen=True)
class Page:
    """What a list was asked for."""

    query: Query
    base: str
    """The address of the list."""
    kept: Mapping[str, str]
    """What links repeat."""
    limit: int

    def links(self, total: int) -> dict[str, str]:
        """Where the list goes on, and where it came from."""
        found = {}
        if self.query.offset + self.limit < total:
            found["next"] = self._at(self.query.offset + self.limit)
        if self.query.offset:
            found["previous"] = self._at(max(0, self.query.offset - self.limit))
        return found

    def _at(self, offset: int) -> str:
        return f"{self.base}?{urlencode({**self.kept, 'limit': self.limit, 'offset': offset})}"


async def create(kind: Kind, call: Call) -> Response:
    call.options()
    act = secrets.create if kind is SECRET else secrets.create_container
    receipt = await call.act(act, call.body)
    reference = f"{call.base_url}{VERSION}{kind.path}/{(receipt.document or {})['id']}"
    response = accepted(201, receipt, {f"{kind.name}_ref": reference})
    response.headers["Location"] = reference
    return response


async def list_(kind: Kind, call: Call) -> Response:
    page = _page(kind, call)
    documents, total = await aside(_read_page, call.door.database, call.caller, kind, page)
    shown = [_shown(kind, call, document) for document in documents]
    return answer(200, {kind.plural: shown, "total": total, **page.links(total)})


async def show(kind: Kind, call: Call) -> Response:
    call.options()
    document = await call.read(_read, call.door.database, call.caller, kind, call.path["id"])
    return tagged(call.scope, kind, document, _shown(kind, call, document), {})


async def write(call: Call) -> Response:
    """The payload is the body as it is, and its Content-Type says what it is."""
    call.options()
    headers = {name: value.decode("latin-1") for name, value in call.scope["headers"]}
    said = headers.get(b"content-type", ""), headers.get(b"content-encoding")
    wanted = secrets.Payload(call.raw, *said)
    receipt = await aside(secrets.write, call.door, call.caller, call.path["id"], wanted, precondition(call.scope))
    return accepted(204, receipt)


async def delete(kind: Kind, call: Call) -> Response:
    call.options("force")
    receipt = await aside(secrets.delete, call.door, call.caller, kind, call.path["id"], precondition(call.scope))
    return accepted(204, receipt)


async def payload(call: Call) -> Response:
    await call.read(_read, call.door.database, call.caller, SECRET, call.path["id"])
    raise Forbidden(NO_READING)


def operations() -> list[Operation]:
    about: dict[str, Any] = {"tag": SECRET.title, "kind": SECRET}
    one = f"{VERSION}{SECRET.path}/{{id}}"
    nothing = Body({"type": "object"})
    return [
        *_verbs(SECRET),
        _operation("PUT", one, write, "Give a secret its payload, or another", takes=RAW, success=204,
                   errors=(400, 403, 404, 406, 408, 412, 413, 500, 503), rule=rule(SECRET, "put"), job=True, **about),
        _operation("GET", PAYLOAD, payload, "Never answered: a payload cannot be read", gives=nothing,
                   errors=(403, 404, 500, 503), rule=rule(SECRET, "get_one"), **about),
        *_verbs(CONTAINER),
    ]  # fmt: skip


def _verbs(kind: Kind) -> list[Operation]:
    path = f"{VERSION}{kind.path}"
    model, title = kind.model.__name__, kind.title.lower()
    about: dict[str, Any] = {"tag": kind.title, "kind": kind}
    number = {"type": "integer", "minimum": 0}
    query = [Parameter(name, f"Only those with this {of}.") for name, of in FILTERS[kind.name].items()]
    query += [Parameter("limit", "Rows of a page.", number), Parameter("offset", "Rows before the page.", number)]
    query += [Parameter("sort", "Attributes to sort by: `name:desc,created`.")]
    shown = {"type": "object", "required": [f"{kind.name}_ref"], "properties": {f"{kind.name}_ref": REFERENCE}}
    return [
        _operation("GET", path, partial(list_, kind), f"List: {title}", gives=Body(shown, kind.plural, many=True),
                   query=tuple(query), errors=READING, rule=rule(kind, "get_all"), **about),
        _operation("POST", path, partial(create, kind), f"Create: {title}", success=201, takes=Body(f"{model}Create"),
                   gives=Body(shown), errors=WRITING, rule=rule(kind, "post"), job=True, **about),
        _operation("GET", f"{path}/{{id}}", partial(show, kind), f"Show: {title}", gives=Body(shown), errors=SHOWING,
                   rule=rule(kind, "get_one"), **about),
        _operation("DELETE", f"{path}/{{id}}", partial(delete, kind), f"Delete: {title}", success=204, errors=REMOVING,
                   query=(Parameter("force", "Of no effect: what is in use stays in use."),), rule=rule(kind, "delete"),
                   job=True, **about),
    ]  # fmt: skip


def _operation(method: str, path: str, handler: Handler, summary: str, **more: Any) -> Operation:
    return exact(Operation(method, path, _in_their_words(handler), summary, **more))


def _in_their_words(handler: Handler) -> Callable[[Call], Awaitable[Response]]:
    """What is refused is said in the shape that Barbican's clients can read."""

    async def handle(call: Call) -> Response:
        try:
            return await handler(call)
        except BeforeResource:
            raise
        except CaryatidError as error:
            if error.status == CaryatidError.status:  # a fault of ours, which is logged
                raise
            headers = {"Retry-After": str(Busy.retry_after)} if error.status == Busy.status else {}
            raise BeforeResource(error.status, text_of(error), headers=headers) from error

    return handle


def _page(kind: Kind, call: Call) -> Page:
    """Raises Refused."""
    filters = FILTERS[kind.name]
    given = {
        name: value for name, value in call.options(*filters, "limit", "offset", "sort", "acl_only").items() if value
    }
    limit = min(_number("limit", given.get("limit", str(PAGE))), call.door.settings.pagination_max_limit)
    query = Query(
        filters={filters[name]: value for name, value in given.items() if name in filters},
        sort=_sort(given.get("sort", "")),
        limit=limit,
        offset=_number("offset", given.get("offset", "0")),
        project_id=call.caller.project_id,
    )
    kept_ = {name: value for name, value in given.items() if name in filters or name == "sort"}
    return Page(query, f"{call.base_url}{VERSION}{kind.path}", kept_, limit)


def _number(name: str, text: str) -> int:
    if text.isascii() and text.isdecimal() and len(text) <= DIGITS_MAX:
        return int(text)
    raise Refused([Fault(f"Invalid input for field/attribute {name}. Value: '{text[:200]}'.", name)])


def _sort(text: str) -> list[tuple[str, Direction]]:
    words = [word.partition(":")[::2] for word in text.split(",") if word]
    return [(SORTED.get(name, name), "desc" if way == "desc" else "asc") for name, way in words]


def _read_page(database: Database, caller: Caller, kind: Kind, page: Page) -> tuple[list[dict[str, Any]], int]:
    """Those of the caller's project; of all, for who belongs to none and may see all."""
    query = page.query
    if query.project_id is None and not allowed(caller, rule(kind, "get_all-global"), None):
        raise Forbidden("Policy does not allow this request to be performed.")
    require(caller, rule(kind, "get_all"), query.project_id)
    with database.read() as tx:
        return rows.page(tx, kind, query), rows.total(tx, kind, query)


def _read(database: Database, caller: Caller, kind: Kind, key: str) -> dict[str, Any]:
    with database.read() as tx:
        document = rows.get(tx, kind, key)
    if document is None:
        raise NotFound(kind.title, key)
    require(caller, rule(kind, "get_one"), document["project_id"])
    return document


def _shown(kind: Kind, call: Call, document: Mapping[str, Any]) -> dict[str, Any]:
    base = f"{call.base_url}{VERSION}"
    shown = {
        f"{kind.name}_ref": f"{base}{kind.path}/{document['id']}",
        "name": document["name"] or None,
        "status": "ACTIVE",
        "created": document["created_at"],
        "updated": document["updated_at"],
        "creator_id": None,
        "consumers": [],
    }
    if kind is CONTAINER:
        named = [(each["name"], kept(each["secret_ref"])) for each in document["secret_refs"]]
        references = [{"name": name, "secret_ref": f"{base}/secrets/{one.id}"} for name, one in named if one]
        return {**shown, "type": document["type"], "secret_refs": references}
    names = ("secret_type", "algorithm", "bit_length", "mode", "expiration")
    content_type = document["payload_content_type"]
    types = {"content_types": {"default": content_type}} if content_type else {}
    return {**shown, **{name: document[name] for name in names}, **types}
