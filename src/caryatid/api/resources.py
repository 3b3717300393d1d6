# SPDX-License-Identifier: Apache-2.0
"""The five verbs of any kind: list, create, show, change, delete."""

import time
from collections.abc import Collection, Mapping
from typing import Any

from starlette.responses import Response

from caryatid.control import writes
from caryatid.control.receipt import rule
from caryatid.errors import CaryatidError, Fault, Forbidden, NotFound, Refused
from caryatid.model import BY_NAME, LOADBALANCER
from caryatid.model.kind import Kind
from caryatid.model.policy import Caller, allowed, require
from caryatid.store import rows
from caryatid.store.database import Database, Tx

from .call import Call, accepted, answer, aside, boolean, seconds
from .conditions import exact
from .etags import age, precondition, tagged
from .octavia.compat import Document, change_body, create_body, pick, shower, unwrap
from .octavia.errors import ParentNotFound
from .octavia.lists import Page, links, parse
from .routing import Body, Operation, Parameter
from .settling import WAIT_MAX_S, Settling, pending

Documents = list[dict[str, Any]]
Seen = tuple[dict[str, Any], float | None]
Links = list[dict[str, str]]

ACTIVE = "ACTIVE"
INLINE_MAX = 100
"""Rows that are read on the loop itself."""
READING = (400, 403, 404, 406, 500, 503)
SHOWING = (304, *READING)
WRITING = (400, 403, 404, 406, 408, 409, 413, 415, 500, 501, 503)
CHANGING = (*WRITING, 412)
REMOVING = (400, 403, 404, 406, 409, 412, 500, 503)
WORDS = {"type": "array", "items": {"type": "string"}}
FIELDS = Parameter("fields", "Only these attributes; repeated, or a comma list.", WORDS)
WAITING = (
    Parameter("wait_for", "The answer comes when it is so, in ERROR, or gone.", {"type": "string", "enum": ["ACTIVE"]}),
    Parameter(
        "timeout",
        f"Seconds after which the answer comes all the same, as it is then: {WAIT_MAX_S:.0f} at most, and by default.",
        {"type": "number", "minimum": 0},
    ),
)
CHANGED_SINCE = Parameter(
    "changed_since", "Only those that were changed at this time (ISO 8601; without a zone: UTC), or later."
)
CASCADE = Parameter("cascade", "Its children go with it.", {"type": "boolean", "default": False})
TAGS = (
    Parameter("tags", "Only those with all of these tags.", WORDS),
    Parameter("tags-any", "Only those with one of these tags.", WORDS),
    Parameter("not-tags", "Only those without one of these tags.", WORDS),
    Parameter("not-tags-any", "Only those with none of these tags.", WORDS),
)
PAGING = (
    Parameter("limit", "Rows of a page; 0, less or `infinite`: as many as the operator allows."),
    Parameter("marker", "Id of the last row of the page before (with page_reverse: of the first of the page after)."),
    Parameter("page_reverse", "The page before the marker.", {"type": "boolean", "default": False}),
    Parameter("sort", "Attributes to sort by: `name:desc,id`.", WORDS),
    Parameter("sort_key", "Attributes to sort by.", WORDS),
    Parameter("sort_dir", "Their directions: `asc`, `desc`.", WORDS),
    FIELDS,
)


