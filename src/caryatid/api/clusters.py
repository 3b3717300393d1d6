# SPDX-License-Identifier: Apache-2.0
"""Ganeti clusters, for operators: what is there, how old that knowledge is, and what jobs did. No RAPI is asked."""

from typing import Any, Final

from starlette.responses import Response

from caryatid.control.ganeti import showing, sight
from caryatid.control.receipt import rule
from caryatid.errors import Fault, Refused
from caryatid.model import CLUSTER

from .call import Call, answer, aside, limited
from .conditions import exact
from .resources import READING, Resource, verbs
from .routing import Body, Operation, Parameter

VERSION: Final = "/v1"
STATUS: Final = Body({"type": "object"}, "status")
JOBS: Final = Body({"type": "array", "items": {"type": "object"}}, "jobs")
LIMIT: Final = Parameter(
    "limit",
    "So many at most.",
    {"type": "integer", "minimum": 1, "maximum": showing.LIMIT_MAX, "default": showing.LIMIT},
)
BELOW: Final = Parameter("below", "Only jobs with lower numbers than this: the page after.", {"type": "integer"})
AMPHORA: Final = Parameter("amphora_id", "Only those about the machine of this amphora.")


async def status(call: Call) -> Response:
    call.options()
    return answer(200, {"status": await call.read(sight.status, call.door, call.caller, call.path["id"])})


async def jobs(call: Call) -> Response:
    """The newest first, with their logs."""
    options = call.options(LIMIT.name, BELOW.name, AMPHORA.name)
    limit = limited(options.get(LIMIT.name), showing.LIMIT, showing.LIMIT_MAX)
    below = _below(options.get(BELOW.name))
    found = await aside(showing.jobs, call.door, call.caller, call.path["id"], limit, below, options.get(AMPHORA.name))
    return answer(200, {"jobs": found})


def _below(text: str | None) -> int | None:
    """Raises Refused."""
    if text is None:
        return None
    if not (text.isascii() and text.isdigit()) or len(text) > len(str(1 << 63)) - 1:
        raise Refused([Fault("below should be the number of a job.", BELOW.name)])
    return int(text)


def operations() -> list[Operation]:
    one = f"{VERSION}{CLUSTER.path}/{{id}}"
    about: dict[str, Any] = {"tag": CLUSTER.title, "kind": CLUSTER, "errors": READING}
    return [
        *verbs(Resource(CLUSTER), VERSION),
        exact(Operation("GET", f"{one}/status", status, "Its machines and nodes, and how old what is known of them is",
                        gives=STATUS, rule=rule(CLUSTER, "get_status"), **about)),
        exact(Operation("GET", f"{one}/jobs", jobs, "What jobs of ours did there, with their logs", gives=JOBS,
                        query=(LIMIT, BELOW, AMPHORA), rule=rule(CLUSTER, "get_jobs"), **about)),
    ]  # fmt: skip
