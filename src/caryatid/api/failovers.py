# SPDX-License-Identifier: Apache-2.0
"""The guard over failovers, for operators: what it holds back may be let go."""

from starlette.responses import Response

from caryatid.control import verdicts
from caryatid.control.receipt import rule
from caryatid.model import HOST

from .call import Call, accepted, aside
from .routing import Operation

PATH = "/v1/failovers/unfreeze"


async def unfreeze(call: Call) -> Response:
    call.options()
    receipt = await aside(verdicts.lift, call.door, call.caller)
    return accepted(204, receipt)


def operations() -> list[Operation]:
    summary = "For ten minutes silent hosts are judged one by one, however many they are"
    errors = (400, 403, 406, 500, 503)
    return [Operation("PUT", PATH, unfreeze, summary, HOST.title, success=204, errors=errors,
                      rule=rule(HOST, "put"), job=True)]  # fmt: skip
