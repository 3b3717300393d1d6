# SPDX-License-Identifier: Apache-2.0
"""Mail servers, as they greet."""

import ssl
from contextlib import ExitStack

import pytest

from tests.certificates import Authority
from tests.checker.checks.places import check, saying, serving, tried


@pytest.fixture(scope="module")
def authority():
    return Authority("Checks")


@pytest.fixture(scope="module")
def context(tmp_path_factory, authority):
    file = tmp_path_factory.mktemp("smtp") / "mail.pem"
    file.write_text(authority.file(authority.sign("mail.example.test", "mail.example.test")))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return context


def mail(heard, context=None, greeting=b"220-mail.example.test\r\n220 ready\r\n"):
    """A small mail server."""

    def talk(connection):
        with ExitStack() as ending:
            go_on(connection, ending)

    def go_on(connection, ending):
        connection.sendall(greeting)
        while line := connection.recv(1024):
            heard.append(line)
            if line.startswith(b"EHLO"):
                connection.sendall(b"250-mail.example.test\r\n250-SIZE 1000\r\n250 STARTTLS\r\n")
            elif line.startswith(b"STARTTLS") and context:
                connection.sendall(b"220 go on\r\n")
                connection = ending.enter_context(context.wrap_socket(connection, server_side=True))
            else:
                connection.sendall(b"502 no\r\n")

    return talk


def test_a_mail_server_must_greet():
    heard = []
    with serving(mail(heard)) as port:
        assert tried(check("smtp", port, helo="me.example.test")).up
    assert heard[0] == b"EHLO me.example.test\r\n"
    with serving(mail(heard, greeting=b"554 not today\r\n")) as port:
        assert tried(check("smtp", port)).reason == "its greeting is 554 not today, expected 220"


def test_tls_must_be_spoken_where_that_is_wished(authority, context):
    heard, pem = [], authority.paper.pem.decode()
    with serving(mail(heard, context)) as port:
        assert tried(check("smtp", port, starttls=True, authorities=pem, sni="mail.example.test")).up
        assert [line.split()[0] for line in heard[:3]] == [b"EHLO", b"STARTTLS", b"EHLO"]
        outcome = tried(check("smtp", port, starttls=True, authorities=pem, sni="www.example.test"))
        assert outcome.reason.startswith("TLS: its certificate is not good: Hostname mismatch")
    with serving(mail(heard)) as port:
        outcome = tried(check("smtp", port, starttls=True))
        assert outcome.reason == "the answer to STARTTLS is 502 no, expected 220"


@pytest.mark.parametrize(
    ("greeting", "reason"),
    [
        (b"", "it closed the connection before its greeting"),
        (b"220" + b"x" * 9000, "its greeting has a line of more than 4096 bytes"),
        (b"220-a\r\n" * 200, "its greeting has more than 100 lines"),
        (b"\x00\x01\n", "its greeting is   , expected 220"),
    ],
)
def test_a_strange_greeting_is_a_failure_with_a_sentence(greeting, reason):
    def talk(connection):
        connection.sendall(greeting)
        connection.shutdown(1)
        connection.recv(1)

    with serving(talk) as port:
        assert tried(check("smtp", port)).reason == reason


def test_who_waits_for_us_to_begin_is_no_mail_server():
    with serving(saying(b"HTTP/1.1 200 OK\r\n\r\n")) as port:
        assert tried(check("smtp", port, timeout_s=0.5)).reason == "no end within 0.5 s: waiting for its greeting"
