# SPDX-License-Identifier: Apache-2.0
"""Real BIND and Knot DNS: two engines at a time, people's own records, keys that are not right."""

import threading
from dataclasses import replace

import dns.message
import dns.name
import dns.query
import dns.rcode
import dns.update
import pytest

from caryatid.drivers.dns.base import DnsError, DnsRefusedError
from caryatid.drivers.dns.rfc2136 import RECORDS_MAX, Rfc2136Driver
from caryatid.drivers.dns.signed import key_of
from caryatid.model.gslb.answers import Candidate, Choice
from tests.drivers.dns_contract import (
    OTHER_V4,
    V4,
    V6,
    DnsContract,
    Rig,
    gone,
    listed,
    plain,
    publication,
    settled,
    wanted,
)
from tests.drivers.dns_servers import ADDRESS, ALLOWED, OTHER, ZONE, primary

pytestmark = pytest.mark.timeout(120)
STRANGE = "203.0.113.66"


@pytest.fixture(scope="module")
def servers(tmp_path_factory):
    """Both, for all tests of this module."""
    folder = tmp_path_factory.mktemp("servers")
    with primary("bind", folder / "bind") as bind, primary("knot", folder / "knot") as knot:
        yield {"bind": bind, "knot": knot}


@pytest.fixture(params=["bind", "knot"])
def server(request, servers):
    return servers[request.param]


def update(server, change):
    """Somebody with the right key changes something by hand."""
    message = dns.update.UpdateMessage(ZONE, keyring=key_of(server.backend))
    change(message)
    answer = dns.query.tcp(message, ADDRESS, 10, server.port)
    assert answer.rcode() == dns.rcode.NOERROR


@pytest.fixture
def rig(server):
    def make(fqdn, rrtype, content):
        owner = dns.name.from_text(fqdn)
        update(server, lambda message: message.replace(owner, 30, rrtype, content))

    driver = Rfc2136Driver(server.backend)
    return Rig(driver, ZONE, make, server.stop, server.start, server.backend.name_servers)


