# SPDX-License-Identifier: Apache-2.0
"""What monitors may be told, as it is judged at the wish."""

from importlib.metadata import entry_points

import pytest

from caryatid.model.gslb.parameters import PARAMETERS, PASSIVE, codes, faults, references
from caryatid.model.gslb.patterns import compiled

GOOD = {
    "udp": {"send": "ping"},
    "dns": {"qname": "www.example.test"},
    "exec": {"program": "/usr/lib/checks/disk"},
    "octavia_lb": {"url": "https://api.example.test/load-balancer", "id": "0c3e5a0c-9b7f-4f6e-8a2c-4d6e8f0a1b2c"},
}


def wrong(kind, **parameters):
    return sorted(fault.attribute for fault in faults(kind, {**GOOD.get(kind, {}), **parameters}))


TRIED = [kind for kind in PARAMETERS if kind != PASSIVE]


@pytest.mark.parametrize("kind", TRIED)
def test_each_type_takes_little_and_nothing_that_it_does_not_know(kind):
    assert wrong(kind, max_rtt_ms=80) == []
    assert wrong(kind, expected_cods="200") == ["parameters.expected_cods"]


def test_every_type_that_is_built_in_can_be_made_by_a_checker():
    assert {point.name for point in entry_points(group="caryatid.checks")} >= {*TRIED}


def test_what_is_told_takes_how_long_it_lasts_and_nothing_else():
    assert wrong(PASSIVE) == wrong(PASSIVE, valid_s=60) == []
    assert wrong(PASSIVE, valid_s=0.5) == wrong(PASSIVE, valid_s="60") == ["parameters.valid_s"]
    assert wrong(PASSIVE, max_rtt_ms=80) == ["parameters.max_rtt_ms"]


def test_references_are_those_of_checks_over_tls_and_a_plugin_s_are_its_own():
    named = {"client_cert_ref": "k:a", "ca_ref": None}
    assert references("https", named) == {"client_cert_ref": "k:a"}
    assert references("mysql", named) == references("tcp", named) == {}
    assert wrong("mysql", **named) == []


def test_plugins_judge_theirs_themselves():
    assert wrong("mysql", anything=1) == []


@pytest.mark.parametrize(
    ("kind", "parameters", "attribute"),
    [
        ("http", {"expected_codes": "2xx"}, "expected_codes"),
        ("http", {"expected_codes": "200-"}, "expected_codes"),
        ("http", {"expected_body": "(a"}, "expected_body"),
        ("http", {"expected_body": "(?=a)"}, "expected_body"),
        ("http", {"expected_body": r"\pL{200}"}, "expected_body"),
        ("http", {"path": "/a\r\nX: y"}, "path"),
        ("http", {"headers": {"X-A": "b\r\nX-B: c"}}, "headers.X-A"),
        ("http", {"headers": {"Connection": "keep-alive"}}, "headers"),
        ("http", {"body": "x"}, "body"),
        ("http", {"method": "HEAD", "expected_body": "x"}, "expected_body"),
        ("http", {"method": "POST", "follow_redirects": True}, "follow_redirects"),
        ("http", {"host": "a b"}, "host"),
        ("http", {"verify_tls": False}, "verify_tls"),
        ("https", {"authorities": "hello"}, "authorities"),
        ("tcp", {"port": 0}, "port"),
        ("tcp", {"send": "a", "send_hex": "61"}, "send_hex"),
        ("udp", {"send": None}, "send"),
        ("dns", {"qtype": "ANY"}, "qtype"),
        ("dns", {"expected_rdata": ["192.0.2"]}, "expected_rdata"),
        ("exec", {"program": "rm"}, "program"),
        ("octavia_lb", {"url": "ftp://x"}, "url"),
    ],
)
def test_what_cannot_be_meant_is_named(kind, parameters, attribute):
    assert f"parameters.{attribute}" in wrong(kind, **parameters)


def test_statuses_may_be_ranges():
    assert codes("200, 204,301-308") == ((200, 200), (204, 204), (301, 308))


def test_a_pattern_cannot_be_made_to_take_long():
    with pytest.raises(ValueError, match="too large"):
        compiled("[^x]{900}y{900}")
    assert compiled("(x+x+)+y").search(b"x" * 65536) is None
