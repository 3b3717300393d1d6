# SPDX-License-Identifier: Apache-2.0
"""What TLS on a listener's port does, with a real HAProxy and real clients: curl and OpenSSL."""

import re
import socket
from pathlib import Path
from typing import Any

import pytest

from caryatid.model.tls import TlsPolicy
from caryatid.plan.haproxy import RenderSettings, render
from tests.certificates import Authority
from tests.plan.test_haproxy_behaviour import PORT, members, rule, serving, vip
from tests.plan.tls import CLIENT_S, Client, Grow, authority, secure, shown

__all__ = ["authority", "members", "secure", "shown"]


@pytest.mark.parametrize(("option", "version"), [("--http1.1", "1.1"), ("--http2", "2"), ("--http1.0", "1.1")])
def test_every_version_of_http_comes_through(secure: Any, option: str, version: str) -> None:
    with secure(insert_headers={"X-Forwarded-Proto": "true", "X-Forwarded-Port": "true"}) as client:
        status, body, _ = client.ask(option)
        assert status == 200
        assert {"x-forwarded-proto": "https", "x-forwarded-port": str(PORT)}.items() <= dict(body["headers"]).items()
        assert client.ask(option, "-o", "/dev/null", "-w", "%{http_version}")[1] == version


@pytest.mark.parametrize(("wanted", "offered", "chosen"), [
    (None, "http/1.1,h2", "h2"),  # the server's order
    (["http/1.1", "h2"], "h2,http/1.1", "http/1.1"),
    (["h2"], "h2", "h2"),
    (["http/1.0"], "http/1.0", "http/1.0"),
])  # fmt: skip
def test_of_what_the_client_offers_the_first_on_the_listeners_list_is_spoken(
    secure: Any, wanted: Any, offered: str, chosen: str
) -> None:
    with secure(alpn_protocols=wanted) as client:
        assert f"ALPN protocol: {chosen}\n" in client.handshake("-alpn", offered)
        assert "No ALPN negotiated\n" in client.handshake()


@pytest.mark.parametrize(("name", "subject"), [
    ("", "www.example"), ("unknown.example", "www.example"), ("www.example", "www.example"),
    ("one.example", "one.example"), ("ONE.example", "one.example"), ("x.wild.example", "*.wild.example"),
    ("special.wild.example", "special.wild.example"), ("x.y.wild.example", "www.example"),
    ("wild.example", "www.example"),
])  # fmt: skip
@pytest.mark.parametrize("turned", [False, True])
def test_the_certificate_is_the_one_for_the_name(secure: Any, name: str, subject: str, turned: bool) -> None:
    others = ["one.example", "*.wild.example", "special.wild.example"]
    with secure(sni_container_refs=others[::-1] if turned else others) as client:
        assert client.subject(name=name) == subject


def test_of_two_certificates_for_a_name_the_first_is_shown(secure: Any, authority: Authority) -> None:
    given = {ref: authority.keypair(ref, "same.example") for ref in ("one", "two")}
    with secure(sni_container_refs=["one", "two"], given=given) as client:
        assert client.subject(name="same.example") == "one"
    with secure(sni_container_refs=["two", "one"], given=given) as client:
        assert client.subject(name="same.example") == "two"


def test_without_a_default_certificate_the_first_by_name_is_it(secure: Any) -> None:
    with secure(default_tls_container_ref=None, sni_container_refs=["one.example", "two.example"]) as client:
        assert client.subject() == "one.example"
        assert client.subject(name="two.example") == "two.example"


def test_clients_that_know_only_one_sort_of_key_get_a_certificate_with_such_a_key(
    secure: Any, authority: Authority
) -> None:
    given = {"rsa": authority.keypair("rsa", "www.example", kind="RSA-2048")}
    with secure(sni_container_refs=["rsa"], given=given) as client:
        for sort, subject in (("RSA", "rsa"), ("ECDSA", "www.example")):
            words = "-tls1_2", "-cipher", f"ECDHE-{sort}-AES128-GCM-SHA256"
            assert client.subject(*words, name="www.example") == subject


def test_hundreds_of_certificates_are_chosen_from(secure: Any) -> None:
    names = [f"n{number}.example" for number in range(300)]
    with secure(sni_container_refs=names) as client:
        assert client.subject(name="n299.example") == "n299.example"
        assert client.subject() == "www.example"


VERSIONS = {"TLSv1": "-tls1", "TLSv1.1": "-tls1_1", "TLSv1.2": "-tls1_2", "TLSv1.3": "-tls1_3"}


@pytest.mark.parametrize(("wanted", "ciphers", "spoken"), [
    (None, None, ["TLSv1.2", "TLSv1.3"]),
    (["TLSv1.3"], None, ["TLSv1.3"]),
    (["TLSv1.2"], None, ["TLSv1.2"]),
    (["TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"], "HIGH:!aNULL", ["TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"]),
    (["TLSv1.1", "TLSv1.2"], "HIGH:!aNULL:@SECLEVEL=1", ["TLSv1.1", "TLSv1.2"]),
    (["TLSv1", "TLSv1.2", "TLSv1.3"], "HIGH:!aNULL", ["TLSv1.2", "TLSv1.3"]),  # down to the gap
])  # fmt: skip
def test_the_versions_that_are_wanted_are_spoken_and_no_others(
    secure: Any, authority: Authority, wanted: Any, ciphers: Any, spoken: list[str]
) -> None:
    given = {"www.example": authority.keypair("www.example", "www.example", kind="RSA-2048")}
    with secure(tls_versions=wanted, tls_ciphers=ciphers, given=given) as client:
        works = [version for version, option in VERSIONS.items()
                 if client.handshake(option, "-cipher", "ALL:@SECLEVEL=0")]  # fmt: skip
        assert works == spoken


