# SPDX-License-Identifier: Apache-2.0
"""Asking name servers, many questions at once, whether they answer as they shall: what all DNS drivers do after
publishing.

differences(servers, wanted, timeout_s, patience_s) → what is not as it shall be, by (fqdn, rrtype), in words
"""

import secrets
import selectors
import socket
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address

import dns.edns
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.query
import dns.rcode
import dns.rdataclass
import dns.rdatatype

from .base import Publication
from .judging import Question, Reply, fault, questions

Server = tuple[str, int]
Key = tuple[str, str]

AT_ONCE = 100
"""Questions on their way to one server: as many as fit in a socket's buffer."""
AGAIN_S = 0.5
"""After which a question is asked again."""
TRIES = 4
PAUSES_S = (0.02, 0.05, 0.1, 0.2, 0.4)
"""Before what was wrong is asked again, as long as patience lasts; then always the last."""
PAYLOAD = 1232
WHOLE = {4: 32, 6: 128}
ANSWERED = {dns.rcode.NOERROR, dns.rcode.NXDOMAIN}


def differences(
    servers: Sequence[Server], wanted: Sequence[Publication], timeout_s: float, patience_s: float = 0.0
) -> Mapping[Key, str]:
    """What is not as it shall be: every server was asked, and what one had wrong again, until `patience_s` was over:
    secondaries may take a moment. A server that says nothing for `timeout_s` has everything wrong."""
    until = time.monotonic() + patience_s
    wrong = _look(servers, wanted, timeout_s)
    pauses = iter(PAUSES_S)
    while wrong and (left := until - time.monotonic()) > 0:
        time.sleep(min(left, next(pauses, PAUSES_S[-1])))  # noqa: TID251  nothing tells when servers have it
        wrong = _look(servers, [each for each in wanted if (each.fqdn, each.rrtype) in wrong], timeout_s)
    return wrong


def _look(servers: Sequence[Server], wanted: Sequence[Publication], timeout_s: float) -> dict[Key, str]:
    asked = [questions(publication) for publication in wanted]
    replies = ask(servers, [question for some in asked for question in some], timeout_s)
    wrong: dict[Key, str] = {}
    for (address, port), found in replies.items():
        for publication, some in zip(wanted, asked, strict=True):
            heard = [found[question] for question in some]
            beside = next((reply for question, reply in zip(some, heard, strict=True) if question.apart), None)
            for question, reply in zip(some, heard, strict=True):
                if said := fault(publication, question, reply, beside):
                    wrong.setdefault((publication.fqdn, publication.rrtype), f"{address}:{port} {said}")
    return wrong


def ask(
    servers: Iterable[Server], asked: Sequence[Question], timeout_s: float
) -> Mapping[Server, Mapping[Question, Reply]]:
    """What each of the servers replies to each of the questions."""
    with selectors.DefaultSelector() as selector:
        lines = [_Line.to(server, asked) for server in dict.fromkeys(servers)]
        try:
            for line in lines:
                selector.register(line.socket, selectors.EVENT_READ, line)
            while busy := [line for line in lines if not line.ended]:
                for line in busy:
                    line.send(timeout_s)
                for ready, _ in selector.select(min(line.wait_s() for line in busy)):
                    ready.data.read()
        finally:
            for line in lines:
                line.socket.close()
    for line in lines:
        line.ask_in_full(timeout_s)
    return {line.server: line.replies for line in lines}


@dataclass(slots=True)
class _Sent:
    question: Question
    query: dns.message.QueryMessage
    wire: bytes
    again_at: float
    tries: int = 1


