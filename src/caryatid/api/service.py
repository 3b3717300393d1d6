# SPDX-License-Identifier: Apache-2.0
"""About the service itself: is it well, what has it counted, what can it do."""

from html import escape
from typing import Any

from anyio import fail_after
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.responses import Response

from caryatid.errors import CaryatidError
from caryatid.metrics import API, shown
from caryatid.store.clock import now
from caryatid.store.database import Database

from .call import Call, answer, aside
from .routing import Body, Operation

HEALTH_DEADLINE_S = 5
TAG = "Service"
SHOWN = shown((API,))
HEALTH = Body({"description": "OK, or what is wrong."}, media_types=("text/plain", "text/html", "application/json"))
PROJECT = Body({"type": "object", "description": "`project`: its id, which is its name, too."})


def operations() -> list[Operation]:
    text = Body({"type": "string"}, media_types=("text/plain",))
    asked: dict[str, Any] = {"tag": TAG, "errors": (503,), "open": True}
    health = Operation("GET", "/healthcheck", healthcheck, "Whether it works", gives=HEALTH, **asked)
    return [
        health,
        Operation("HEAD", "/healthcheck", healthcheck, "Whether it works", **asked),
        Operation(
            "GET", "/projects/{id}", project, "A project, as Keystone shows it", TAG, gives=PROJECT, errors=(406,)
        ),
        Operation("GET", "/metrics", metrics, "What has been counted", TAG, gives=text, open=True),
    ]


async def healthcheck(call: Call) -> Response:
    """Whether requests can be answered: the database is asked. Plain text, or as Accept says."""
    well = True
    try:
        with fail_after(HEALTH_DEADLINE_S):
            await aside(_ask, call.door.database)
        reason = "OK"
    except (CaryatidError, TimeoutError, OSError) as error:
        well, reason = False, f"database: {error or 'no answer'}"
    status = 200 if well else 503
    accept = next((value for name, value in call.scope["headers"] if name == b"accept"), b"")
    if b"application/json" in accept:
        return answer(status, {"detailed": False, "reasons": [reason]})
    if b"text/html" in accept:
        return Response(f"<!DOCTYPE html><title>Health</title><p>{escape(reason)}</p>", status, media_type="text/html")
    return Response(reason, status, media_type="text/plain")


async def project(call: Call) -> Response:
    """Clients ask Keystone, at the same address where there is none, for a project before they set its quota. Without
    access control each id is one.
    """
    key = call.path["id"]
    return answer(200, {"project": {"id": key, "name": key, "domain_id": "default", "enabled": True}})


async def metrics(_call: Call) -> Response:
    return Response(generate_latest(SHOWN), 200, {"content-type": CONTENT_TYPE_LATEST})


def _ask(database: Database) -> Any:
    with database.read() as tx:
        return now(tx)
