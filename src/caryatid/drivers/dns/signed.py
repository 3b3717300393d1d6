# SPDX-License-Identifier: Apache-2.0
"""Messages to one DNS server over TCP, signed by TSIG (RFC 8945), many under way at a time; zone transfers."""

import binascii
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import dns.exception
import dns.message
import dns.name
import dns.query
import dns.rcode
import dns.tsig
import dns.xfr
import dns.zone

from .base import Backend, DnsError, DnsRefusedError

ALGORITHMS = ("hmac-sha256", "hmac-sha384", "hmac-sha512", "hmac-sha224", "hmac-sha1")
AT_ONCE = 64
"""Messages that are sent before an answer is read."""
TRANSFER_S = 60.0
"""For a whole zone."""
PEER: Mapping[type[dns.tsig.PeerError], str] = {
    dns.tsig.PeerBadKey: "does not know the key {key} (BADKEY): key_name and key_algorithm must be as they are there.",
    dns.tsig.PeerBadSignature: "has another secret for the key {key} (BADSIG): key_secret must be as it is there.",
    dns.tsig.PeerBadTime: "has another time than we have (BADTIME): both clocks must be right within 5 minutes.",
    dns.tsig.PeerBadTruncation: "wants longer signatures of the key {key} (BADTRUNC).",
}


def key_of(backend: Backend) -> dns.tsig.Key | None:
    """What updates are signed with; None: they are not. Raises DnsRefusedError."""
    shown = backend.credentials
    name, secret = shown.get("key_name", ""), shown.get("key_secret", "")
    algorithm = shown.get("key_algorithm", ALGORITHMS[0]).lower().rstrip(".")
    if not name and not secret:
        return None
    if not name or not secret:
        raise DnsRefusedError("The credentials key_name and key_secret go together.")
    if algorithm not in ALGORITHMS:
        raise DnsRefusedError(f"key_algorithm is one of {', '.join(ALGORITHMS)}.")
    try:
        return dns.tsig.Key(name, binascii.a2b_base64(secret, strict_mode=True), algorithm)
    except (binascii.Error, ValueError) as error:
        raise DnsRefusedError("key_secret is not base64.") from error
    except dns.exception.DNSException as error:
        raise DnsRefusedError("key_name is no domain name.") from error


@dataclass(frozen=True)
class Server:
    """Takes messages signed by the key. Threads may share it."""

    host: str
    port: int
    key: dns.tsig.Key | None
    timeout_s: float

    @property
    def title(self) -> str:
        return f"The DNS server {self.host} port {self.port}"

    @property
    def key_name(self) -> str:
        return self.key.name.to_text(omit_final_dot=True) if self.key else "none"

    def ask(self, messages: Sequence[dns.message.Message]) -> Sequence[dns.message.Message]:
        """What is answered to each, whatever it is. Raises DnsError; dns.exception.TooBig, before any has been sent."""
        wires = [self._framed(message) for message in messages]
        answers: dict[int, dns.message.Message] = {}
        with self._failing(), socket.create_connection((self.host, self.port), self.timeout_s) as tcp:
            tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for start in range(0, len(messages), AT_ONCE):
                end = start + AT_ONCE
                answers.update(self._exchange(tcp, messages[start:end], b"".join(wires[start:end])))
        return [answers[message.id] for message in messages]

    def transfer(self, zone: str, remedy: str = "") -> dns.zone.Zone:
        """All that is in it. Raises DnsError; if it is not allowed, with the remedy."""
        whole = dns.zone.Zone(dns.name.from_text(zone), relativize=False)
        query, _ = dns.xfr.make_query(whole, serial=None, keyring=self.key)
        with self._failing(remedy):
            address = str(socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)[0][4][0])
            dns.query.inbound_xfr(address, whole, query, self.port, self.timeout_s, TRANSFER_S)
        return whole

    def _exchange(
        self, tcp: socket.socket, messages: Sequence[dns.message.Message], wire: bytes
    ) -> Iterator[tuple[int, dns.message.Message]]:
        """Answers come in any order."""
        deadline = time.monotonic() + self.timeout_s
        asked = {message.id: message for message in messages}
        tcp.settimeout(self.timeout_s)
        tcp.sendall(wire)
        while asked:
            answer = _read(tcp, int.from_bytes(_read(tcp, 2, deadline), "big"), deadline)
            message = asked.pop(int.from_bytes(answer[:2], "big"), None)
            if message is not None:
                yield message.id, self._parsed(answer, message)

    def _framed(self, message: dns.message.Message) -> bytes:
        if self.key:
            message.use_tsig(self.key)
        wire = message.to_wire()
        return len(wire).to_bytes(2, "big") + wire

    def _parsed(self, wire: bytes, message: dns.message.Message) -> dns.message.Message:
        """Who does not want to know us may say so unsigned."""
        try:
            answer = dns.message.from_wire(wire, keyring=self.key, request_mac=message.mac)
        except dns.exception.FormError:
            answer = dns.message.from_wire(wire, keyring=False)
            if answer.rcode() == dns.rcode.NOERROR:
                raise
        if not message.is_response(answer):
            raise dns.exception.FormError
        return answer

    @contextmanager
    def _failing(self, remedy: str = "") -> Iterator[None]:
        """Whatever goes wrong is said as it is for whom it concerns."""
        try:
            yield
        except dns.tsig.PeerError as error:
            what = PEER.get(type(error), "does not accept the key {key}.")
            raise DnsRefusedError(f"{self.title} {what.format(key=self.key_name)}") from error
        except dns.xfr.TransferError as error:
            raise self.refusal(error.rcode, "Zone transfers", remedy) from error
        except (dns.exception.Timeout, TimeoutError) as error:
            raise DnsError(f"{self.title} does not answer in time.") from error
        except (OSError, EOFError) as error:
            raise DnsError(f"{self.title} cannot be asked: {str(error) or type(error).__name__}.") from error
        except dns.exception.DNSException as error:
            raise DnsError(f"{self.title} answers what cannot be read, or is not signed by {self.key_name}.") from error

    def refusal(self, rcode: int, what: str, remedy: str = "") -> DnsError:
        """What is raised for an answer that is no success."""
        word = dns.rcode.to_text(dns.rcode.Rcode(rcode))
        if rcode not in REMEDIES:
            return DnsError(f"{self.title} answers {word}.")
        rest = f"{what}{REMEDIES[rcode]}{remedy}".format(key=self.key_name)
        unsigned = "" if self.key else " Nothing is signed: the backend has no credentials key_name and key_secret."
        return DnsRefusedError(f"{self.title} answers {word}. {rest}{unsigned}")


REMEDIES: Mapping[int, str] = {
    dns.rcode.REFUSED: " must be allowed to the key {key}.",
    dns.rcode.NOTAUTH: " are for the zone's primary server, and signed by a key that it knows; ours is {key}.",
    dns.rcode.NOTIMP: " are not among what it can do.",
    dns.rcode.FORMERR: " of this form are not understood there.",
    dns.rcode.NOTZONE: " are for names within the zone.",
}
"""Answers that will be the same until somebody changes something. Others pass by."""


def _read(tcp: socket.socket, size: int, deadline: float) -> bytes:
    content = bytearray()
    while len(content) < size:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        tcp.settimeout(left)
        piece = tcp.recv(size - len(content))
        if not piece:
            raise EOFError
        content += piece
    return bytes(content)
