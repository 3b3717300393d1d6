# SPDX-License-Identifier: Apache-2.0
"""Where checks may go, and the names of members."""

import asyncio
from functools import partial
from ipaddress import IPv4Address

import dns.asyncresolver
import pytest
from hypothesis import given
from hypothesis import strategies as st

from caryatid.checker import targets
from caryatid.checker.checks.base import Failed, NotAllowed, Unable
from caryatid.checker.targets import Names, Targets, looked_up
from tests.checker.checks.places import check, tried
from tests.checker.checks.test_udp import answering, zone

OPEN = Targets([], [])


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.9.9.9",
        "0.0.0.0",
        "0.1.2.3",
        "169.254.169.254",
        "169.254.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "100.100.100.200",
        "::",
        "::1",
        "fe80::1",
        "fe80::1%eth0",
        "ff02::1",
        "fd00:ec2::254",
        "::ffff:127.0.0.1",
        "::127.0.0.1",
        "64:ff9b::a9fe:a9fe",
        "2002:7f00:1::",
    ],
)
def test_nobody_is_sent_to_machines_own_addresses(address):
    assert OPEN.refusal(address).startswith(address)


@pytest.mark.parametrize("address", ["192.0.2.1", "10.1.2.3", "2001:db8::1", "fd12::1", "::ffff:192.0.2.1"])
def test_others_may_be_checked_private_ones_too(address):
    assert OPEN.refusal(address) is None


@given(st.integers(0, 2**32 - 1))
def test_an_address_does_not_change_by_being_written_otherwise(number):
    plain = IPv4Address(number)
    refused = OPEN.refusal(str(plain)) is not None
    for hidden in (f"::ffff:{plain}", f"64:ff9b::{number >> 16:x}:{number & 0xFFFF:x}"):
        assert (OPEN.refusal(hidden) is not None) == refused


def test_what_the_operator_allows_is_allowed_whatever_else_is_said():
    only = Targets(["127.0.9.0/24", "2001:db8::/32"], ["0.0.0.0/0", "::/0"])
    assert only.refusal("127.0.9.1") is None
    assert only.refusal("::ffff:127.0.9.1") is None
    assert only.refusal("2001:db8::1") is None
    assert only.refusal("127.0.8.1") == "127.0.8.1 may not be checked: it is a loopback address."
    assert only.refusal("192.0.2.1") == "192.0.2.1 may not be checked: it is refused by the operator."


@pytest.mark.parametrize("text", ["", "127.1", "2130706433", "0x7f000001", "localhost", "127.0.0.1 ", "010.0.0.1"])
def test_other_spellings_of_addresses_are_none(text):
    assert OPEN.refusal(text) == f"{text} is no address."


def test_a_member_that_may_not_be_checked_is_not_connected_to():
    outcome = tried(check("tcp", 80, address="169.254.169.254"))
    assert (outcome.up, outcome.ours) == (False, True)
    assert outcome.reason == "169.254.169.254 may not be checked: it is a link-local address."


def test_an_address_is_looked_at_after_its_name_was_looked_up():
    names = {"good.test": ["127.0.0.1"], "bad.test": ["169.254.169.254"], "mixed.test": ["169.254.1.1", "192.0.2.7"]}
    outcome = tried(check("tcp", 80, address="bad.test"), names=names)
    assert "bad.test: 169.254.169.254 may not be checked" in outcome.reason

    async def reached():
        return await Names(OPEN, partial(known, names)).reach("mixed.test")

    assert asyncio.run(reached()) == "192.0.2.7"


async def known(names, name):
    return names[name], 60.0


def test_a_name_is_looked_up_once_for_all_who_ask():
    asked = []

    async def look_up(name):
        asked.append(name)
        await asyncio.sleep(0)
        return ["192.0.2.1"], 60.0

    async def whole():
        names = Names(OPEN, look_up)
        first = await asyncio.gather(*(names.reach("www.test") for _ in range(100)))
        return {*first, await names.reach("www.test")}

    assert asyncio.run(whole()) == {"192.0.2.1"}
    assert asked == ["www.test"]


def test_an_old_answer_is_used_while_nobody_gives_a_newer_one(monkeypatch):
    monkeypatch.setattr(targets, "KEPT_S", (0.0, 0.0))
    answers = [(["192.0.2.1"], 0.0), Unable("away"), (["192.0.2.2"], 0.0), Failed("it does not exist")]

    async def look_up(_name):
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def whole():
        names, seen = Names(OPEN, look_up), []
        while answers:
            seen.append(await names.reach("www.test"))
            await asyncio.gather(*names._asking.values(), return_exceptions=True)
        with pytest.raises(IndexError):
            await names.reach("www.test")
        return seen

    assert asyncio.run(whole()) == ["192.0.2.1", "192.0.2.1", "192.0.2.1", "192.0.2.2"]


def test_a_look_up_that_hangs_says_nothing_of_the_member_and_ends_in_time():
    async def hang(_name):
        await asyncio.Event().wait()

    async def whole():
        names = Names(OPEN, hang)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await names.reach("www.test")
        await names.close()

    asyncio.run(whole())


def test_names_are_asked_of_the_machines_name_servers(monkeypatch):
    original = dns.asyncresolver.Resolver
    with answering(zone) as port:

        def resolver():
            made = original(configure=False)
            made.nameservers, made.port = ["127.0.0.1"], port
            return made

        monkeypatch.setattr(dns.asyncresolver, "Resolver", resolver)
        assert asyncio.run(looked_up("www.example.test")) == (["192.0.2.1", "192.0.2.2"], 30.0)
        with pytest.raises(Failed, match="does not exist"):
            asyncio.run(looked_up("none.example.test"))
        with pytest.raises(Failed, match="is no name"):
            asyncio.run(looked_up("a" * 64 + ".test"))
    assert issubclass(NotAllowed, Unable)
