# SPDX-License-Identifier: Apache-2.0
"""What listeners and pools may say about TLS, and what is filled in."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from caryatid.drivers.amphora.haproxy import CAPABILITIES
from caryatid.errors import Refused
from caryatid.model.rules import unsupported
from caryatid.model.tls import ALPN, CIPHERS, SUITES, VERSIONS, TlsPolicy, barred, contiguous
from caryatid.model.tree import Tree

Grow = Callable[[Any], Tree]
WEB = {"name": "web", "protocol": "TERMINATED_HTTPS", "default_tls_container_ref": "a"}
KNOWN = ", ".join(sorted(SUITES))
GAPS = dict(CAPABILITIES.reasons)["tls_version_gaps"]
TLS = {"name": "blue", "protocol": "HTTP", "tls_enabled": True}


def faults_of(grow: Grow, **document: Any) -> list[tuple[str, str]]:
    try:
        grow(document)
    except Refused as refused:
        return [(fault.attribute, fault.message.removeprefix("Validation failure: ")) for fault in refused.faults]
    return []


@pytest.mark.parametrize(("more", "filled"), [
    ({}, True),
    ({"protocol": "PROMETHEUS"}, True),
    ({"protocol": "PROMETHEUS", "default_tls_container_ref": None}, False),
    ({"protocol": "HTTP", "default_tls_container_ref": None}, False),
])  # fmt: skip
def test_who_has_certificates_has_versions_ciphers_and_protocols(grow: Grow, more: Any, filled: bool) -> None:
    listener = grow({"listeners": [{**WEB, **more}]}).listeners[0].listener
    expected = (CIPHERS, list(VERSIONS), list(ALPN)) if filled else (None, None, None)
    assert (listener.tls_ciphers, listener.tls_versions, listener.alpn_protocols) == expected


def test_certificates_are_the_default_one_first_and_each_once(grow: Grow) -> None:
    tree = grow({"listeners": [{**WEB, "sni_container_refs": ["b", "a", "c", "b"]}]})
    assert tree.listeners[0].listener.certificates == ("a", "b", "c")


@pytest.mark.parametrize(("ciphers", "versions", "fault"), [
    ("TLS_AES_128_GCM_SHA256", ["TLSv1.3"], None),
    ("ECDHE-RSA-AES128-GCM-SHA256", ["TLSv1.3"], None),
    ("ECDHE-RSA-AES128-GCM-SHA256", None, None),
    ("TLS_AES_128_GCM_SHA256", None, "None of tls_ciphers is for TLSv1.2: name one, or leave it out of tls_versions."),
    ("TLS_AES_128_GCM_SHA256", ["TLSv1.1", "TLSv1.2"],
     "None of tls_ciphers is for TLSv1.1, TLSv1.2: name one, or leave them out of tls_versions."),
    ("TLS_AES_512_X:HIGH", None, f"There is no TLS 1.3 cipher suite TLS_AES_512_X; there are {KNOWN}."),
])  # fmt: skip
def test_ciphers_that_nobody_could_speak_are_refused(grow: Grow, ciphers: str, versions: Any, fault: Any) -> None:
    wanted = {"tls_ciphers": ciphers, "tls_versions": versions}
    expected = [("tls_ciphers", fault)] if fault else []
    assert faults_of(grow, listeners=[{**WEB, **wanted}]) == expected
    assert faults_of(grow, pools=[{**TLS, **wanted}]) == expected
    assert faults_of(grow, pools=[{**TLS, **wanted, "tls_enabled": False}]) == []


@pytest.mark.parametrize("protocol", ["UDP", "SCTP"])
def test_datagrams_carry_no_tls(grow: Grow, protocol: str) -> None:
    assert [name for name, _ in faults_of(grow, pools=[{**TLS, "protocol": protocol}])] == ["tls_enabled"]


@pytest.mark.parametrize(("versions", "down_to_the_gap"), [
    ([], []),
    (["TLSv1.3"], ["TLSv1.3"]),
    (["TLSv1.3", "TLSv1.2"], ["TLSv1.2", "TLSv1.3"]),
    (["TLSv1", "TLSv1.2", "TLSv1.3"], ["TLSv1.2", "TLSv1.3"]),
    (["TLSv1.1", "TLSv1.3", "TLSv1.3"], ["TLSv1.3"]),
    (["SSLv3", "TLSv1", "TLSv1.1"], ["SSLv3", "TLSv1", "TLSv1.1"]),
])  # fmt: skip
def test_versions_are_a_range(versions: Any, down_to_the_gap: list[str]) -> None:
    assert contiguous(versions) == down_to_the_gap


@pytest.mark.parametrize(("versions", "what"), [
    (["TLSv1.2", "TLSv1.3"], []),
    (["TLSv1", "TLSv1.1", "TLSv1.2"], []),
    (["TLSv1", "TLSv1.2"], [f"TLS versions with a gap between them (tls_versions). {GAPS}"]),
    (["SSLv3", "TLSv1"], ["TLS version SSLv3 (tls_versions). OpenSSL speaks it no more."]),
])  # fmt: skip
def test_what_cannot_be_spoken_here_answers_501(grow: Grow, versions: Any, what: list[str]) -> None:
    tree = grow({"listeners": [{**WEB, "tls_versions": versions}], "pools": [{**TLS, "tls_versions": versions}]})
    for row in (tree.listeners[0].listener, tree.pools[0].pool):
        found = list(unsupported(tree, row, CAPABILITIES, "amphora"))
        assert [fault.status for fault in found] == [501] * len(what)
        assert [fault.message.split(": ")[1] for fault in found] == what
    assert list(unsupported(tree, tree.pools[0].pool, replace(CAPABILITIES, tls_version_gaps=True), "x")) == [
        fault for fault in unsupported(tree, tree.pools[0].pool, CAPABILITIES, "x") if "gap" not in fault.message
    ]


POLICY = TlsPolicy("TLSv1.2", ("RC4-SHA", "TLS_AES_128_GCM_SHA256"))


@pytest.mark.parametrize(("ciphers", "versions", "messages"), [
    (None, None, []),
    (CIPHERS, list(VERSIONS), []),  # ours: what is barred is left out
    ("ECDHE-RSA-AES128-GCM-SHA256", ["TLSv1.2"], []),
    ("RC4-SHA:HIGH", None, ["The following ciphers have been prohibited by an administrator: RC4-SHA"]),
    ("TLS_AES_128_GCM_SHA256", ["TLSv1", "TLSv1.3"],
     ["The following ciphers have been prohibited by an administrator: TLS_AES_128_GCM_SHA256",
      "Requested TLS versions are less than the minimum: TLSv1 < TLSv1.2"]),
])  # fmt: skip
def test_what_the_operator_bars_is_refused(ciphers: Any, versions: Any, messages: list[str]) -> None:
    found = [fault.message.removeprefix("Validation failure: ") for fault in barred(ciphers, versions, policy=POLICY)]
    assert found == messages