class TestUpdates(DnsContract):
    def test_of_two_engines_the_newer_generation_stays(self, rig, server):
        """Both read the marks before either has changed anything; whatever the order, the same is there at the end."""
        name, met = rig.name(), threading.Barrier(2)

        class Meeting(Rfc2136Driver):
            first = True

            def _held(self, names):
                held = super()._held(names)
                if self.first:
                    self.first = False
                    met.wait(timeout=20)
                return held

        settled(rig, wanted(name, V4))

        def publish(generation, address):
            driver = Meeting(server.backend)
            try:
                driver.publish(ZONE, [wanted(name, address, generation=generation)])
            except DnsRefusedError as error:
                said.append(str(error))

        said = []
        engines = [threading.Thread(target=publish, args=args) for args in ((2, STRANGE), (3, OTHER_V4))]
        for engine in engines:
            engine.start()
        for engine in engines:
            engine.join(timeout=30)
        assert rig.driver.verify(ZONE, [wanted(name, OTHER_V4)]) == {}
        assert listed(rig, name)["A"][0] == 3
        assert all("generation 3" in each for each in said)

    @pytest.mark.parametrize(
        ("label", "rrtype"), [("theirs", "A"), ("theirs", "CNAME"), ("mail", "CNAME"), ("alias", "A")]
    )
    def test_a_record_that_people_made_is_left_and_named(self, rig, server, label, rrtype):
        """And what a CNAME cannot be beside, which servers ignore without a word."""
        name = f"{label}.{ZONE}"
        before = [server.rrset(name, each) for each in ("A", "CNAME", "MX")]
        content = V4 if rrtype == "A" else "elsewhere.example."
        with pytest.raises(DnsRefusedError, match=f"At {name} there is something that we have not made"):
            rig.driver.publish(ZONE, [wanted(name, content, rrtype=rrtype)])
        assert [server.rrset(name, each) for each in ("A", "CNAME", "MX")] == before
        assert listed(rig, name) == {}

    def test_other_types_at_a_name_of_ours_are_not_touched(self, rig, server):
        name = f"mail.{ZONE}"
        settled(rig, wanted(name, V4))
        settled(rig, gone(name))
        assert server.rrset(name, "MX") == {f"10 theirs.{ZONE}"}

    def test_a_name_does_not_become_a_cname_beside_what_people_have_there(self, rig, server):
        name = rig.name()
        settled(rig, wanted(name, V4))
        update(server, lambda message: message.add(dns.name.from_text(name), 30, "MX", f"10 theirs.{ZONE}"))
        with pytest.raises(DnsRefusedError, match=name):
            rig.driver.publish(ZONE, [gone(name), wanted(name, "elsewhere.example.", rrtype="CNAME", generation=2)])
        assert rig.driver.verify(ZONE, [wanted(name, V4)]) == {}

    def test_a_cname_is_alone(self, rig):
        name = rig.name()
        with pytest.raises(DnsRefusedError, match="a CNAME is alone"):
            rig.driver.publish(ZONE, [wanted(name, V4), wanted(name, "elsewhere.example.", rrtype="CNAME")])

    def test_a_text_that_somebody_put_beside_a_name_stays(self, rig, server):
        name = rig.name()
        beside = dns.name.from_text(f"_caryatid.{name}")
        settled(rig, wanted(name, V4))
        update(server, lambda message: message.add(beside, 60, "TXT", '"a note"'))
        settled(rig, wanted(name, OTHER_V4, generation=2))
        settled(rig, gone(name))
        assert server.rrset(beside.to_text(), "TXT") == {'"a note"'}

    def test_a_wildcard_that_people_made_is_no_mark(self, rig, server):
        parent = rig.name("sub")
        star = dns.name.from_text(f"*.{parent}")
        update(server, lambda message: message.add(star, 30, "TXT", '"v=spf1 -all"'))
        update(server, lambda message: message.add(star, 30, "A", STRANGE))
        settled(rig, wanted(f"own.{parent}", V4))
        settled(rig, gone(f"own.{parent}"))

    def test_a_name_that_has_nothing_exists(self, rig, server):
        """Otherwise a wildcard would answer for it, and resolvers would believe that there is no such name."""
        parent = rig.name("sub")
        settled(rig, wanted(f"*.{parent}", V4), wanted(f"own.{parent}"), wanted(f"own.{parent}", rrtype="AAAA"))
        assert server.rrset(f"own.{parent}", "A") == set()
        assert server.rcode(f"own.{parent}", "A") == "NOERROR"
        settled(rig, wanted(f"*.{parent}", generation=2))
        assert server.rcode(f"any.{parent}", "A") == "NOERROR"

    def test_the_zone_itself_may_be_a_name_but_no_cname(self, rig, server):
        settled(rig, wanted(ZONE, V4), wanted(ZONE, V6))
        with pytest.raises(DnsRefusedError, match="cannot be a CNAME"):
            rig.driver.publish(ZONE, [wanted(ZONE, "elsewhere.example.", rrtype="CNAME")])
        settled(rig, gone(ZONE), gone(ZONE, "AAAA"))
        assert server.rrset(ZONE, "A") == set()
        assert server.rrset(ZONE, "SOA")

    def test_one_name_that_is_refused_does_not_keep_a_hundred_from_being_published(self, rig):
        fine = [wanted(rig.name(), V4) for _ in range(100)]
        with pytest.raises(DnsRefusedError, match="theirs"):
            rig.driver.publish(ZONE, [*fine[:60], wanted(f"theirs.{ZONE}", V4), *fine[60:]])
        assert rig.driver.verify(ZONE, fine) == {}

    def test_more_than_a_message_holds_is_published_in_several(self, rig):
        candidates = tuple([Candidate(f"2001:db8::{number:x}") for number in range(1, 65)])
        names = [f"{'x' * 60}.{rig.name()}" for _ in range(2 * RECORDS_MAX // len(candidates))]
        settled(rig, *[publication(replace(plain(name, V6), default=Choice(candidates, count=64))) for name in names])

    def test_what_an_rrset_cannot_say_is_refused_by_its_policy(self, rig):
        name, other = rig.name(), rig.name()
        weighted = Choice((Candidate(V4, 2), Candidate(OTHER_V4)), "weighted", 1)
        with pytest.raises(DnsRefusedError, match="needs the policy weighted"):
            rig.driver.publish(ZONE, [publication(replace(plain(name, V4), default=weighted)), wanted(other, V4)])
        assert listed(rig, name) == {}
        assert rig.driver.verify(ZONE, [wanted(other, V4)]) == {}

    def test_names_elsewhere_and_names_too_long_are_refused(self, rig):
        long = ".".join(["y" * 60] * 4)[:235] + "." + ZONE
        with pytest.raises(DnsRefusedError, match=r"not in the zone.*too long"):
            rig.driver.publish(ZONE, [wanted("www.elsewhere.test.", V4), wanted(long, V4)])

    def test_a_zone_that_is_not_there_is_asked_of_people(self, rig):
        with pytest.raises(DnsRefusedError, match="update-policy"):
            rig.driver.ensure_zone("nowhere.test.")

    @pytest.mark.parametrize(
        ("shown", "said"),
        [
            ({"key_secret": "d3Jvbmc="}, "another secret"),
            ({"key_name": "nobody"}, "does not know the key nobody"),
            ({"key_algorithm": "hmac-sha512"}, "does not know the key"),
            ({"key_name": OTHER}, f"(must be allowed to|does not know) the key {OTHER}"),
            ({"key_name": "", "key_secret": ""}, "Nothing is signed"),
        ],
        ids=["secret", "name", "algorithm", "rights", "none"],
    )
    def test_a_key_that_is_not_right_is_refused_with_what_would_help(self, rig, server, shown, said):
        driver = Rfc2136Driver(server.shown(**shown))
        name = rig.name()
        for act in (lambda: driver.publish(ZONE, [wanted(name, V4)]), lambda: driver.published(ZONE)):
            with pytest.raises(DnsRefusedError, match=said):
                act()
        assert server.rrset(name, "A") == set()

    def test_what_the_key_may_change_is_published_also_beside_what_it_may_not(self, rig, servers):
        bind = servers["bind"]
        narrow = Rfc2136Driver(bind.shown(key_name=OTHER))
        with pytest.raises(DnsRefusedError, match=r"REFUSED. Updates of www-.* must be allowed"):
            narrow.publish(ZONE, [wanted(rig.name(), V4), wanted(ALLOWED, V4), wanted(rig.name(), V4)])
        assert bind.rrset(ALLOWED, "A") == {V4}

    def test_a_server_that_is_silent_may_be_better_later(self, rig, server):
        driver = Rfc2136Driver(replace(server.backend, timeout_s=0.3))
        with server.silent(), pytest.raises(DnsError, match="in time") as error:
            driver.publish(ZONE, [wanted(rig.name(), V4)])
        assert not isinstance(error.value, DnsRefusedError)
        rig.driver.ensure_zone(ZONE)


@pytest.mark.parametrize(
    ("credentials", "said"),
    [
        ({"key_name": "caryatid"}, "go together"),
        ({"key_name": "caryatid", "key_secret": "no base64!"}, "base64"),
        ({"key_name": "caryatid", "key_secret": "YQ==", "key_algorithm": "hmac-md5"}, "one of hmac-sha256"),
        ({"key_name": "a..b", "key_secret": "YQ=="}, "no domain name"),
    ],
)
def test_credentials_that_are_no_key_are_refused_without_showing_them(servers, credentials, said):
    with pytest.raises(DnsRefusedError, match=said) as error:
        Rfc2136Driver(replace(servers["bind"].backend, credentials=credentials))
    assert "no base64!" not in str(error.value)
