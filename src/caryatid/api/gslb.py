# SPDX-License-Identifier: Apache-2.0
"""Global load balancing at `/gslb/v1`: Kosmos' paths, and what it has beside them."""

from collections.abc import Callable
from typing import Any, Final

import orjson
from starlette.responses import Response

from caryatid.control.gslb import bundles, sight
from caryatid.control.gslb import explain as explaining
from caryatid.control.gslb import history as telling
from caryatid.control.gslb import sync as syncing
from caryatid.control.receipt import rule
from caryatid.model import (
    GSLB,
    GSLB_BACKEND,
    GSLB_GEOMAP,
    GSLB_MEMBER,
    GSLB_MONITOR,
    GSLB_POOL,
    GSLB_REGION,
    GSLB_ZONE,
)
from caryatid.model.kind import Kind
from caryatid.model.policy import Caller, require
from caryatid.store import rows
from caryatid.store.database import Database, Tx

from .call import Call, accepted, answer, aside, limited
from .conditions import exact
from .etags import digest, unless_known
from .octavia.compat import pick, shower
from .octavia.lists import Page
from .resources import FIELDS, READING, SHOWING, Documents, Resource, Seen, verbs
from .routing import Body, Handler, Operation, Parameter
from .settling import Settling

BASE: Final = "/gslb/v1"
STATUS: Final = "status"
TREE: Final = {"type": "object"}
LIMIT: Final = Parameter(
    "limit",
    "So many at most.",
    {"type": "integer", "minimum": 1, "maximum": telling.LIMIT_MAX, "default": telling.LIMIT},
)
CLIENT: Final = Parameter(
    "client", "Address of a client, or of the network that its resolver tells; none: what everybody is answered."
)


class Gslbs(Resource):
    """A kind of global load balancing; how members are seen, and what monitors name, is filled in."""

    def seen(self, database: Database, caller: Caller, key: str, parent_id: str | None) -> Seen:
        """Nobody hears of these by hosts: how old the word of each region is stands beside it."""
        return self.document(database, caller, key, parent_id), None

    def document(self, database: Database, caller: Caller, key: str, parent_id: str | None) -> dict[str, Any]:
        with database.read() as tx:
            document = rows.get(tx, self.kind, key, parent_id=parent_id)
            if document is None:
                raise self._missing(tx, key, parent_id)
            shared = self.kind is GSLB_ZONE and document["shared"]
            require(caller, self._get_one, None if shared else document.get("project_id"))
            self._fill(tx, [document])
        return document

    def _page(self, database: Database, caller: Caller, page: Page) -> Documents:
        documents = super()._page(database, caller, page)
        if self.kind in (GSLB_MEMBER, GSLB_MONITOR):
            with database.read() as tx:
                self._fill(tx, documents)
        return documents

    def _fill(self, tx: Tx, documents: Documents) -> None:
        """What is seen, and kept in no document, is in these."""
        if self.kind is GSLB_MEMBER:
            sight.with_votes(tx, documents)
        elif self.kind is GSLB_MONITOR:
            bundles.with_certificates(tx, documents)