class Resource:
    """A kind at its path."""

    def __init__(self, kind: Kind, settling: Settling | None = None) -> None:
        """`settling`: where requests wait until a wish is in effect, if they can."""
        self.kind = kind
        self.settling = settling
        self.show = shower(kind)
        self.show_listed = self.show
        self.parent = BY_NAME[kind.parent_kind] if kind.parent_kind else None
        self._get_all = rule(kind, "get_all")
        self._get_one = rule(kind, "get_one")
        self._global = rule(kind, "get_all-global")

    async def list(self, call: Call) -> Response:
        page = self.page(call)
        read = call.read if page.limit <= INLINE_MAX else aside
        documents = await read(self._page, call.door.database, call.caller, page)
        return self.listed(call, page, documents)

    async def create(self, call: Call) -> Response:
        body = create_body(self.kind, unwrap(self.kind, call.body))
        call.options()
        try:
            receipt = await call.act(writes.create, self.kind, body, parent_id=self._parent_id(call))
        except NotFound as missing:
            raise await self._which(call, missing) from None
        return accepted(201, receipt, {self.kind.wrapper: self.show(receipt.document or {})})

    async def get(self, call: Call) -> Response:
        if not call.scope["query_string"]:
            return self.single(call, *await self._found(call), ())
        options = call.options(*(p.name for p in self.waiting), several=FIELDS.name)
        fields = call.words(FIELDS.name)
        found = await (self._settled(call, options) if "wait_for" in options else self._found(call))
        return self.single(call, *found, fields)

    @property
    def waiting(self) -> tuple[Parameter, ...]:
        """The parameters by which requests wait here."""
        return WAITING if self.settling else ()

    def single(
        self, call: Call, document: Mapping[str, Any], heard_at: float | None, fields: Collection[str]
    ) -> Response:
        """The answer that shows one, unless the client has it already."""
        shown = {self.kind.wrapper: pick(self.show(document), fields)}
        return tagged(call.scope, self.kind, document, shown, age(heard_at))

    async def _found(self, call: Call) -> Seen:
        return await call.read(self.seen, call.door.database, call.caller, call.path["id"], self._parent_id(call))

    async def _settled(self, call: Call, options: Mapping[str, str]) -> Seen:
        """The resource once it is pending no more, or as it is after the timeout."""
        if self.settling is None or options["wait_for"] != ACTIVE:
            why = "Invalid input for field/attribute wait_for. Value should be one of: ACTIVE"
            raise Refused([Fault(why, "wait_for")])
        deadline = time.monotonic() + seconds("timeout", options.get("timeout", str(WAIT_MAX_S)), WAIT_MAX_S)
        with call.left() as gone:
            while True:
                with self.settling.turn(self.kind, call.path["id"]) as turn:
                    found = await self._found(call)
                    left_s = deadline - time.monotonic()
                    if not pending(found[0]) or left_s <= 0 or gone.done() or self.settling.closing:
                        return found
                    await self.settling.wait(call.door.database, {turn, gone}, left_s)

    async def change(self, call: Call) -> Response:
        body = change_body(self.kind, unwrap(self.kind, call.body))
        call.options()
        try:
            receipt = await aside(
                writes.change,
                call.door,
                call.caller,
                self.kind,
                call.path["id"],
                body,
                parent_id=self._parent_id(call),
                precondition=precondition(call.scope),
            )
        except NotFound as missing:
            raise await self._which(call, missing) from None
        return accepted(200, receipt, {self.kind.wrapper: self.show(receipt.document or {})})

    async def delete(self, call: Call) -> Response:
        options = call.options("cascade") if self.kind is LOADBALANCER else call.options()
        cascade = boolean("cascade", options.get("cascade", "false"))
        try:
            receipt = await aside(
                writes.delete,
                call.door,
                call.caller,
                self.kind,
                call.path["id"],
                parent_id=self._parent_id(call),
                cascade=cascade,
                precondition=precondition(call.scope),
            )
        except NotFound as missing:
            raise await self._which(call, missing) from None
        return accepted(204, receipt)

    def page(self, call: Call) -> Page:
        """The page that the call asks for, limited to what the caller may see. Raises Forbidden for another's."""
        caller = call.caller
        if self.parent is not None or not self.kind.owned or allowed(caller, self._global, None):
            return parse(call, self.kind, parent_id=self._parent_id(call))
        page = parse(call, self.kind, project_id=caller.project_id or "")
        if page.query.filters.get("project_id", caller.project_id) != caller.project_id:
            raise Forbidden("Policy does not allow this request to be performed.")
        return page

    def listed(self, call: Call, page: Page, documents: Documents) -> Response:
        """The answer that shows the rows of a page, one more than it holds if there are more."""
        documents, more = page.cut(documents)
        return answer(200, self._envelope(documents, page.fields, links(call, page, documents, more=more)))

    def seen(self, database: Database, caller: Caller, key: str, parent_id: str | None) -> Seen:
        """The document of a row that the caller may see, and when what was observed of it was last heard of (seconds
        since the epoch). Raises NotFound, Forbidden."""
        if "operating_status" not in self.kind.attributes:
            return self.document(database, caller, key, parent_id), None
        with database.read() as tx:
            found = rows.seen(tx, self.kind, key, parent_id=parent_id)
            if found is None:
                raise self._missing(tx, key, parent_id)
        require(caller, self._get_one, found[0].get("project_id"))
        return found

    def document(self, database: Database, caller: Caller, key: str, parent_id: str | None) -> dict[str, Any]:
        """The document of a row that the caller may see. Raises NotFound, Forbidden."""
        with database.read() as tx:
            document = rows.get(tx, self.kind, key, parent_id=parent_id)
            if document is None:
                raise self._missing(tx, key, parent_id)
        require(caller, self._get_one, document.get("project_id"))
        return document

    def _page(self, database: Database, caller: Caller, page: Page) -> Documents:
        with database.read() as tx:
            project_id = page.query.project_id
            if self.parent is not None:
                place = rows.place(tx, self.parent, page.query.parent_id or "")
                if place is None:
                    raise ParentNotFound(self.parent.title, page.query.parent_id or "")
                project_id = place.project_id
            require(caller, self._get_all, project_id)
            return rows.page(tx, self.kind, page.query)

    def _envelope(self, documents: Documents, fields: Collection[str], found: Links) -> Document:
        kind = self.kind
        shown = [pick(self.show_listed(document), fields) for document in documents]
        return {kind.plural: shown, kind.links: found} if kind.links else {kind.plural: shown}

    def _parent_id(self, call: Call) -> str | None:
        return call.path[self.kind.parent] if self.kind.parent else None

    def _missing(self, tx: Tx, key: str, parent_id: str | None) -> CaryatidError:
        if self.parent is not None and parent_id is not None and rows.place(tx, self.parent, parent_id) is None:
            return ParentNotFound(self.parent.title, parent_id)
        return NotFound(self.kind.title, key)

    async def _which(self, call: Call, missing: NotFound) -> CaryatidError:
        """`missing`, or, where it is the parent that is missing, what that is answered."""
        parent_id = self._parent_id(call)
        if self.parent is None or parent_id is None:
            return missing
        return await call.read(self._parent_or, call.door.database, parent_id, missing)

    def _parent_or(self, database: Database, parent_id: str, missing: NotFound) -> CaryatidError:
        with database.read() as tx:
            there = self.parent is None or rows.place(tx, self.parent, parent_id) is not None
        return missing if there or self.parent is None else ParentNotFound(self.parent.title, parent_id)


