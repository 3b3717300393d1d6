# SPDX-License-Identifier: Apache-2.0
"""OCSP responders, asked over HTTP where their certificates say."""

import asyncio
from ipaddress import IPv4Network, IPv6Network

from .outbound import Limits, NotPublic, Outbound, Unreachable

ANSWER_BYTES_MAX = 1 << 16
LIMITS = Limits(head_s=6.0, content_s=4.0, content_bytes=ANSWER_BYTES_MAX)
OK = 200
EVERYWHERE = (IPv4Network("0.0.0.0/0"), IPv6Network("::/0"))
HEADERS = {"Content-Type": "application/ocsp-request", "Accept": "application/ocsp-response"}


class ResponderError(Exception):
    """No answer; str() is a sentence."""


def ask(url: str, request: bytes, *, private: bool = False) -> bytes:
    """What the responder answers, not looked into. `private`: it may be at an address that is not public."""
    return asyncio.run(_ask(url, request, private=private))


async def _ask(url: str, request: bytes, *, private: bool) -> bytes:
    try:
        async with Outbound(EVERYWHERE if private else ()) as outbound:
            answer = await outbound.post(url, request, HEADERS, LIMITS)
    except NotPublic as error:
        raise ResponderError(f"{error} `ocsp_private_responders` lets such responders be asked, too.") from error
    except Unreachable as error:
        raise ResponderError(f"The responder has not answered: {error}") from error
    if answer.status != OK:
        raise ResponderError(f"The responder answers {answer.status}.")
    if not answer.whole:
        raise ResponderError("The responder answers too much, or too slowly.")
    return answer.content