def operations(settling: Settling) -> list[Operation]:
    pending = (GSLB, GSLB_POOL, GSLB_MEMBER, GSLB_MONITOR)
    at_once = (GSLB_REGION, GSLB_BACKEND, GSLB_ZONE, GSLB_GEOMAP)
    one, pool = f"{GSLB.path}/{{id}}", f"{GSLB_POOL.path}/{{id}}"
    members = GSLB_MEMBER.path
    return [
        *(operation for kind in pending for operation in verbs(Gslbs(kind, settling), "")),
        *(operation for kind in at_once for operation in verbs(Gslbs(kind), "")),
        _tree(GSLB, f"{one}/{STATUS}", sight.tree, "Status tree: pools, members, and who sees them how"),
        _tree(GSLB_POOL, f"{pool}/{STATUS}", sight.pool_tree, "Status: members, and who sees them how"),
        _tree(GSLB_MEMBER, f"{members}/{{id}}/{STATUS}", sight.member, "Status: who sees it how"),
        _several(GSLB, f"{one}/pools", GSLB_POOL, sight.pools, "The pools that it uses"),
        _several(GSLB_POOL, f"{pool}/monitors", GSLB_MONITOR, sight.monitors, "The monitors that it uses"),
        _several(GSLB_MEMBER, f"{members}/{{id}}/monitors", GSLB_MONITOR, _monitors_of_member, "How it is checked"),
        _about(f"{one}/history", history, "What was decided and published, and which votes made it so", LIMIT,
               Body("Event", "history", many=True), "get_history"),
        _about(f"{one}/explain", explain, "What a client would be answered now, and why", CLIENT,
               Body(TREE, "explain"), "get_explain"),
        exact(Operation("POST", f"{one}/sync", sync, "Tell name servers anew, and see that they answer so", GSLB.title,
                        GSLB, success=202, errors=(400, 403, 404, 406, 409, 500, 503), job=True,
                        rule=rule(GSLB, "post_sync"))),
    ]  # fmt: skip


async def history(call: Call) -> Response:
    """The newest events, oldest first."""
    limit = limited(call.options(LIMIT.name).get(LIMIT.name), telling.LIMIT, telling.LIMIT_MAX)
    found = await aside(telling.history, call.door, call.caller, call.path["id"], limit)
    return answer(200, {"history": found})


async def explain(call: Call) -> Response:
    client = call.options(CLIENT.name).get(CLIENT.name)
    found = await aside(explaining.explain, call.door, call.caller, call.path["id"], client)
    return answer(200, {"explain": found})


async def sync(call: Call) -> Response:
    call.options()
    return accepted(202, await call.act(syncing.sync, call.path["id"]))


def _about(path: str, handler: Handler, summary: str, parameter: Parameter, gives: Body, action: str) -> Operation:
    return exact(Operation("GET", path, handler, summary, GSLB.title, GSLB, gives=gives, query=(parameter,),
                           errors=READING, rule=rule(GSLB, action)))  # fmt: skip


def _tree(kind: Kind, path: str, read: Callable[..., Any], summary: str) -> Operation:
    """What `read(tx, caller, *ids)` tells, until it tells something else."""

    async def show(call: Call) -> Response:
        fields = call.fields()
        found = await call.read(_read, call.door.database, call.caller, read, *call.path.values())
        content = orjson.dumps({STATUS: pick(found, fields)})
        return unless_known(call.scope, f'"{digest(content)}"', content, {})

    return exact(Operation("GET", path, show, summary, kind.title, kind, gives=Body(TREE, STATUS), query=(FIELDS,),
                           errors=SHOWING, rule=rule(kind, "get_status")))  # fmt: skip


def _several(kind: Kind, path: str, other: Kind, read: Callable[..., Any], summary: str) -> Operation:
    """All of the other kind that one uses, unpaged: they are few."""
    show = shower(other)

    async def several(call: Call) -> Response:
        fields = call.fields()
        found = await call.read(_read, call.door.database, call.caller, read, *call.path.values())
        return answer(200, {other.plural: [pick(show(document), fields) for document in found]})

    handler: Handler = several
    gives = Body(other.model.__name__, other.plural, many=True)
    return exact(Operation("GET", path, handler, summary, kind.title, kind, gives=gives, query=(FIELDS,),
                           errors=READING, rule=rule(kind, "get_one")))  # fmt: skip


def _read(database: Database, caller: Caller, read: Callable[..., Any], *ids: str) -> Any:
    with database.read() as tx:
        return read(tx, caller, *ids)


def _monitors_of_member(tx: Tx, caller: Caller, pool_id: str, member_id: str) -> list[dict[str, Any]]:
    sight.member(tx, caller, pool_id, member_id)
    return sight.monitors(tx, caller, pool_id)
