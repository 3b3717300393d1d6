# SPDX-License-Identifier: Apache-2.0
"""What gslbs and their parts must satisfy together."""

import pytest

from caryatid.errors import Refused
from caryatid.model import GSLB, GSLB_BACKEND, GSLB_MEMBER, GSLB_MONITOR, GSLB_POOL, GSLB_ZONE
from caryatid.model.gslb import rules
from caryatid.model.gslb.targets import Targets

ID = "99999999-9999-4999-8999-999999999999"
OTHER = "88888888-8888-4888-8888-888888888888"
ANYWHERE = Targets([], [])


def row(kind, **body):
    given = {"id": ID, "project_id": "p1", "pool_id": ID, "created_at": "2026-11-21T00:00:00.000000"}
    return kind.new(body, {name: value for name, value in given.items() if name in kind.attributes})


def member(**body):
    return row(GSLB_MEMBER, **body)


def said(faults):
    return {fault.attribute for fault in faults}


def test_a_name_can_be_in_itself_and_all_above():
    assert rules.within("www.example.test.") == ["www.example.test.", "example.test.", "test."]
    assert rules.within("*.example.test.") == ["example.test.", "test."]


def test_a_zone_has_no_other_name_in_place_of_its_own():
    zone = row(GSLB_ZONE, name="example.test", backend_id=ID)
    for name, wrong in (("example.test", True), ("www.example.test", False)):
        gslb = row(GSLB, fqdn=name, record_types=["CNAME"])
        assert bool(list(rules.gslb_faults(gslb, zone))) == wrong
    assert not list(rules.gslb_faults(row(GSLB, fqdn="example.test"), zone))


def test_a_zone_is_no_wildcard():
    with pytest.raises(Refused, match="wildcard"):
        row(GSLB_ZONE, name="*.example.test", backend_id=ID)


@pytest.mark.parametrize(("policy", "pool", "needed"), [
    ("failover", {}, {"failover"}),
    ("failover", {"member_policy": "failover"}, {"failover"}),
    ("failover", {"member_policy": "weighted"}, {"failover", "weighted"}),
    ("geo", {"member_policy": "source_hash"}, {"geo", "source_hash"}),
    ("latency", {"shed_percent": 10}, {"latency", "weighted"}),
    ("multivalue", {"member_policy": "weighted"}, {"multivalue"}),
    ("weighted", {"shed_percent": 10}, {"weighted"}),
])  # fmt: skip
def test_name_servers_must_do_the_policy_and_what_is_left_to_pools(policy, pool, needed):
    gslb = row(GSLB, fqdn="www.example.test", steering_policy=policy)
    assert rules.needed(gslb, [row(GSLB_POOL, **pool), row(GSLB_POOL)]) == needed


def test_one_pool_alone_sheds_nothing():
    gslb = row(GSLB, fqdn="www.example.test")
    assert rules.needed(gslb, [row(GSLB_POOL, shed_percent=10)]) == {"failover"}


@pytest.mark.parametrize(("body", "wrong"), [
    ({"address": "192.0.2.1"}, set()),
    ({"address": "192.0.2.1", "hostname": "a.example.org"}, {"hostname"}),
    ({"address": "192.0.2.1", "loadbalancer_id": OTHER, "region_id": OTHER}, {"loadbalancer_id", "region_id"}),
    ({"type": "hostname", "hostname": "a.example.org", "monitor_address": "127.0.0.1"}, {"monitor_address"}),
    ({"type": "load_balancer", "loadbalancer_id": OTHER, "region_id": OTHER}, set()),
    ({"type": "octavia_lb", "loadbalancer_id": OTHER, "region_id": OTHER}, set()),
    ({"type": "neutron_port", "port_id": OTHER, "region_id": OTHER}, set()),
    ({"type": "neutron_port", "port_id": OTHER, "region_id": OTHER, "loadbalancer_id": OTHER}, {"loadbalancer_id"}),
    ({"type": "load_balancer", "loadbalancer_id": OTHER, "port_id": OTHER}, {"port_id"}),
    ({"type": "octavia_lb", "loadbalancer_id": OTHER, "region_id": OTHER, "address": "192.0.2.1"}, {"address"}),
    ({"type": "pigeon", "region_id": OTHER, "port_id": OTHER}, {"region_id", "port_id"}),
    ({"type": "fax"}, {"type"}),
    ({"address": "169.254.169.254"}, {"address"}),
])  # fmt: skip
def test_a_member_says_what_its_type_is_answered_with(body, wrong):
    assert said(rules.member_faults(member(**body), ANYWHERE, ["pigeon"])) == wrong


def test_a_plugins_member_is_told_what_its_plugin_wants():
    assert not list(rules.member_faults(member(type="pigeon", parameters={"loft": "3"}), ANYWHERE, ["pigeon"]))


def test_a_place_is_an_address_and_a_port_whatever_it_is_called():
    assert rules.place(member(address="192.0.2.1")) != rules.place(member(address="192.0.2.1", port=80))
    assert rules.place(member(address="192.0.2.1", name="a")) == rules.place(member(address="192.0.2.1", name="b"))
    names = (member(type="hostname", hostname=name) for name in ("A.example.org.", "a.example.org"))
    assert len({rules.place(one) for one in names}) == 1
    lofts = (member(type="pigeon", parameters={"loft": loft}) for loft in "12")
    assert len({rules.place(one) for one in lofts}) == 2
    moved = (member(type="pigeon", parameters={"loft": "1"}, address=address) for address in ("192.0.2.1", "192.0.2.2"))
    assert len({rules.place(one) for one in moved}) == 1, "where it was found is not what it is"
    ports = (member(type="neutron_port", port_id=port, region_id=OTHER) for port in (OTHER, OTHER[::-1]))
    assert len({rules.place(one) for one in ports}) == 2


@pytest.mark.parametrize("word", ["IP", "ip", "Ip"])
def test_kosmos_words_are_heard(word):
    assert member(type=word, address="192.0.2.1").type == "ip"


def test_a_check_is_told_what_it_knows():
    known = ["http", "pigeon"]
    assert said(rules.monitor_faults(row(GSLB_MONITOR, type="fax"), known)) == {"type"}
    assert said(rules.monitor_faults(row(GSLB_MONITOR, type="http", parameters={"x": 1}), known)) == {"parameters.x"}
    assert not list(rules.monitor_faults(row(GSLB_MONITOR, type="pigeon", parameters={"x": 1}), known))


def test_a_driver_is_told_whom_to_speak_to():
    assert said(rules.backend_faults(row(GSLB_BACKEND, driver="powerdns"))) == {"url"}
    assert said(rules.backend_faults(row(GSLB_BACKEND, driver="rfc2136"))) == {"server"}
    assert not list(rules.backend_faults(row(GSLB_BACKEND, driver="noop")))
