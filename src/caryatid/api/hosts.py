# SPDX-License-Identifier: Apache-2.0
"""Hosts, for operators: seen, changed, drained, evacuated, revoked, removed. They come by enrolment."""

from collections.abc import Callable
from typing import Any

from starlette.responses import Response

from caryatid.control import hosts
from caryatid.control.door import Door
from caryatid.control.hosts import Acted
from caryatid.control.receipt import Accepted, rule
from caryatid.model import HOST
from caryatid.model.policy import Caller

from .call import Call, accepted, aside
from .conditions import exact
from .resources import Resource, verbs
from .routing import Body, Handler, Operation

VERSION = "/v1"
ACTING = (400, 403, 404, 406, 409, 500, 503)
JOBS = {"type": "array", "items": {"type": "string", "format": "uuid"}}
ACTED = Body(
    {
        "type": "object",
        "required": ["host", "jobs"],
        "properties": {"host": {"$ref": "#/components/schemas/Host"}, "jobs": JOBS},
    }
)
Act = Callable[[Door, Caller, str], Acted]


class Hosts(Resource):
    def __init__(self) -> None:
        super().__init__(HOST)

    async def drain(self, call: Call) -> Response:
        return await self._act(call, hosts.drain, 200)

    async def enable(self, call: Call) -> Response:
        return await self._act(call, hosts.enable, 200)

    async def evacuate(self, call: Call) -> Response:
        return await self._act(call, hosts.evacuate, 202)

    async def revoke(self, call: Call) -> Response:
        return await self._act(call, hosts.revoke, 202)

    async def _act(self, call: Call, act: Act, status: int) -> Response:
        """The host as it now stands, and the ids of the jobs that replace its amphorae."""
        call.options()
        acted = await aside(act, call.door, call.caller, call.path["id"])
        shown = {HOST.wrapper: self.show(acted.document), "jobs": list(acted.job_ids)}
        return accepted(status, Accepted(acted.document, acted.job_id), shown)


def operations() -> list[Operation]:
    resource = Hosts()
    return [
        *verbs(resource, VERSION, "list get change delete"),
        _act("drain", resource.drain, "Place nothing new on it", 200),
        _act("enable", resource.enable, "Place new amphorae on it again", 200),
        _act("evacuate", resource.evacuate, "Place nothing new on it, and replace its amphorae elsewhere", 202),
        _act("revoke", resource.revoke, "Believe it no longer, and replace its amphorae elsewhere", 202),
    ]


def _act(name: str, handler: Handler, summary: str, success: int) -> Operation:
    path = f"{VERSION}{HOST.path}/{{id}}/{name}"
    shared: dict[str, Any] = {"tag": HOST.title, "kind": HOST}
    return exact(Operation("PUT", path, handler, summary, success=success, gives=ACTED, errors=ACTING, job=True,
                           rule=rule(HOST, f"put_{name}"), **shared))  # fmt: skip
