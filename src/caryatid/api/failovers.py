# SPDX-License-Identifier: Apache-2.0
"""The guards over failovers and over removals from answers, for operators: what they hold back may be let go."""

from starlette.responses import Response

from caryatid.control import verdicts
from caryatid.control.gslb import lifting
from caryatid.control.receipt import rule
from caryatid.model import GSLB, HOST

from .call import Call, accepted, aside
from .routing import Operation

PATH = "/v1/failovers/unfreeze"
NAMES = "/gslb/v1/guard/unfreeze"


async def unfreeze(call: Call) -> Response:
    call.options()
    receipt = await aside(verdicts.lift, call.door, call.caller)
    return accepted(204, receipt)


async def unfreeze_names(call: Call) -> Response:
    call.options()
    return accepted(204, await aside(lifting.lift, call.door, call.caller))


def operations() -> list[Operation]:
    hosts = "For ten minutes silent hosts are judged one by one, however many they are"
    names = "For ten minutes members go out of answers, however few regions agree on it"
    errors = (400, 403, 406, 500, 503)
    return [
        Operation("PUT", PATH, unfreeze, hosts, HOST.title, success=204, errors=errors, rule=rule(HOST, "put"),
                  job=True),
        Operation("PUT", NAMES, unfreeze_names, names, GSLB.title, success=204, errors=errors,
                  rule=rule(GSLB, "put_unfreeze"), job=True),
    ]  # fmt: skip
