# SPDX-License-Identifier: Apache-2.0
"""What is kept of checkers, of what they have to check, and of load balancers elsewhere, on both databases."""

from math import inf
from uuid import uuid4

from caryatid.model import GSLB_MEMBER, GSLB_POOL, GSLB_REGION, LOADBALANCER
from caryatid.store import clock, hosts, observations, rows
from caryatid.store.gslb import checks, enrolled, loadbalancers, trees, trials
from caryatid.store.gslb.enrolled import Enrolled
from caryatid.store.gslb.loadbalancers import Told


def test_the_fingerprint_is_another_after_each_change_of_what_is_checked_and_the_same_without(orchard):
    known = orchard.whole()
    region = orchard.part(GSLB_REGION)
    seen = [fingerprint(orchard)]
    assert fingerprint(orchard) == seen[0]
    orchard.part(GSLB_MEMBER, pool_id=known["gslb_pool"], address="192.0.2.2")
    seen.append(fingerprint(orchard))
    orchard.change_part(GSLB_POOL, known["gslb_pool"])
    seen.append(fingerprint(orchard))
    orchard.gslb(fqdn="other.example.test", pools=[{"pool_id": known["gslb_pool"]}])
    seen.append(fingerprint(orchard))
    with orchard.database.transaction() as tx:
        loadbalancers.report(tx, region, [Told("lb", ["192.0.2.7"], "ONLINE", 9)])
    seen.append(fingerprint(orchard))
    with orchard.database.transaction() as tx:
        loadbalancers.report(tx, region, [Told("lb", ["192.0.2.7"], "ONLINE", 9)])
    assert fingerprint(orchard) == seen[-1]
    assert len(set(seen)) == len(seen)


def test_what_is_checked_is_loaded_with_what_it_needs(orchard):
    known = orchard.whole()
    orchard.part(GSLB_POOL)  # nobody uses it
    with orchard.database.read() as tx:
        found = checks.load(tx)
    assert [pool.id for pool in found.pools] == [known["gslb_pool"]]
    assert [member.id for member in found.members] == [known["gslb_member"]]
    assert found.monitors.keys() == {known["gslb_monitor"]}


def test_a_dry_run_is_handed_out_once_to_its_region_and_answered_by_it_alone(orchard):
    first, other = orchard.part(GSLB_REGION), orchard.part(GSLB_REGION, name="ams")
    key, late = str(uuid4()), str(uuid4())
    with orchard.database.transaction() as tx:
        trials.ask(tx, {key: (first, {"type": "tcp"})}, 60)
        trials.ask(tx, {late: (first, {"type": "tcp"})}, -1)
        assert (trials.any_for(tx, first), trials.any_for(tx, other)) == (True, False)
        assert trials.hand_out(tx, other, "c2") == {}
        assert trials.hand_out(tx, first, "c1") == {key: {"type": "tcp"}}
        assert trials.hand_out(tx, first, "c1") == {}
        trials.keep(tx, other, {key: {"word": "DOWN"}})
        assert trials.found(tx, [key, late]) == {}
        trials.keep(tx, first, {key: {"word": "UP"}})
        assert trials.found(tx, [key, late]) == {key: {"word": "UP"}}
        assert trials.purge(tx) == 1
        trials.forget(tx, [key])
        assert trials.found(tx, [key]) == {}


def test_a_checker_may_speak_for_its_region_while_that_is_enabled_and_it_is_not_revoked(orchard):
    region = orchard.part(GSLB_REGION)
    with orchard.database.transaction() as tx:
        enrolled.keep(tx, Enrolled("c1", region, "m", "", None, ("a",), clock.now(tx) + 60))
        assert enrolled.may_speak(tx, "c1", region)
        assert not enrolled.may_speak(tx, "c1", "another")
        assert not enrolled.may_speak(tx, "c2", region)
        row = GSLB_REGION.load(rows.get(tx, GSLB_REGION, region))
        rows.change(tx, GSLB_REGION, row.model_copy(update={"enabled": False}), at=clock.text(clock.now(tx)))
        assert not enrolled.may_speak(tx, "c1", region)
        rows.change(tx, GSLB_REGION, row, at=clock.text(clock.now(tx)))
        enrolled.revoke(tx, "c1")
        assert not enrolled.may_speak(tx, "c1", region)
        assert list(enrolled.get(tx, "c1").trusts) == ["a"]
        assert enrolled.purge(tx, clock.now(tx)) == 0
        assert enrolled.purge(tx, clock.now(tx) + 61) == 1


