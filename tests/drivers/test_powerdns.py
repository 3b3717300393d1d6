# SPDX-License-Identifier: Apache-2.0
"""A real PowerDNS is told what to answer, and answers so; what is somebody else's, or cannot be said, is refused."""

from dataclasses import replace

import dns.query
import dns.rcode
import pytest

from caryatid.drivers import load
from caryatid.drivers.dns import lua
from caryatid.drivers.dns.asking import query
from caryatid.drivers.dns.base import DnsError, DnsRefusedError
from caryatid.drivers.dns.judging import Question
from caryatid.model.gslb.answers import Answers, Candidate, Choice, Clients, Variant
from caryatid.services import nameserver
from tests.drivers.dns_contract import (
    OTHER_V4,
    THIRD_V4,
    V4,
    V6,
    DnsContract,
    Rig,
    gone,
    listed,
    publication,
    seen,
    settled,
    wanted,
)
from tests.drivers.powerdns_server import powerdns

ZONE = "globe.test."


@pytest.fixture(scope="module")
def server():
    with powerdns() as running:
        yield running


@pytest.fixture(scope="module")
def rig(server):
    def make(fqdn, rrtype, content):
        records = [{"content": content, "disabled": False}]
        server.put(ZONE, {"name": fqdn, "type": rrtype, "ttl": 60, "changetype": "REPLACE", "records": records})

    made = driver(server)
    made.ensure_zone(ZONE)
    return Rig(made, ZONE, make, server.stop, server.start, server.backend.name_servers)


def driver(server, **changed):
    return load("dns", "powerdns")(replace(server.backend, **changed))


def rcode(server, name):
    ((address, port),) = server.backend.name_servers
    return dns.rcode.to_text(dns.query.udp(query(Question(name, "A")), address, 20, port).rcode())


def weighted(fqdn, *contents, ttl=30, rrtype="A", generation=1):
    choice = Choice(tuple(Candidate(content, weight) for weight, content in enumerate(contents, 1)), "weighted", 1)
    return publication(Answers(fqdn, rrtype, ttl, choice), generation)


class TestPowerDns(DnsContract):
    pass


def test_chosen_answers_are_one_of_those_that_there_are_and_change_at_once(rig):
    name = rig.name()
    for generation, contents in enumerate([(V4, OTHER_V4), (OTHER_V4, THIRD_V4), (V4,)], start=1):
        settled(rig, weighted(name, *contents, generation=generation))
        for number in range(20):
            (reply,) = seen(rig, name, client=f"10.0.0.{number}")
            assert len(reply.contents) == 1
            assert set(reply.contents) <= set(contents)


def test_of_two_types_that_are_chosen_one_is_changed_and_the_other_stays(rig):
    name = rig.name()
    settled(rig, weighted(name, V4, OTHER_V4), weighted(name, V6, "2001:db8::2", rrtype="AAAA"))
    settled(rig, weighted(name, OTHER_V4, THIRD_V4, generation=2))
    settled(rig, weighted(name, V6, "2001:db8::2", rrtype="AAAA", generation=3))
    assert {rrtype: generation for rrtype, (generation, _) in listed(rig, name).items()} == {"A": 2, "AAAA": 3}
    settled(rig, gone(name))
    assert set(listed(rig, name)) == {"AAAA"}
    settled(rig, gone(name, "AAAA"))
    assert listed(rig, name) == {}


def test_a_name_is_chosen_plain_and_chosen_again(rig):
    name = rig.name()
    settled(rig, wanted(name, V4, OTHER_V4))
    settled(rig, weighted(name, V4, OTHER_V4, generation=2))
    settled(rig, wanted(name, THIRD_V4, generation=3), weighted(name, V6, rrtype="AAAA", generation=3))
    settled(
        rig, weighted(name, "a.example.", "b.example.", rrtype="CNAME", generation=4), gone(name), gone(name, "AAAA")
    )
    settled(rig, gone(name, "CNAME"), wanted(name, V4, generation=5))
    assert set(listed(rig, name)) == {"A"}


def test_a_name_that_has_nothing_exists(rig):
    name = rig.name()
    settled(rig, wanted(name, rrtype="A"))
    assert seen(rig, f"below.{name}")[0].problem == ""
    (reply,) = seen(rig, name)
    assert (reply.contents, reply.ttl, reply.problem) == ((), None, "")


def test_code_with_a_fault_is_taken_and_found_when_it_is_asked_for(rig):
    name = rig.name()
    settled(rig, weighted(name, V4, OTHER_V4))
    rig.make(name, "LUA", 'A "this is no Lua("')
    assert "answers SERVFAIL" in rig.driver.verify(rig.zone, [weighted(name, V4, OTHER_V4)])[name, "A"]
    settled(rig, weighted(name, V4, OTHER_V4))


