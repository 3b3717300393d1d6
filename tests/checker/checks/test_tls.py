# SPDX-License-Identifier: Apache-2.0
"""Handshakes with a real `openssl s_server`."""

import pytest

from tests.certificates import Authority
from tests.checker.checks.places import check, openssl, saying, serving, silent, tried


@pytest.fixture(scope="module")
def authority():
    return Authority("Checks")


@pytest.fixture(scope="module")
def port(tmp_path_factory, authority):
    paper = authority.sign("www.example.test", "www.example.test", days=10)
    with openssl(tmp_path_factory.mktemp("openssl"), paper) as port:
        yield port


def test_a_good_certificate_is_success(port, authority):
    pem = authority.paper.pem.decode()
    assert tried(check("tls", port, sni="www.example.test", authorities=pem)).up
    assert tried(check("tls", port, verify_tls=False)).up


def test_a_certificate_that_ends_soon_is_a_failure_where_that_is_wished(port, authority):
    wanted = {"sni": "www.example.test", "authorities": authority.paper.pem.decode()}
    assert tried(check("tls", port, minimum_days=5, **wanted)).up
    assert "9 days, expected 30" in tried(check("tls", port, minimum_days=30, **wanted)).reason
    assert "9 days, expected 30" in tried(check("tls", port, minimum_days=30, verify_tls=False)).reason


def test_whom_nobody_knows_is_not_believed(port, authority):
    assert "its certificate is not good" in tried(check("tls", port, sni="www.example.test")).reason
    pem = authority.paper.pem.decode()
    assert "Hostname mismatch" in tried(check("tls", port, sni="mail.example.test", authorities=pem)).reason


def test_who_speaks_no_tls_has_failed():
    with serving(saying(b"220 mail\r\n")) as port:
        assert tried(check("tls", port)).reason == "connecting, with TLS: TLS: wrong version number"
    with silent() as port:
        assert tried(check("tls", port, timeout_s=0.5)).reason == "no end within 0.5 s: connecting, with TLS"
