# SPDX-License-Identifier: Apache-2.0
"""Which versions of the API there are (docs/versioning.md)."""

from typing import Any

from starlette.responses import Response

from .call import Call, answer
from .octavia.versions import TAG, VERSIONS
from .routing import Body, Operation

MOUNT = "/load-balancer"
V1 = "/v1"
V1_UPDATED = "2026-11-21T00:00:00Z"
"""When the last thing was added to `/v1`."""
V1_SHOWN = Body({"type": "object", "required": ["version"], "properties": {"version": {"type": "object"}}})


def operations() -> list[Operation]:
    shared: dict[str, Any] = {"errors": (406,), "open": True}
    return [
        Operation("GET", "/", discover, "The versions of the API", TAG, gives=Body("Versions"), **shared),
        Operation("GET", V1, v1, "The version of these paths", TAG, gives=V1_SHOWN, **shared),
    ]


async def discover(call: Call) -> Response:
    """`/v1` and every version of `/v2`, ascending: clients of Octavia read the last one, and that it is CURRENT."""
    base = call.base_url
    if call.scope["path"].startswith(MOUNT) and not call.door.settings.api_base_uri:
        base += MOUNT
    newest = VERSIONS[-1][0]
    found = [_shown("v1", "SUPPORTED", V1_UPDATED, f"{base}{V1}")]
    for name, updated in VERSIONS:
        found.append(_shown(name, "CURRENT" if name == newest else "SUPPORTED", updated, f"{base}/v2"))
    return answer(200, {"versions": found})


async def v1(call: Call) -> Response:
    """In the shape that Barbican's clients ask for first; without microversions, of which there are none."""
    links = [{"rel": "self", "href": f"{call.base_url}{V1}/"}]
    shown = {"id": "v1", "status": "stable", "updated": V1_UPDATED, "links": links, "media-types": []}
    return answer(200, {"version": shown})


def _shown(name: str, status: str, updated: str, href: str) -> dict[str, Any]:
    return {"id": name, "status": status, "updated": updated, "links": [{"href": href, "rel": "self"}]}