def test_code_of_somebody_elses_is_left_alone(rig):
    name = rig.name()
    rig.make(name, "LUA", "AAAA \"'2001:db8::9'\"")
    settled(rig, weighted(name, V4, OTHER_V4))
    assert seen(rig, name, "AAAA")[0].contents == ("2001:db8::9",)
    with pytest.raises(DnsRefusedError, match="somebody else"):
        rig.driver.publish(rig.zone, [weighted(name, V6, rrtype="AAAA")])
    settled(rig, gone(name))
    assert seen(rig, name, "AAAA")[0].contents == ("2001:db8::9",)


def test_more_than_fits_in_a_datagram_is_asked_for_in_full(rig):
    name = rig.name()
    found = tuple(Candidate(f"2001:db8::{number:x}") for number in range(1, 65))
    for count, way in ((64, "all"), (63, "all"), (1, "weighted"), (1, "hash")):
        settled(rig, publication(Answers(name, "AAAA", 30, Choice(found, way, count))))
        assert len(seen(rig, name, "AAAA")[0].contents) == count


def test_more_than_a_request_may_hold_is_published(rig):
    networks = [Clients(cidrs=(f"2001:db8:{n:x}::/48",)) for n in range(700)]
    variants = tuple(Variant(each, Choice((Candidate(V4), Candidate(OTHER_V4)), "hash", 1)) for each in networks)
    long = Answers("", "A", 30, Choice((Candidate(V4),)), variants)
    many = [publication(replace(long, fqdn=rig.name())) for _ in range(45)]
    rig.driver.publish(rig.zone, many)
    assert {each.fqdn for each in many} <= {each.fqdn for each in rig.driver.published(rig.zone)}
    assert rig.driver.verify(rig.zone, many[-1:]) == {}


def test_a_zone_that_somebody_removed_is_made_again(server):
    zone, told = "removed.test.", driver(server)
    told.ensure_zone(zone)
    server.api.delete(f"/zones/{zone}")
    with pytest.raises(DnsRefusedError, match="no zone"):
        told.publish(zone, [wanted(f"www.{zone}", V4)])
    told.ensure_zone(zone)
    told.publish(zone, [wanted(f"www.{zone}", V4)])
    assert told.verify(zone, [wanted(f"www.{zone}", V4)]) == {}


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (wanted("www.elsewhere.example.", V4), "not taken"),
        (wanted(f"bad.{ZONE}", "192.0.2.1'; os.exit()"), "address"),
        (weighted(f"bad.{ZONE}", "fe80::1%'..os.exit()..'", rrtype="AAAA"), "zone"),
        (weighted(f"bad.{ZONE}", "x'..os.exit()..'.", rrtype="CNAME"), "domain name"),
    ],
)
def test_what_cannot_be_said_keeps_nothing_else_from_being_published(rig, bad, why):
    good = wanted(rig.name(), V4)
    with pytest.raises(DnsRefusedError, match=why):
        rig.driver.publish(rig.zone, [good, bad])
    assert rig.driver.verify(rig.zone, [good]) == {}


def test_who_has_no_geo_data_refuses_what_goes_by_places_and_can_do_the_rest(rig):
    far = Choice((Candidate(V4, 1, 50.0, 8.0), Candidate(OTHER_V4, 1, 40.0, -70.0)), "nearest", 1)
    by_country = Variant(Clients(countries=("DE",)), Choice((Candidate(V4),)))
    by_network = Variant(Clients(cidrs=("203.0.113.0/24",)), Choice((Candidate(V4),)))
    answers = Answers(rig.name(), "A", 30, Choice((Candidate(OTHER_V4),)))
    assert not rig.driver.policies & {"proximity", "latency"}
    for refused in (replace(answers, default=far), replace(answers, variants=(by_country,))):
        with pytest.raises(DnsRefusedError, match="option geo"):
            rig.driver.publish(rig.zone, [publication(refused)])
    settled(rig, publication(replace(answers, variants=(by_network,))))
    assert seen(rig, answers.fqdn, client="203.0.113.9")[0].contents == (V4,)


