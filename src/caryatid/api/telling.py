# SPDX-License-Identifier: Apache-2.0
"""Users tell how members are, where a monitor of type `passive` asks them."""

from typing import Final

from starlette.responses import Response

from caryatid.control.gslb import passive
from caryatid.control.receipt import rule
from caryatid.model import GSLB_MONITOR
from caryatid.model.gslb.telling import VOTES_MAX, ToldVote

from .call import Call, answer, aside
from .conditions import exact
from .routing import Body, Operation

VOTES: Final = "votes"
PATH: Final = f"{GSLB_MONITOR.path}/{{id}}/{VOTES}"
TAKEN: Final = Body(
    {
        "type": "object",
        "required": [VOTES],
        "additionalProperties": False,
        "properties": {
            VOTES: {"type": "array", "minItems": 1, "maxItems": VOTES_MAX, "items": ToldVote.model_json_schema()}
        },
    }
)
SHOWN: Final = {
    "type": "object",
    "required": ["member_id", "region_id", "vote", "reason", "at", "until"],
    "properties": {
        "member_id": {"type": "string", "format": "uuid"},
        "region_id": {"type": "string", "format": "uuid", "description": "For which it was told."},
        "vote": {"type": "string", "enum": ["UP", "DOWN"]},
        "reason": {"type": "string"},
        "at": {"type": "string", "description": "When it was told. UTC."},
        "until": {"type": "string", "description": "It counts until then, unless it is told again. UTC."},
    },
}
GIVEN: Final = Body(SHOWN, VOTES, many=True)


async def tell(call: Call) -> Response:
    """What was told, as it counts."""
    call.options()
    told = await aside(passive.tell, call.door, call.caller, call.path["id"], call.body)
    return answer(200, {VOTES: told})


def operations() -> list[Operation]:
    return [
        exact(Operation("PUT", PATH, tell, "Tell how members are (type passive)", GSLB_MONITOR.title, GSLB_MONITOR,
                        takes=TAKEN, gives=GIVEN, errors=(400, 403, 404, 406, 408, 413, 415, 500, 503),
                        rule=rule(GSLB_MONITOR, "put_votes"))),
    ]  # fmt: skip
