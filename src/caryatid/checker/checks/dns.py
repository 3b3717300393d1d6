# SPDX-License-Identifier: Apache-2.0
"""A question to a name server."""

import asyncio
from collections.abc import Mapping
from typing import Any, Final

import dns.asyncquery
import dns.exception
import dns.flags
import dns.message
import dns.rcode
import dns.rdata
import dns.rdatatype

from caryatid.model.gslb.parameters import Dns as Parameters

from .base import BYTES_MAX, Failed, Means, Place, datagrams, read

PORT: Final = 53
SHOWN_MAX: Final = 5
"""Records that a reason repeats."""


class Dns:
    def __init__(self, parameters: Mapping[str, Any], _means: Means) -> None:
        self._wanted = read(Parameters, parameters)
        self._type = dns.rdatatype.from_text(self._wanted.qtype)
        try:
            self._expected = {dns.rdata.from_text("IN", self._type, text): text for text in self._wanted.expected_rdata}
        except dns.exception.DNSException:
            raise ValueError("expected_rdata") from None

    async def ask(self, place: Place) -> None:
        place.doing = "waiting for an answer"
        query = dns.message.make_query(self._wanted.qname, self._type)
        port = self._wanted.port or place.port or PORT
        try:
            answer = await _by_datagram(place, port, query) if self._wanted.transport == "udp" else None
            if answer is None:
                answer = await dns.asyncquery.tcp(query, place.address, port=port)
        except (dns.exception.DNSException, EOFError) as error:
            raise Failed(f"what it answers is no DNS message: {type(error).__name__}") from error
        self._judge(answer)

    def _judge(self, answer: dns.message.Message) -> None:
        rcode = dns.rcode.to_text(answer.rcode())
        if rcode != self._wanted.expected_rcode:
            raise Failed(f"{rcode}, expected {self._wanted.expected_rcode}")
        found = {record for rrset in answer.answer if rrset.rdtype == self._type for record in rrset}
        missing = [text for record, text in self._expected.items() if record not in found]
        if missing:
            there = ", ".join(sorted(record.to_text() for record in found)[:SHOWN_MAX]) or f"no {self._wanted.qtype}"
            raise Failed(f"{missing[0]} is not in the answer: {there}")


async def _by_datagram(place: Place, port: int, query: dns.message.Message) -> dns.message.Message | None:
    """None: the answer was cut short."""
    with datagrams(place, port) as asking:
        asking.send(query.to_wire())
        while True:
            heard = await asyncio.get_running_loop().sock_recv(asking, BYTES_MAX)
            answer = dns.message.from_wire(heard)
            if query.is_response(answer):
                return None if answer.flags & dns.flags.TC else answer