def test_without_lua_plain_answers_alone_are_published(server, rig):
    without = driver(server, options={"lua": False})
    plain, empty = wanted(rig.name(), V4), wanted(rig.name(), rrtype="A")
    assert without.policies == {"failover", "multivalue"}
    with pytest.raises(DnsRefusedError, match="weighted takes LUA records"):
        without.publish(ZONE, [weighted(rig.name(), V4, OTHER_V4), plain, empty])
    assert without.verify(ZONE, [plain, empty]) == {}
    assert set(listed(rig, empty.fqdn)) == {"A"}
    without.publish(ZONE, [gone(empty.fqdn)])
    assert listed(rig, empty.fqdn) == {}


def test_a_server_that_does_not_answer_lua_records_is_found_out(tmp_path, monkeypatch):
    off = nameserver.CONFIGURATION.replace("enable-lua-records=shared", "enable-lua-records=no")
    monkeypatch.setattr(nameserver, "CONFIGURATION", off)
    with powerdns(folder=tmp_path) as other:
        told, good = driver(other), wanted(f"www.{ZONE}", V4)
        told.ensure_zone(ZONE)
        with pytest.raises(DnsRefusedError, match="enable-lua-records is no"):
            told.publish(ZONE, [weighted(f"api.{ZONE}", V4, OTHER_V4), good])
        assert told.verify(ZONE, [good]) == {}


def test_what_was_made_of_names_is_forgotten_and_made_again(rig, monkeypatch):
    monkeypatch.setattr(lua, "MADE_MAX", 3)
    many = [weighted(rig.name(), V4, OTHER_V4) for _ in range(10)]
    for _ in range(3):
        settled(rig, *many)


def test_a_key_that_is_none_is_refused_and_an_address_where_nobody_is_is_an_error(server):
    with pytest.raises(DnsRefusedError, match="api_key"):
        driver(server, credentials={"api_key": "guessed"}).ensure_zone(ZONE)
    with pytest.raises(DnsError) as away:
        driver(server, url="http://127.0.0.1:9").ensure_zone(ZONE)
    assert not isinstance(away.value, DnsRefusedError)


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"url": ""}, "no url"),
        ({"options": {"geo": "perhaps"}}, "geo is true or false"),
        ({"options": {"authorities": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"}}, "authorities"),
    ],
)
def test_a_backend_that_is_described_wrongly_is_refused(server, changed, why):
    with pytest.raises(DnsRefusedError, match=why):
        driver(server, **changed)


def test_a_change_costs_no_reading_of_the_zone_but_where_that_is_needed(server):
    zone, told = "deep.test.", driver(server)
    flat, deep, other = (wanted(f"{label}.{zone}", V4) for label in ("www", "a.b", "c.d.e"))

    def worked_out():
        return server.api.get(f"/zones/{zone}?rrsets=false").json()["api_rectify"]

    told.ensure_zone(zone)
    told.publish(zone, [flat])
    assert not worked_out()
    told.publish(zone, [deep])
    told.publish(zone, [other])
    assert worked_out()
    assert rcode(server, f"b.{zone}") == rcode(server, f"d.e.{zone}") == "NOERROR"
    assert rcode(server, f"x.{zone}") == "NXDOMAIN"


def test_a_signed_zone_stays_whole(server):
    zone, told = "signed.test.", driver(server)
    told.ensure_zone(zone)
    server.api.put(f"/zones/{zone}", json={"dnssec": True})
    told.publish(zone, [wanted(f"www.{zone}", V4), weighted(f"api.{zone}", V4, OTHER_V4)])
    assert told.verify(zone, [wanted(f"www.{zone}", V4), weighted(f"api.{zone}", V4, OTHER_V4)]) == {}
    assert server.api.get(f"/zones/{zone}?rrsets=false").json()["api_rectify"]


def test_name_servers_may_have_names_of_their_own(server):
    zone = "named.test."
    driver(server, options={"nameservers": "a.example, b.example."}).ensure_zone(zone)
    found = server.api.get(f"/zones/{zone}").json()["rrsets"]
    assert {record["content"] for rrset in found for record in rrset["records"] if rrset["type"] == "NS"} == {
        "a.example.",
        "b.example.",
    }
    assert {rrset["type"] for rrset in found} == {"NS", "SOA"}


def test_a_zone_is_made_with_name_servers_and_not_known_to_be_empty_for_long(server):
    zone = "made.test."
    with pytest.raises(DnsRefusedError, match="no zone"):
        driver(server).publish(zone, [wanted(f"www.{zone}", V4)])
    driver(server).ensure_zone(zone)
    rrsets = {
        rrset["type"]: rrset["records"][0]["content"] for rrset in server.api.get(f"/zones/{zone}").json()["rrsets"]
    }
    assert rrsets["NS"] == f"ns1.{zone}"
    assert rrsets["A"] == "127.0.0.1"
    assert int(rrsets["SOA"].split()[-1]) <= 30
