# SPDX-License-Identifier: Apache-2.0
"""Webhooks: what is sent, how it is signed (Standard Webhooks), what an answer means, and when to try again.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

import base64
import hashlib
import hmac
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

AGAIN_S: Final = 1.0
AGAIN_MAX_S: Final = 600.0
GIVEN_UP_S: Final = 86_400.0
DOWN_AFTER: Final = 5
"""Events in a row that were not accepted, after which it is the receiver that does not work, and not something about
one of them: it is tried with the next, less and less often, and the rest waits in the log."""
TEST: Final = "caryatid.test"
"""Type of what is sent to see whether a receiver works."""
ACCEPTED: Final = range(200, 300)
GONE: Final = 410
Verdict = Literal["delivered", "failed", "gone"]


@dataclass(frozen=True)
class Message:
    """What a receiver gets."""

    id: str
    """The same however often it is sent: by this a receiver knows what it has already."""
    body: bytes = field(repr=False)


def message(event: Mapping[str, Any]) -> Message:
    """The message of an event as the wire shows it."""
    return Message(f"evt_{event['id'].replace('.', '_')}", _body(event["type"], event["at"], event))


def test_message(key: str, at: str, subscription_id: str) -> Message:
    """A message that is of no event."""
    return Message(f"test_{key}", _body(TEST, at, {"subscription_id": subscription_id}))


def _body(name: str, at: str, data: Mapping[str, Any]) -> bytes:
    return json.dumps({"type": name, "timestamp": f"{at}Z", "data": data}, separators=(",", ":")).encode()


def headers(sent: Message, at_s: int, keys: Iterable[bytes]) -> dict[str, str]:
    """What is said beside the body. `at_s`: seconds since the epoch, of this attempt. `keys`: each signs it."""
    signed = f"{sent.id}.{at_s}.".encode() + sent.body
    signatures = (base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode() for key in keys)
    return {
        "Content-Type": "application/json",
        "webhook-id": sent.id,
        "webhook-timestamp": str(at_s),
        "webhook-signature": " ".join(f"v1,{signature}" for signature in signatures),
    }


def verdict(status: int) -> Verdict:
    if status == GONE:
        return "gone"
    return "delivered" if status in ACCEPTED else "failed"


def again_s(attempts: int, jitter: float) -> float:
    """Seconds until the next attempt, after so many. `jitter` from 0 to 1 takes up to a fifth off, so that those that
    failed together do not come back together."""
    return float(min(AGAIN_MAX_S, AGAIN_S * 2 ** min(attempts - 1, 30)) * (1 - jitter / 5))


def given_up(since_s: float, now_s: float) -> bool:
    """Whether it has been tried for long enough."""
    return now_s - since_s >= GIVEN_UP_S


def is_down(failures: int) -> bool:
    return failures >= DOWN_AFTER
