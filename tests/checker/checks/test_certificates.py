# SPDX-License-Identifier: Apache-2.0
"""Checks that show a certificate, to real servers that want one, and that believe authorities of the key store."""

import asyncio
import ssl
import threading
from contextlib import contextmanager

import pytest

from caryatid.checker.targets import Targets
from caryatid.checker.trying import Tries
from tests.certificates import Authority
from tests.checker.checks.places import LOOPBACK, check, openssl, saying, serving, tried
from tests.checker.checks.test_grpc import health

NAME = "www.example.test"
CLIENT, OTHER, CA = "a" * 64, "b" * 64, "c" * 64


@pytest.fixture(scope="module")
def authority():
    return Authority("Checks")


@pytest.fixture(scope="module")
def contents(authority):
    """As the conductor tells them: digest → PEM."""
    return {
        CLIENT: authority.file(authority.sign("client", "client.example.test")),
        OTHER: Authority("Strangers").keypair("stranger", "stranger.example.test").pem,
        CA: authority.paper.pem.decode(),
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory, authority):
    folder = tmp_path_factory.mktemp("mutual")
    (folder / "ca.pem").write_bytes(authority.paper.pem)
    return folder


@pytest.fixture(scope="module")
def demanding(folder, authority):
    """The port of a web server that talks to nobody without a certificate of the authority."""
    paper = authority.sign(NAME, NAME)
    options = ("-www", "-Verify", "1", "-verify_return_error", "-CAfile", str(folder / "ca.pem"))
    with openssl(folder, paper, *options) as port:
        yield port


def secured(kind, port, **named):
    return check(kind, port, sni=NAME, ca_ref=CA, **named)


def test_who_wants_a_certificate_is_shown_it(demanding, contents):
    assert tried(secured("https", demanding, client_cert_ref=CLIENT), contents=contents).up
    refused = tried(secured("https", demanding), contents=contents)
    assert not refused.up
    assert not refused.ours


def test_another_one_is_not_good_enough(demanding, contents):
    refused = tried(secured("https", demanding, client_cert_ref=OTHER), contents=contents)
    assert not refused.up
    assert not refused.ours


def test_the_authorities_of_the_key_store_decide_who_is_believed(demanding, contents, authority):
    stranger = {**contents, CA: Authority("Strangers").paper.pem.decode()}
    refused = tried(secured("https", demanding, client_cert_ref=CLIENT), contents=stranger)
    assert "its certificate is not good" in refused.reason
    pem = authority.paper.pem.decode()
    given = check("https", demanding, sni=NAME, authorities=pem, client_cert_ref=CLIENT)
    assert tried(given, contents=contents).up


def test_a_handshake_shows_it_too(folder, authority, contents):
    """In TLS 1.2 whoever wants a certificate says so within the handshake; in 1.3 only afterwards."""
    paper = authority.sign(NAME, NAME)
    options = ("-tls1_2", "-Verify", "1", "-verify_return_error", "-CAfile", str(folder / "ca.pem"))
    with openssl(folder, paper, *options) as port:
        assert tried(secured("tls", port, client_cert_ref=CLIENT), contents=contents).up
        assert not tried(secured("tls", port), contents=contents).up


@contextmanager
def mutual(authority, folder):
    paper = authority.sign(NAME, NAME)
    file = folder / "grpc.pem"
    file.write_bytes(paper.pem + paper.key_pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    context.load_verify_locations(cadata=authority.paper.pem.decode())
    context.verify_mode = ssl.CERT_REQUIRED
    context.set_alpn_protocols(["h2"])
    with serving(health([], context=context)) as port:
        yield port


def test_grpc_shows_it_over_tls(authority, folder, contents):
    with mutual(authority, folder) as port:
        assert tried(secured("grpc", port, tls=True, client_cert_ref=CLIENT), contents=contents).up
        assert not tried(secured("grpc", port, tls=True), contents=contents).up


def test_what_has_not_come_from_the_conductor_is_no_member_s_fault(demanding, contents):
    known = {CA: contents[CA]}
    unable = tried(secured("https", demanding, client_cert_ref=CLIENT), contents=known)
    assert unable.ours
    assert "has not come from the conductor" in unable.reason


def test_what_is_not_wanted_any_more_is_forgotten(demanding, contents):
    wanted = secured("https", demanding, client_cert_ref=CLIENT)

    async def story():
        tries = Tries(Targets(LOOPBACK, []))
        try:
            tries.know(contents)
            first = await tries.once(wanted)
            tries.know({CA: contents[CA]})
            return first, await tries.once(wanted)
        finally:
            await tries.close()

    first, second = asyncio.run(story())
    assert first.up
    assert second.ours


def test_what_a_dry_run_comes_with_is_for_that_alone(demanding, contents):
    wanted = secured("https", demanding, client_cert_ref=CLIENT)

    async def story():
        tries = Tries(Targets(LOOPBACK, []))
        try:
            return await tries.once(wanted, contents), await tries.once(wanted)
        finally:
            await tries.close()

    dry, standing = asyncio.run(story())
    assert dry.up
    assert standing.ours


def test_it_is_shown_to_the_member_and_not_where_that_leads(authority, folder, contents):
    """The member leads to another name on the same machine, which asks for a certificate and is content without."""
    shown = []
    paper = authority.sign(NAME, NAME, "other.example.test")
    file = folder / "other.pem"
    file.write_bytes(paper.pem + paper.key_pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    context.load_verify_locations(cadata=authority.paper.pem.decode())
    context.verify_mode = ssl.CERT_OPTIONAL
    lock = threading.Lock()

    def talk(connection):
        with context.wrap_socket(connection, server_side=True) as stream:
            with lock:
                shown.append(bool(stream.getpeercert()))
                first = len(shown) == 1
            there = f"Location: https://other.example.test:{port}/\r\n" if first else ""
            head = "302 Found" if first else "200 OK"
            saying(f"HTTP/1.1 {head}\r\n{there}Content-Length: 0\r\n\r\n".encode())(stream)

    with serving(talk) as port:
        wanted = secured("https", port, client_cert_ref=CLIENT, host=NAME, follow_redirects=True)
        outcome = tried(wanted, contents=contents, names={"other.example.test": ["127.0.0.1"]})
    assert outcome.up, outcome.reason
    assert shown == [True, False]
