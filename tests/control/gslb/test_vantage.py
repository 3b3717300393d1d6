# SPDX-License-Identifier: Apache-2.0
"""What each region has to check, and how it may; the region of this installation."""

import json

import pytest

from caryatid.config import Settings
from caryatid.control import initial, writes
from caryatid.control.gslb import home
from caryatid.control.gslb.checks import Checks
from caryatid.control.gslb.votes import share_of
from caryatid.model import GSLB_MEMBER, GSLB_MONITOR, GSLB_POOL, GSLB_REGION, LOADBALANCER, SUBNET
from caryatid.store import rows
from caryatid.store.gslb import loadbalancers
from caryatid.store.gslb.loadbalancers import Told
from caryatid.wire.checks import SHARES, Wanted
from tests.store.gslb.conftest import Orchard

ALL = range(SHARES)


@pytest.fixture
def orchard(door):
    return Orchard(door.database)


@pytest.fixture
def region(orchard):
    return orchard.part(GSLB_REGION, name="fra")


@pytest.fixture
def checks(door):
    return Checks(door.database, door.settings)


def wanted(checks, region, shares=ALL):
    checks.look()
    answer = Wanted.model_validate_json(checks.answer(region, shares))
    return {(one.monitor_id, one.member_id): one for one in answer.wanted}


def change(orchard, kind, key, **values):
    """As a wish does: the document, and who uses it has another generation."""
    with orchard.database.transaction() as tx:
        row = kind.load(rows.get(tx, kind, key)).model_copy(update=values)
        rows.change(tx, kind, row, at=f"2026-11-21T20:00:00.{next(orchard.ages):06d}")
    if kind is not GSLB_REGION:
        orchard.change_part(GSLB_POOL if kind is GSLB_MEMBER else kind, row.pool_id if kind is GSLB_MEMBER else key)


def test_what_nobody_uses_is_not_checked(orchard, region, checks):
    monitor = orchard.part(GSLB_MONITOR)
    pool = orchard.part(GSLB_POOL, monitors=[{"monitor_id": monitor}])
    member = orchard.part(GSLB_MEMBER, pool_id=pool)
    assert wanted(checks, region) == {}
    orchard.gslb(pools=[{"pool_id": pool}])
    assert wanted(checks, region).keys() == {(monitor, member)}


def test_a_monitor_is_made_from_its_regions_and_while_it_is_enabled_as_they_are(orchard, region, checks):
    known = orchard.whole()
    other = orchard.part(GSLB_REGION, name="ams")
    key = known["gslb_monitor"], known["gslb_member"]
    assert wanted(checks, region).keys() == wanted(checks, other).keys() == {key}
    change(orchard, GSLB_MONITOR, key[0], regions=[other])
    assert (wanted(checks, region).keys(), wanted(checks, other).keys()) == (set(), {key})
    change(orchard, GSLB_REGION, other, enabled=False)
    assert wanted(checks, other) == {}
    change(orchard, GSLB_REGION, other, enabled=True)
    change(orchard, GSLB_MONITOR, key[0], admin_state_up=False)
    assert wanted(checks, other) == {}


def test_a_check_says_where_and_how_and_is_in_its_members_share(orchard, region, checks):
    known = orchard.whole()
    member = orchard.part(
        GSLB_MEMBER,
        pool_id=known["gslb_pool"],
        address="192.0.2.9",
        port=80,
        monitor_address="2001:db8::1",
        monitor_port=81,
    )
    named = orchard.part(GSLB_MEMBER, pool_id=known["gslb_pool"], type="hostname", address=None, hostname="a.example")
    found = wanted(checks, region)
    check, other = found[known["gslb_monitor"], member], found[known["gslb_monitor"], named]
    assert (check.address, check.port, check.interval_s, check.rise, check.fall) == ("2001:db8::1", 81, 10.0, 2, 3)
    assert (other.address, other.port) == ("a.example", None)
    for key, one in found.items():
        assert one.share == share_of(key[1])
        assert wanted(checks, region, [one.share])[key] == one


def test_a_check_is_another_when_something_of_it_is_and_all_others_stay(orchard, region, checks):
    known = orchard.whole()
    second = orchard.part(GSLB_MEMBER, pool_id=known["gslb_pool"], address="192.0.2.2")
    before, version = wanted(checks, region), checks.version(region)
    assert not checks.look()
    change(orchard, GSLB_MEMBER, second, name="called otherwise")
    checks.look()
    assert checks.version(region) == version
    change(orchard, GSLB_MEMBER, second, port=8080)
    assert checks.look()
    after = wanted(checks, region)
    assert {key[1] for key in after if after[key] != before[key]} == {second}
    assert checks.version(region) != version


def test_a_load_balancer_is_checked_at_its_first_address_here_or_elsewhere(orchard, region, checks, door, caller):
    known, vip = orchard.whole(), "127.100.0.7"
    body = {"vip_subnet_id": initial.SUBNET_ID, "vip_address": vip}
    balancer = writes.create(door, caller, LOADBALANCER, body).document
    of_ours = {"pool_id": known["gslb_pool"], "type": "load_balancer", "address": None}
    here = orchard.part(GSLB_MEMBER, **of_ours, loadbalancer_id=balancer["id"])
    away = orchard.part(GSLB_MEMBER, **of_ours, loadbalancer_id=region, region_id=region)
    orchard.change_part(GSLB_POOL, known["gslb_pool"])
    monitor = known["gslb_monitor"]
    assert {key[1]: one.address for key, one in wanted(checks, region).items() if key[0] == monitor} == {
        known["gslb_member"]: "192.0.2.1",
        here: vip,
    }
    with door.database.transaction() as tx:
        loadbalancers.report(tx, region, [Told(region, ["198.51.100.7", "2001:db8::7"], "ONLINE", 9)])
    assert wanted(checks, region)[monitor, away].address == "198.51.100.7"


def test_only_the_region_of_this_installation_may_speak_to_its_own_addresses(orchard, region, door):
    here = home.ensure(door)
    settings = Settings(
        **{**door.settings.model_dump(), "gslb_allowed_targets": "10.0.0.0/8", "gslb_controls": "a:1,b:2"}
    )
    with door.database.transaction() as tx:
        for subnet in rows.find(tx, SUBNET):
            rows.change(tx, SUBNET, SUBNET.load({**subnet, "attachment": "loopback"}), at="2026-11-21T20:00:00.000001")
    checks = Checks(door.database, settings)
    checks.look()
    own, other = (json.loads(checks.answer(key, ALL)) for key in (here, region))
    assert own["allowed"] == ["10.0.0.0/8", "127.100.0.0/16"]
    assert other["allowed"] == ["10.0.0.0/8"]
    assert own["controls"] == other["controls"] == ["a:1", "b:2"]


def test_the_region_of_this_installation_is_made_once(door):
    key = home.ensure(door)
    assert home.ensure(door) == key
    with door.database.transaction() as tx:
        assert rows.get(tx, GSLB_REGION, key)["name"] == "local"
        rows.delete(tx, GSLB_REGION, [key])
    assert home.ensure(door) is None
