# SPDX-License-Identifier: Apache-2.0
"""The health protocol of gRPC, against HTTP/2 as the library h2 speaks it on the other side."""

import ssl

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, RequestReceived, StreamEnded

from tests.certificates import Authority
from tests.checker.checks.places import check, saying, serving, silent, tried

SERVING, NOT_SERVING = b"\x00\x00\x00\x00\x02\x08\x01", b"\x00\x00\x00\x00\x02\x08\x02"


def health(said, *, message=SERVING, code="0", status="200", context=None):
    """Answers one call so; what was asked is put into `said`."""

    def talk(connection):
        if context:
            with context.wrap_socket(connection, server_side=True) as stream:
                answer(stream)
        else:
            answer(connection)

    def answer(stream):
        talking = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        talking.initiate_connection()
        while data := stream.recv(65536):
            for event in talking.receive_data(data):
                match event:
                    case RequestReceived():
                        said.append(dict(event.headers))
                    case DataReceived():
                        said.append(event.data)
                    case StreamEnded():
                        talking.send_headers(1, [(":status", status), ("content-type", "application/grpc")])
                        talking.send_data(1, message)
                        talking.send_headers(1, [("grpc-status", code)], end_stream=True)
            stream.sendall(talking.data_to_send())

    return talk


def outcome_of(said=None, *, service="", **answer):
    with serving(health([] if said is None else said, **answer)) as port:
        return tried(check("grpc", port, service=service))


def test_serving_is_up_and_nothing_else():
    assert outcome_of().up
    assert outcome_of(message=NOT_SERVING).reason == "NOT_SERVING, expected SERVING"
    assert outcome_of(message=bytes(5)).reason == "UNKNOWN, expected SERVING"


def test_the_service_is_asked_for_by_name():
    said = []
    assert outcome_of(said, service="shop.Cart").up
    headers, message = said
    assert headers[":path"] == "/grpc.health.v1.Health/Check"
    assert message == b"\x00\x00\x00\x00\x0b\x0a\x09shop.Cart"


def test_who_does_not_know_it_says_so():
    assert outcome_of(code="5", service="shop.Cart").reason == "it knows no service shop.Cart"
    assert outcome_of(code="12").reason == "it does not speak the health protocol"
    assert outcome_of(code="14").reason == "grpc-status 14, expected 0"
    assert outcome_of(status="404").reason == "status 404, expected 200"


def test_it_is_spoken_over_tls_where_that_is_wished(tmp_path):
    authority = Authority("Checks")
    file = tmp_path / "www.pem"
    file.write_text(authority.file(authority.sign("www.example.test", "www.example.test")))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    context.set_alpn_protocols(["h2"])
    pem = authority.paper.pem.decode()
    with serving(health([], context=context)) as port:
        assert tried(check("grpc", port, tls=True, sni="www.example.test", authorities=pem)).up


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "it speaks HTTP/1, expected HTTP/2"),
        (b"\x00\x00\x08\x06\x00\x00\x00\x00\x01" + bytes(8), "what it answers is no HTTP/2"),
        (b"\x00\x00\x00\x04\x00\x00\x00\x00\x00" * 9000, "64 KiB have come, and no end of the answer"),
    ],
)
def test_a_strange_answer_is_a_failure_with_a_sentence(answer, reason):
    with serving(saying(answer)) as port:
        assert tried(check("grpc", port)).reason.startswith(reason)


def test_silence_and_an_early_end_are_failures():
    with silent() as port:
        assert tried(check("grpc", port, timeout_s=0.5)).reason == "no end within 0.5 s: waiting for an answer"

    def bye(connection):
        connection.recv(65536)

    with serving(bye) as port:
        assert tried(check("grpc", port)).reason == "it closed the connection without an answer"
