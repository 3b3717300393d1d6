# SPDX-License-Identifier: Apache-2.0
"""Datagrams, and questions to name servers."""

import socket
import threading
from contextlib import contextmanager, suppress

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest

from tests.checker.checks.places import check, tried


@contextmanager
def answering(answer):
    """The port of somebody who answers each datagram so; None: says nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as serving:
        serving.bind(("127.0.0.1", 0))

        def run():
            with suppress(OSError):
                while True:
                    said, sender = serving.recvfrom(65536)
                    if not said:
                        return
                    for part in answer(said):
                        serving.sendto(part, sender)

        thread = threading.Thread(target=run)
        thread.start()
        port = serving.getsockname()[1]
        try:
            yield port
        finally:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ending:
                ending.sendto(b"", ("127.0.0.1", port))
            thread.join()


def test_what_is_expected_must_come_back():
    with answering(lambda said: [said[::-1]]) as port:
        assert tried(check("udp", port, send="ping", expect="^gnip$")).up
        assert tried(check("udp", port, send_hex="01ff61", expect="^a")).up
        assert tried(check("udp", port, send="ping", expect="pong")).reason == "pong is not in the 4 bytes that came"


def test_silence_is_a_failure_only_where_something_is_expected():
    with answering(lambda _: []) as port:
        outcome = tried(check("udp", port, send="ping", timeout_s=0.5))
        assert (outcome.up, outcome.rtt_ms) == (True, None), "how long nothing was heard is no distance"
        outcome = tried(check("udp", port, send="ping", expect="pong", timeout_s=0.5))
        assert outcome.reason == "no end within 0.5 s: waiting for pong"


def test_that_nobody_is_there_is_an_answer():
    with answering(lambda _: []) as port:
        pass
    assert "connection refused" in tried(check("udp", port, send="ping")).reason


def zone(said):
    """A name server that knows www and a name with a large answer."""
    query = dns.message.from_wire(said)
    answer = dns.message.make_response(query)
    asked = query.question[0]
    if asked.name.to_text() == "www.example.test.":
        answer.answer.append(dns.rrset.from_text(asked.name, 30, "IN", "A", "192.0.2.1", "192.0.2.2"))
    elif asked.name.to_text() == "cut.example.test.":
        answer.flags |= dns.flags.TC
    else:
        answer.set_rcode(dns.rcode.NXDOMAIN)
    return [answer.to_wire()]


@pytest.fixture(scope="module")
def server():
    with answering(zone) as port:
        yield port


def test_a_name_server_must_answer_as_expected(server):
    assert tried(check("dns", server, qname="www.example.test")).up
    assert tried(check("dns", server, qname="www.example.test", expected_rdata=["192.0.2.2", "192.0.2.1"])).up
    assert tried(check("dns", server, qname="none.example.test", expected_rcode="NXDOMAIN")).up
    assert tried(check("dns", server, qname="none.example.test")).reason == "NXDOMAIN, expected NOERROR"
    wrong = tried(check("dns", server, qname="www.example.test", expected_rdata=["192.0.2.3"]))
    assert wrong.reason == "192.0.2.3 is not in the answer: 192.0.2.1, 192.0.2.2"


def test_what_was_cut_short_is_asked_for_again_over_tcp(server):
    assert "connection refused" in tried(check("dns", server, qname="cut.example.test")).reason


def test_who_answers_something_else_is_no_name_server():
    with answering(lambda _: [b"hello"]) as port:
        outcome = tried(check("dns", port, qname="www.example.test"))
    assert outcome.reason.startswith("what it answers is no DNS message")
    with answering(lambda _: []) as port:
        outcome = tried(check("dns", port, qname="www.example.test", timeout_s=0.5))
    assert (outcome.reason, outcome.ours) == ("no end within 0.5 s: waiting for an answer", False)
    assert "connection refused" in tried(check("dns", port, qname="www.example.test")).reason
