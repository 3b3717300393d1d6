# SPDX-License-Identifier: Apache-2.0
"""Amphorae, for operators: seen, replaced, configured anew, removed (facts: octavia.md §2.12)."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from starlette.responses import Response

from caryatid.api.call import Call, accepted, answer, aside
from caryatid.api.resources import Documents, Resource
from caryatid.control import operator
from caryatid.control.diagnosis import diagnose
from caryatid.control.door import Door
from caryatid.control.receipt import Accepted, rule
from caryatid.errors import NotFound
from caryatid.model import AMPHORA
from caryatid.model.policy import Caller, require
from caryatid.model.quota import Statistics
from caryatid.store import observations, rows
from caryatid.store.database import Database, Tx

from .compat import pick
from .lists import Page

COUNTED = ("listener_id", "loadbalancer_id", *Statistics.model_fields)
PAIRED = ("MASTER", "BACKUP")
Act = Callable[[Door, Caller, str], Accepted]


class Amphorae(Resource):
    def __init__(self) -> None:
        super().__init__(AMPHORA)

    def page(self, call: Call) -> Page:
        """An amphora has no project of its own; `project_id` means that of its load balancer."""
        page = super().page(call)
        filters = dict(page.query.filters)
        project_id = filters.pop("project_id", None)
        if project_id is None:
            return page
        return replace(page, query=replace(page.query, filters=filters, project_id=project_id))

    def document(self, database: Database, caller: Caller, key: str, parent_id: str | None) -> dict[str, Any]:
        """`role` is what VRRP makes of the amphora, where that is known, else what it was made for; so in lists."""
        document = super().document(database, caller, key, parent_id)
        with database.read() as tx:
            return _as_seen(tx, [document])[0]

    def _page(self, database: Database, caller: Caller, page: Page) -> Documents:
        documents = super()._page(database, caller, page)
        with database.read() as tx:
            return _as_seen(tx, documents)

    async def statistics(self, call: Call) -> Response:
        fields = call.fields()
        found = await call.read(self._statistics, call.door.database, call.caller, call.path["id"])
        return answer(200, {"amphora_stats": [pick(one, fields) for one in found]})

    async def diagnostics(self, call: Call) -> Response:
        call.options()
        found = await aside(diagnose, call.door, call.caller, call.path["id"])
        return answer(200, {"diagnostics": found})

    async def failover(self, call: Call) -> Response:
        return await self._act(call, operator.failover_amphora, 202)

    async def configure(self, call: Call) -> Response:
        return await self._act(call, operator.configure_amphora, 202)

    async def remove(self, call: Call) -> Response:
        return await self._act(call, operator.delete_amphora, 204)

    async def _act(self, call: Call, act: Act, status: int) -> Response:
        call.options()
        receipt = await aside(act, call.door, call.caller, call.path["id"])
        return accepted(status, receipt)

    def _statistics(self, database: Database, caller: Caller, key: str) -> list[dict[str, Any]]:
        require(caller, rule(AMPHORA, "get_stats"), None)
        with database.read() as tx:
            found = observations.statistics_by_listener(tx, amphora_id=key) if rows.place(tx, AMPHORA, key) else []
        if not found:
            raise NotFound(AMPHORA.title, key)
        return [{"id": key, **{name: one[name] for name in COUNTED}} for one in found]


def _as_seen(tx: Tx, documents: Documents) -> Documents:
    pairs = [document["id"] for document in documents if document["role"] in PAIRED]
    seen = observations.roles_of(tx, pairs)
    return [{**document, "role": seen.get(document["id"], document["role"])} for document in documents]