def verbs(resource: Resource, base: str = "/v2", only: str = "list create get change delete") -> list[Operation]:
    """The operations of a resource at its path below `base`."""
    kind = resource.kind
    model, path = kind.model.__name__, base + kind.path
    one = f"{path}/{{id}}"
    title = kind.title if kind.title.startswith("L7") else kind.title.lower()
    single, listed = Body(model, kind.wrapper), Body(model, kind.plural, many=True, links=kind.links)
    creates, changes = Body(f"{model}Create", kind.wrapper), Body(f"{model}Change", kind.wrapper)
    shared: dict[str, Any] = {"tag": kind.title, "kind": kind}
    writing = {**shared, "job": True}
    found = {
        "list": Operation("GET", path, resource.list, f"List: {title}", gives=listed, query=list_parameters(kind),
                          errors=READING, rule=rule(kind, "get_all"), **shared),
        "create": Operation("POST", path, resource.create, f"Create: {title}", success=201, takes=creates, gives=single,
                            errors=WRITING, rule=rule(kind, "post"), **writing),
        "get": Operation("GET", one, resource.get, f"Show: {title}", gives=single,
                         query=(*resource.waiting, FIELDS), errors=SHOWING, rule=rule(kind, "get_one"), **shared),
        "change": Operation("PUT", one, resource.change, f"Change: {title}", takes=changes, gives=single,
                            errors=CHANGING, rule=rule(kind, "put"), **writing),
        "delete": Operation("DELETE", one, resource.delete, f"Delete: {title}", success=204, errors=REMOVING,
                            query=(CASCADE,) if kind is LOADBALANCER else (), rule=rule(kind, "delete"), **writing),
    }  # fmt: skip
    return [exact(found[name]) for name in only.split()]


def list_parameters(kind: Kind) -> tuple[Parameter, ...]:
    """What the query of a list may say: every attribute that it can be filtered by, and where in it to be."""
    filters = tuple(
        Parameter(a.name, f"Only those with this: {a.description}")
        for a in kind
        if a.name != kind.parent and a.access.shown and not (a.back or a.secret or a.many or a.document)
    )
    tags = TAGS if "tags" in kind.attributes else ()
    dated = (CHANGED_SINCE,) if "updated_at" in kind.attributes else ()
    return (*filters, *tags, *dated, *PAGING)