@dataclass(slots=True)
class _Line:
    """One server, and what is on its way to it."""

    server: Server
    socket: socket.socket
    todo: deque[Question]
    sent: dict[int, _Sent] = field(default_factory=dict)
    replies: dict[Question, Reply] = field(default_factory=dict)
    truncated: list[Question] = field(default_factory=list)
    heard_at: float = field(default_factory=time.monotonic)

    @classmethod
    def to(cls, server: Server, asked: Sequence[Question]) -> "_Line":
        address, port = server
        family = socket.AF_INET if ip_address(address).version == 4 else socket.AF_INET6  # noqa: PLR2004  versions of IP
        line = cls(server, socket.socket(family, socket.SOCK_DGRAM), deque(asked))
        line.socket.setblocking(False)
        try:
            line.socket.connect((address, port))
        except OSError as error:
            line.give_up(f"cannot be reached: {error.strerror}")
        return line

    @property
    def ended(self) -> bool:
        return not self.todo and not self.sent

    def wait_s(self) -> float:
        return max(0.0, min(sent.again_at for sent in self.sent.values()) - time.monotonic()) if self.sent else 0.0

    def send(self, timeout_s: float) -> None:
        """As many as may be on their way are; what has been for long is sent again."""
        now = time.monotonic()
        if now > self.heard_at + timeout_s:
            self.give_up("does not answer")
        try:
            for sent in [sent for sent in self.sent.values() if sent.again_at <= now]:
                sent.tries, sent.again_at = sent.tries + 1, now + AGAIN_S * sent.tries
                self.socket.send(sent.wire)
            while self.todo and len(self.sent) < AT_ONCE:
                number = self._number()
                asked = query(self.todo[0], number)
                wire = asked.to_wire()
                self.sent[number] = _Sent(self.todo.popleft(), asked, wire, now + AGAIN_S)
                self.socket.send(wire)
        except BlockingIOError:
            pass  # sent again after a while
        except OSError as error:
            self.give_up(f"does not answer: {error.strerror}")
        self._forsake()

    def _number(self) -> int:
        while (number := secrets.randbelow(1 << 16)) in self.sent:
            pass
        return number

    def _forsake(self) -> None:
        """What has been asked often enough is not asked again."""
        for number, sent in list(self.sent.items()):
            if sent.tries > TRIES:
                self.replies[sent.question] = Reply(problem="does not answer this question")
                del self.sent[number]

    def read(self) -> None:
        """All that has come."""
        while self.sent:
            try:
                wire = self.socket.recv(1 << 16)
            except BlockingIOError:
                return
            except OSError as error:
                self.give_up(f"does not answer: {error.strerror}")
                return
            self._take(wire)

    def _take(self, wire: bytes) -> None:
        sent = self.sent.get(int.from_bytes(wire[:2], "big"))
        if sent is None:
            return
        try:
            message = dns.message.from_wire(wire, ignore_trailing=True)
        except dns.exception.DNSException:
            return
        if not sent.query.is_response(message):
            return
        self.heard_at = time.monotonic()
        del self.sent[message.id]
        if message.flags & dns.flags.TC:
            self.truncated.append(sent.question)
        else:
            self.replies[sent.question] = reply(sent.question, message)

    def ask_in_full(self, timeout_s: float) -> None:
        """What did not fit in a datagram is asked over TCP."""
        address, port = self.server
        for question in self.truncated:
            try:
                message = dns.query.tcp(query(question), address, timeout_s, port)
            except (OSError, EOFError, dns.exception.DNSException) as error:
                why = str(error) or type(error).__name__
                self.replies[question] = Reply(problem=f"does not answer over TCP: {why}")
            else:
                self.replies[question] = reply(question, message)

    def give_up(self, why: str) -> None:
        """Nothing more is expected of it."""
        left = [*(sent.question for sent in self.sent.values()), *self.todo]
        self.replies.update(dict.fromkeys(left, Reply(problem=why)))
        self.sent.clear()
        self.todo.clear()


def query(question: Question, number: int | None = None) -> dns.message.QueryMessage:
    """As it is sent: nobody shall ask others for the answer."""
    told: list[dns.edns.Option] = []
    if question.client:
        told.append(dns.edns.ECSOption(question.client, WHOLE[ip_address(question.client).version]))
    return dns.message.make_query(
        question.fqdn, question.rrtype, use_edns=0, payload=PAYLOAD, options=told, flags=0, id=number
    )


def reply(question: Question, message: dns.message.Message) -> Reply:
    """What the message says to the question."""
    if message.rcode() not in ANSWERED:
        return Reply(problem=f"answers {dns.rcode.to_text(message.rcode())}")
    if not message.flags & dns.flags.AA:
        return Reply(problem="does not have the zone itself")
    rdtype = dns.rdatatype.from_text(question.rrtype)
    name = dns.name.from_text(question.fqdn)
    rrset = message.get_rrset(message.answer, name, dns.rdataclass.IN, rdtype)
    if rrset is None:
        return Reply()
    return Reply(tuple([rdata.to_text().lower() for rdata in rrset]), rrset.ttl)
