# SPDX-License-Identifier: Apache-2.0
"""Nothing that somebody has thought out comes into code that a name server runs."""

import re
from ipaddress import IPv4Address, IPv6Address, ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caryatid.drivers.dns.lua import LENGTH_MAX, UnsayableError, record
from caryatid.model.gslb.answers import Answers, Candidate, Choice, Clients, Variant
from caryatid.model.gslb.words import NAME

V4 = Candidate("192.0.2.1")
CODE = re.compile(r'(A|AAAA|CNAME) "[^"\\\n]*"')
EVIL = ("'..os.exit()..'", "]==]", '"', "\\", "\n", "%", "'", "]]", "{}", "--", "os.execute'x'", "\x00", "ä", "٣")
evil = st.text() | st.builds(
    lambda before, bad, after: before + bad + after, st.text(), st.sampled_from(EVIL), st.text()
)
near_addresses = st.builds(
    "{}{}{}".format, st.sampled_from(("", "fe80::1%", "1.2.3.4", "::1/", "10.0.0.0/8")), evil, evil
)
strings = evil | near_addresses
anything = strings | st.integers() | st.floats() | st.none() | st.booleans()


def said(answers):
    try:
        return record(answers)
    except UnsayableError:
        return None


def is_address(kind, text):
    try:
        return getattr(kind(text), "scope_id", None) is None
    except ValueError:
        return False


def is_network(text):
    try:
        return "%" not in str(ip_network(text, strict=False))
    except ValueError:
        return False


@given(strings, st.sampled_from(["all", "weighted", "hash", "nearest"]), st.sampled_from(["A", "AAAA", "CNAME"]))
def test_contents_are_addresses_or_names(content, way, rrtype):
    choice = Choice((Candidate(content, 1, 1.0, 1.0), Candidate(content, 2, 2.0, 2.0)), way, 1)
    code = said(Answers("www.example.", rrtype, 30, choice))
    right = {"A": lambda: is_address(IPv4Address, content), "AAAA": lambda: is_address(IPv6Address, content)}
    allowed = right.get(rrtype, lambda: NAME.fullmatch(content))()
    assert code is None or (allowed and CODE.fullmatch(code))


@given(strings, strings, strings)
def test_networks_and_codes_are_such(cidr, country, continent):
    clients = Clients(cidrs=(cidr,), countries=(country,), continents=(continent,))
    code = said(Answers("www.example.", "A", 30, Choice((V4,)), (Variant(clients, Choice((V4,))),)))
    if code is not None:
        assert is_network(cidr)
        assert re.fullmatch("[A-Z]{2}", country)
        assert re.fullmatch("[A-Z]{2}", continent)


@given(strings, strings)
def test_the_name_and_the_type_are_such(fqdn, rrtype):
    assert said(Answers(fqdn, "A", 30)) is None or NAME.fullmatch(fqdn)
    assert said(Answers("www.example.", rrtype, 30)) is None or rrtype in {"A", "AAAA", "CNAME"}


@settings(max_examples=50)
@given(anything, anything, anything, anything, anything)
def test_numbers_are_numbers(weight, north, east, bias, prefix):
    for way in ("weighted", "hash", "nearest"):
        choice = Choice((Candidate("192.0.2.1", weight, north, east, bias), V4), way, 1)
        code = said(Answers("www.example.", "A", 30, choice, hash_prefix_v4=prefix))
        assert code is None or type(weight) is int
        if way == "nearest" and code:
            assert -90 <= (north or 0) <= 90
            assert -180 <= (east or 0) <= 180
        if way == "hash" and code:
            assert type(prefix) is int


@settings(max_examples=50)
@given(anything, anything, anything)
def test_systems_and_places_are_numbers(asn, north, east):
    try:
        clients = Clients(asns=(asn,)), Clients(near=((north, east), ((north, east), (1.0, 1.0))))
    except TypeError:
        return
    for each in clients:
        code = said(Answers("www.example.", "A", 30, Choice((V4,)), (Variant(each, Choice((V4,))),)))
        assert code is None or CODE.fullmatch(code)
        if code and each.asns:
            assert type(asn) is int


def test_what_no_record_can_hold_is_refused():
    variants = tuple(Variant(Clients(cidrs=(f"2001:db8:{n:x}::/48",)), Choice((V4,))) for n in range(3000))
    with pytest.raises(UnsayableError, match="too long"):
        record(Answers("www.example.", "A", 30, Choice((V4,)), variants))
    assert len(record(Answers("www.example.", "A", 30, Choice((V4,)), variants[:500]))) < LENGTH_MAX
