# SPDX-License-Identifier: Apache-2.0
"""From where members are checked: a dry run of a monitor from each region, and what lets a checker in."""

import asyncio
import time
from collections.abc import Mapping
from typing import Any, Final

from starlette.responses import Response

from caryatid.control.door import Door
from caryatid.control.gslb import tokens, trials
from caryatid.control.gslb.trials import Asked
from caryatid.control.receipt import rule
from caryatid.errors import Busy, Fault, NotFound, Refused
from caryatid.model import GSLB_MEMBER, GSLB_MONITOR, GSLB_REGION
from caryatid.model.policy import Caller, require
from caryatid.store import rows

from .call import Call, answer, aside
from .conditions import exact
from .octavia.compat import unwrap
from .routing import Body, Operation

LOOK_S: Final = 0.1
AT_ONCE_MAX: Final = 32
TEST: Final = "test"
TOKEN: Final = "token"  # noqa: S105  the name of an envelope
WANTED: Final[Mapping[str, type]] = {"member_id": str, "address": str, "port": int}
TRY: Final = Body(
    {
        "type": "object",
        "properties": {
            "member_id": {"type": "string", "format": "uuid", "description": "A member of a pool of the project."},
            "address": {"type": "string", "description": "Or an address, or a name, that need be no member's."},
            "port": {"type": "integer", "minimum": 1, "maximum": 65535, "description": "Of that."},
        },
    },
    TEST,
)
TRIED: Final = Body(
    {
        "type": "object",
        "required": ["monitor_id", "address", "regions"],
        "properties": {
            "monitor_id": {"type": "string", "format": "uuid"},
            "address": {"type": "string", "description": "What was tried."},
            "regions": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["region_id", "region", "vote", "reason", "rtt_ms"],
                    "properties": {
                        "region_id": {"type": "string", "format": "uuid"},
                        "region": {"type": "string", "description": "Its name."},
                        "vote": {"type": "string", "enum": ["UP", "DOWN", "UNKNOWN"]},
                        "reason": {"type": "string", "description": "Why it is not UP."},
                        "rtt_ms": {"type": ["number", "null"], "description": "How long it took."},
                    },
                },
            },
        },
    },
    TEST,
)
TOLD: Final = Body(
    {
        "type": "object",
        "required": ["token", "valid_s"],
        "properties": {
            "token": {"type": "string", "description": "For `caryatid checker --token-file FILE`. A secret."},
            "valid_s": {"type": "integer", "description": "For so long, and once."},
        },
    },
    TOKEN,
)


class Vantage:
    """Who waits holds no thread; so many may wait at a time."""

    def __init__(self) -> None:
        self._waiting = asyncio.Semaphore(AT_ONCE_MAX)

    async def test(self, call: Call) -> Response:
        call.options()
        wanted = _wanted(unwrap(GSLB_MONITOR, call.body, TEST))
        asked = await aside(_ask, call.door, call.caller, call.path["id"], wanted)
        if self._waiting.locked():
            raise Busy("Too many monitors are being tried now. Try again.")
        async with self._waiting:
            found = await self._found(call.door, asked)
        return answer(200, {TEST: found})

    async def _found(self, door: Door, asked: Asked) -> dict[str, Any]:
        """What the regions say, once all have, or as far as they have in time."""
        deadline = time.monotonic() + asked.wait_s
        try:
            while time.monotonic() < deadline:
                found = await aside(trials.found, door, asked)
                if found is not None:
                    return found
                await asyncio.sleep(LOOK_S)
            return await aside(trials.answer, door, asked)
        finally:
            await asyncio.shield(aside(trials.forget, door, asked))


async def token(call: Call) -> Response:
    """A word with which one checker of the region can enrol."""
    call.options()
    made = await aside(tokens.token, call.door, call.caller, call.path["id"])
    return answer(201, {TOKEN: {"token": made, "valid_s": int(tokens.LIFE_S)}}, {"Cache-Control": "no-store"})


def operations() -> list[Operation]:
    test, letting = f"{GSLB_MONITOR.path}/{{id}}/test", f"{GSLB_REGION.path}/{{id}}/tokens"
    return [
        exact(Operation("POST", test, Vantage().test, "Try it once, from each of its regions", GSLB_MONITOR.title,
                        GSLB_MONITOR, takes=TRY, gives=TRIED, errors=(400, 403, 404, 406, 408, 413, 415, 500, 503),
                        rule=rule(GSLB_MONITOR, "post_test"), once=True)),
        exact(Operation("POST", letting, token, "Let a checker in: a token for it, good once, for an hour",
                        GSLB_REGION.title, GSLB_REGION, success=201, gives=TOLD, errors=(400, 403, 404, 406, 500, 503),
                        rule=rule(GSLB_REGION, "post_token"), once=True)),
    ]  # fmt: skip


def _wanted(body: Any) -> dict[str, Any]:
    """What shall be tried. Raises Refused with every fault."""
    if not isinstance(body, dict):
        raise Refused([Fault(f'The body should have an object at the key "{TEST}".', TEST)])
    faults = [Fault(f"Unknown attribute: {name}", name) for name in body if name not in WANTED]
    given = {name: value for name, value in body.items() if name in WANTED and value is not None}
    for name, value in given.items():
        if not isinstance(value, WANTED[name]) or isinstance(value, bool):
            faults.append(Fault(f"Invalid input for field/attribute {name}.", name))
    if ("member_id" in given) == ("address" in given):
        faults.append(Fault("Either member_id or address says what shall be tried.", "address"))
    if faults:
        raise Refused(faults)
    return given


def _ask(door: Door, caller: Caller, monitor_id: str, wanted: Mapping[str, Any]) -> Asked:
    with door.database.read() as tx:
        place = rows.place(tx, GSLB_MONITOR, monitor_id)
        if place is None:
            raise NotFound(GSLB_MONITOR.title, monitor_id)
        require(caller, rule(GSLB_MONITOR, "post_test"), place.project_id)
        member = rows.place(tx, GSLB_MEMBER, wanted["member_id"]) if "member_id" in wanted else None
        if "member_id" in wanted and (member is None or member.project_id != place.project_id):
            raise Refused([Fault(f"{GSLB_MEMBER.title} {wanted['member_id']} not found.", "member_id")])
    return trials.ask(door, monitor_id, **wanted)
