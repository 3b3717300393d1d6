# SPDX-License-Identifier: Apache-2.0
"""Webhooks: subscriptions, what their receivers have not accepted, and trying whether one works (docs/webhooks.md)."""

import asyncio
from dataclasses import replace
from typing import Any

from starlette.responses import Response

from caryatid.control import posting, webhooks
from caryatid.control.receipt import rule
from caryatid.errors import Busy
from caryatid.model import DELIVERY, SUBSCRIPTION

from .call import Call, accepted, answer, aside
from .conditions import exact
from .resources import Resource, verbs
from .routing import Body, Operation

VERSION = "/v1"
TESTS_AT_ONCE = 16
ACTING = (400, 403, 404, 406, 408, 413, 415, 500, 503)
SECRET = Body(
    {
        "type": "object",
        "properties": {
            "secret": {"type": "string", "description": "The new one; default: one is made."},
            "overlap_s": {
                "type": "integer",
                "minimum": 0,
                "maximum": webhooks.OVERLAP_MAX_S,
                "default": webhooks.OVERLAP_S,
                "description": "Seconds for which what is sent is signed with the old one, too.",
            },
        },
        "additionalProperties": False,
    }
)
REPLAY = Body(
    {
        "type": "object",
        "description": "One of these; none of them: what is dead.",
        "properties": {
            "since": {"type": "string", "description": "A moment: everything that has happened since."},
            "after": {"type": "string", "description": "The id of an event: everything after it; `0`: all."},
            "deliveries": {
                "type": "array",
                "items": {"type": "string"},
                "description": "Ids of dead deliveries.",
            },
        },
        "additionalProperties": False,
    }
)
REPLAYED = Body(
    {
        "type": "object",
        "required": ["deliveries", "cursor"],
        "properties": {
            "deliveries": {"type": "integer", "description": "Dead ones that are tried again: 1000 at most."},
            "cursor": {"type": "string", "description": "From where in the log it goes on."},
        },
    },
    "replay",
)
TRIED = Body(
    {
        "type": "object",
        "required": ["delivered", "status", "reason", "took_ms"],
        "properties": {
            "delivered": {"type": "boolean"},
            "status": {"type": ["integer", "null"], "description": "What the receiver answered; null: nothing."},
            "reason": {"type": "string", "description": "Why it was not delivered."},
            "took_ms": {"type": "number", "description": "Until it answered."},
        },
    },
    "test",
)


class Subscriptions(Resource):
    def __init__(self) -> None:
        super().__init__(SUBSCRIPTION)
        self._tests = asyncio.Semaphore(TESTS_AT_ONCE)

    async def new_secret(self, call: Call) -> Response:
        call.options()
        receipt = await aside(webhooks.new_secret, call.door, call.caller, call.path["id"], call.body)
        return accepted(200, receipt, {SUBSCRIPTION.wrapper: self.show(receipt.document or {})})

    async def replay(self, call: Call) -> Response:
        call.options()
        done = await aside(webhooks.replay, call.door, call.caller, call.path["id"], call.body)
        return answer(202, {"replay": vars(done)})

    async def test(self, call: Call) -> Response:
        """What is sent waits on the loop for its answer; it holds no thread."""
        call.options()
        trial = await aside(webhooks.trial, call.door, call.caller, call.path["id"])
        if self._tests.locked():
            raise Busy("Too many receivers are being tried now. Try again.")
        async with self._tests:
            sent = await posting.try_out(call.door, trial)
        said = {"delivered": sent.verdict == "delivered", "status": sent.status, "reason": sent.reason}
        return answer(200, {"test": {**said, "took_ms": round(sent.took_s * 1000, 1)}})


def operations() -> list[Operation]:
    resource = Subscriptions()
    one = f"{VERSION}{SUBSCRIPTION.path}/{{id}}"
    about: dict[str, Any] = {"tag": SUBSCRIPTION.title, "kind": SUBSCRIPTION}
    shown = Body(SUBSCRIPTION.model.__name__, SUBSCRIPTION.wrapper)
    return [
        *(exact(replace(each, once=True)) for each in verbs(resource, VERSION)),  # a secret is shown at creation
        Operation("POST", f"{one}/secret", resource.new_secret, "Give it another secret", takes=SECRET, gives=shown,
                  errors=ACTING, rule=rule(SUBSCRIPTION, "post_secret"), **about),
        Operation("POST", f"{one}/replay", resource.replay, "Send again", success=202, takes=REPLAY, gives=REPLAYED,
                  errors=ACTING, rule=rule(SUBSCRIPTION, "post_replay"), **about),
        Operation("POST", f"{one}/test", resource.test, "Send something, and tell what is answered", gives=TRIED,
                  errors=(400, 403, 404, 406, 500, 503), rule=rule(SUBSCRIPTION, "post_test"), **about),
        *verbs(Resource(DELIVERY), VERSION, "list get"),
    ]  # fmt: skip