def test_a_token_for_a_region_is_none_for_a_host_and_is_good_once(orchard):
    region = orchard.part(GSLB_REGION)
    with orchard.database.transaction() as tx:
        hosts.open_enrolment(tx, "t1", b"s1", valid_s=60, region_id=region)
        hosts.open_enrolment(tx, "t2", b"s2", valid_s=60)
        hosts.open_enrolment(tx, "t3", b"s3", valid_s=-1, region_id=region)
        assert not hosts.redeem(tx, "t1", b"s1")
        assert [hosts.redeem_for_region(tx, "t1", secret) for secret in (b"s2", b"s1", b"s1")] == [None, region, None]
        assert hosts.redeem_for_region(tx, "t2", b"s2") is None
        assert hosts.redeem_for_region(tx, "t3", b"s3") is None
        assert hosts.redeem(tx, "t2", b"s2")


def test_load_balancers_of_other_regions_are_as_they_were_reported_until_that_expires(orchard):
    region, pool, key = orchard.part(GSLB_REGION), orchard.part(GSLB_POOL), str(uuid4())
    of_ours = {"pool_id": pool, "type": "load_balancer", "address": None, "region_id": region}
    known = orchard.part(GSLB_MEMBER, **of_ours, loadbalancer_id=key)
    unknown = orchard.part(GSLB_MEMBER, **of_ours, loadbalancer_id=str(uuid4()))
    with orchard.database.transaction() as tx:
        members = trees.members_of(tx, [pool])
        assert loadbalancers.report(tx, region, [Told(key, ["192.0.2.7"], "DEGRADED", 9)]) == [key]
        assert loadbalancers.report(tx, region, [Told(key, ["192.0.2.7"], "DEGRADED", 9)]) == []
        found = loadbalancers.own_of(tx, members)
        assert (found[known].word, found[known].good_s, found[unknown].word) == ("UP", 9, "UNKNOWN")
        ends = found[known].confirmed_at + 9
        assert loadbalancers.expired(tx, ends - 1, ends + 1) == [key]
        assert loadbalancers.expired(tx, ends + 1, ends + 2) == []
        assert loadbalancers.report(tx, region, [Told(key, ["192.0.2.8"], "DEGRADED", 9)]) == [key]
        assert loadbalancers.purge(tx, clock.now(tx) - 60) == 0
        assert loadbalancers.purge(tx, clock.now(tx) + 1) == 1


def test_load_balancers_of_this_installation_are_as_they_were_seen_and_that_does_not_expire(orchard):
    pool, key = orchard.part(GSLB_POOL), str(uuid4())
    given = {"id": key, "project_id": "p1", "created_at": "2026-11-21T19:00:00.000000"}
    row = LOADBALANCER.new({"vip_subnet_id": str(uuid4()), "vip_address": "127.100.0.7"}, given)
    of_ours = {"pool_id": pool, "type": "load_balancer", "address": None}
    here = orchard.part(GSLB_MEMBER, **of_ours, loadbalancer_id=key)
    gone = orchard.part(GSLB_MEMBER, **of_ours, loadbalancer_id=str(uuid4()))
    with orchard.database.transaction() as tx:
        rows.insert(tx, LOADBALANCER, [row], root_id=key, generation=rows.FIRST)
        observations.write(tx, [("loadbalancer", key, key, "ONLINE")], clock.now(tx))
        found = loadbalancers.own_of(tx, trees.members_of(tx, [pool]))
        told = loadbalancers.statuses(tx, 9.0)
    assert (found[here].word, found[here].addresses, found[here].good_s) == ("UP", ("127.100.0.7",), inf)
    assert (found[gone].word, found[gone].addresses) == ("DOWN", ())
    assert [(one.id, one.operating_status, one.good_s) for one in told] == [(key, "ONLINE", 9.0)]


def fingerprint(orchard):
    with orchard.database.read() as tx:
        return checks.fingerprint(tx)
