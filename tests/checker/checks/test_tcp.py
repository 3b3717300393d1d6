# SPDX-License-Identifier: Apache-2.0
"""Connections, and what is said over them."""

import re
import socket

from tests.checker.checks.places import bound, check, saying, serving, silent, tried


def test_who_takes_a_connection_is_up():
    with silent() as port:
        assert tried(check("tcp", port)).up
        assert tried(check("tcp", 1, parameters={"port": port})).up, "the monitor's port goes before the member's"
    outcome = tried(check("tcp", port))
    assert (outcome.reason, outcome.ours) == ("connecting: connection refused", False)


def test_what_is_expected_must_come():
    with serving(saying(b"+PONG\r\n")) as port:
        assert tried(check("tcp", port, send="PING\r\n", expect=r"^\+PONG")).up
        assert tried(check("tcp", port, send_hex="50494e47", expect="PONG")).up

    def greet(connection):
        for part in (b"220 ", b"hel", b"lo\r\n"):
            connection.sendall(part)

    with serving(greet) as port:
        assert tried(check("tcp", port, expect="hello")).up, "it may come in pieces"
        outcome = tried(check("tcp", port, expect="bye"))
        assert outcome.reason in {
            "bye is not in the 11 bytes that came",
            "waiting for bye: it reset the connection",
        }


def test_who_never_says_it_is_not_listened_to_for_ever():
    def endless(connection):
        while True:
            connection.sendall(b"x" * 4096)

    with serving(endless) as port:
        assert tried(check("tcp", port, expect="bye")).reason == "bye is not in the 65536 bytes that came"

    def in_crumbs(connection):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while True:
            connection.sendall(b"x")

    with serving(in_crumbs) as port:
        assert re.fullmatch("bye is not in the [0-9]+ bytes that came", tried(check("tcp", port, expect="bye")).reason)
    with silent() as port:
        assert tried(check("tcp", port, expect="bye", timeout_s=0.5)).reason == "no end within 0.5 s: waiting for bye"


def test_without_a_port_nothing_can_be_said_of_the_member():
    outcome = tried(check("tcp"))
    assert (outcome.reason, outcome.ours) == ("neither the monitor nor the member has a port", True)


def test_members_may_have_ipv6_addresses():
    with bound() as listener:
        port = listener.getsockname()[1]
        outcome = tried(check("tcp", port, address="::1"))
    assert not outcome.up
    assert outcome.reason in {"connecting: connection refused", "connecting: cannot assign requested address"}