def test_the_ciphers_that_are_wanted_are_spoken_and_no_others(secure: Any) -> None:
    with secure(tls_ciphers="ECDHE-ECDSA-AES256-GCM-SHA384:TLS_AES_256_GCM_SHA384") as client:
        assert client.spoken("-tls1_2") == "TLSv1.2 ECDHE-ECDSA-AES256-GCM-SHA384"
        assert not client.spoken("-tls1_2", "-cipher", "ALL:!ECDHE-ECDSA-AES256-GCM-SHA384")
        assert client.spoken("-tls1_3") == "TLSv1.3 TLS_AES_256_GCM_SHA384"
        assert not client.spoken("-tls1_3", "-ciphersuites", "TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256")


@pytest.mark.parametrize("ciphers", [None, "HIGH:!aNULL"])
def test_what_the_operator_bars_is_not_spoken(secure: Any, ciphers: Any) -> None:
    barred = ("ECDHE-ECDSA-AES128-GCM-SHA256", "TLS_AES_128_GCM_SHA256")
    with secure(settings={"tls": TlsPolicy(prohibited=barred)}, tls_ciphers=ciphers) as client:
        assert not client.spoken("-tls1_2", "-cipher", barred[0])
        assert client.spoken("-tls1_2", "-cipher", "ECDHE-ECDSA-AES256-GCM-SHA384")
        assert bool(client.spoken("-tls1_3", "-ciphersuites", barred[1])) is False
        assert client.spoken("-tls1_3", "-ciphersuites", "TLS_AES_256_GCM_SHA384")
    with secure(settings={"tls": TlsPolicy(minimum="TLSv1.3")}) as client:
        assert not client.spoken("-tls1_2")
        assert client.spoken("-tls1_3")


def test_every_answer_says_that_https_alone_is_to_be_used(secure: Any) -> None:
    wanted = {"hsts_max_age": 31536000, "hsts_include_subdomains": True, "hsts_preload": True}
    reject = {"action": "REJECT", "rules": [rule("PATH", "EQUAL_TO", "/no")]}
    with secure(**wanted, l7policies=[reject]) as client:
        for path, status in (("/", 200), ("/missing", 404), ("/no", 403)):
            found, _, said = client.ask(path=path)
            assert (found, said["strict-transport-security"]) == (
                status, "max-age=31536000; includesubdomains; preload",
            )  # fmt: skip
    with secure() as client:
        assert "strict-transport-security" not in client.ask()[2]


def test_who_speaks_no_tls_gets_nothing(secure: Any) -> None:
    with secure() as client, socket.create_connection((client.balancer.vip, PORT), timeout=CLIENT_S) as plain:
        plain.sendall(b"GET / HTTP/1.1\r\nHost: www.example\r\n\r\n")
        assert b"HTTP" not in plain.recv(4096)


def test_figures_are_shown_over_tls_to_whom_they_are_meant_for(
    grow: Grow, authority: Authority, shown: dict[str, Path]
) -> None:
    address = vip()
    refs = {"default_tls_container_ref": "www.example", "client_ca_tls_container_ref": "authorities"}
    listener = {"name": "f", "protocol": "PROMETHEUS", "protocol_port": PORT, "client_authentication": "MANDATORY"}
    tree = grow({"loadbalancer": {"vip_address": address}, "listeners": [{**listener, **refs}]})
    with serving(render(authority.bundles(tree), settings=RenderSettings()), address) as balancer:
        client = Client(balancer)
        status, text, _ = client.ask("--cert", str(shown["good"]), path="/metrics")
        assert (status, "haproxy_frontend_ssl_sess_total" in text or "haproxy_process" in text) == (200, True)
        assert client.ask(path="/metrics")[0] == 0


LISTS = {"client_ca_tls_container_ref": "authorities", "client_crl_container_ref": "lists"}


def test_every_file_can_be_given_another_content_while_it_runs(secure: Any, authority: Authority) -> None:
    """HAProxy has it under the very name that the configuration says."""
    with secure(sni_container_refs=["one.example"], client_authentication="MANDATORY", **LISTS) as client:
        run_dir = str(client.balancer.run)
        found = [client.balancer.tell(f"show ssl {what}") for what in ("cert", "ca-file", "crl-file")]
        named = [sorted(re.findall(rf"^{run_dir}/([0-9a-f]{{32}}\.pem)", text, re.MULTILINE)) for text in found]
        assert [len(names) for names in named] == [2, 1, 1]
        new = authority.keypair("another", "one.example")
        for file in named[0]:
            payload = new.pem.replace("\n\n", "\n")
            client.balancer.tell(f"set ssl cert {run_dir}/{file} <<\n{payload}")
            assert "Success" in client.balancer.tell(f"commit ssl cert {run_dir}/{file}")
