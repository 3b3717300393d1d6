# SPDX-License-Identifier: Apache-2.0
"""Pairs: their own addresses, a standby that is away, and in which order they are replaced."""

import time

import pytest
from sqlalchemy import text

from caryatid.control import operator, writes
from caryatid.control.initial import NETWORK_ID
from caryatid.drivers.amphora.base import UnavailableException
from caryatid.model import AMPHORA, FLAVOR, LISTENER, LOADBALANCER, PORT, SUBNET
from caryatid.store import observations, rows, work


@pytest.fixture
def pair(door, caller, drain):
    """A load balancer of topology ACTIVE_STANDBY on a subnet of attachment uplink, in effect."""
    subnet = {"network_id": NETWORK_ID, "cidr": "10.9.0.0/28", "attachment": "uplink"}
    subnet_id = writes.create(door, caller, SUBNET, subnet).document["id"]
    with door.database.read() as tx:
        [flavor] = rows.find(tx, FLAVOR, name="active-standby")
    wanted = {"vip_subnet_id": subnet_id, "flavor_id": flavor["id"]}
    made = writes.create(door, caller, LOADBALANCER, wanted).document
    drain()
    return made


def amphorae(door, pair):
    with door.database.read() as tx:
        found = rows.find(tx, AMPHORA, loadbalancer_id=pair["id"])
    return {amphora["role"]: amphora for amphora in found}


def own_addresses(door):
    with door.database.read() as tx:
        return {port["ip_address"] for port in rows.find(tx, PORT) if port["device_owner"] == "amphora"}


def see_master(door, pair, role):
    """VRRP gives the VIPs to the amphora of this slot."""
    roles = {slot: "MASTER" if slot == role else "BACKUP" for slot in ("MASTER", "BACKUP")}
    with door.database.transaction() as tx:
        told = [("role", one["id"], pair["id"], roles[slot]) for slot, one in amphorae(door, pair).items()]
        observations.write(tx, told, time.time())


def status(door, kind, key):
    with door.database.read() as tx:
        return rows.get(tx, kind, key)["provisioning_status"]


def away(door, key):
    """The world no longer lets the amphora be reached."""
    driver = door.providers["amphora"].amphora
    real = driver.update_load_balancer

    def update(amphora, tree, stamp):
        if amphora.id == key:
            raise UnavailableException("no route")
        return real(amphora, tree, stamp)

    driver.update_load_balancer = update
    return lambda: delattr(driver, "update_load_balancer")


def make_due(door):
    with door.database.transaction() as tx:
        tx.connection.execute(text("UPDATE work SET due_at = 0 WHERE due_at IS NOT NULL"))


def test_each_of_a_pair_has_an_address_of_its_own_and_a_priority(door, pair):
    found = amphorae(door, pair)
    own = {amphora["vrrp_ip"] for amphora in found.values()}
    assert len(own) == 2
    assert pair["vip_address"] not in own
    assert own == own_addresses(door)
    assert found["MASTER"]["vrrp_priority"] > found["BACKUP"]["vrrp_priority"]
    assert found["MASTER"]["vrrp_id"] == found["BACKUP"]["vrrp_id"]


def test_own_addresses_go_with_the_amphorae(door, caller, pair, drain):
    writes.delete(door, caller, LOADBALANCER, pair["id"])
    drain()
    assert own_addresses(door) == set()


def test_a_subnet_without_room_for_own_addresses_keeps_the_load_balancer_pending(door, caller, drain):
    subnet = {"network_id": NETWORK_ID, "cidr": "10.8.0.0/30", "attachment": "uplink"}
    subnet_id = writes.create(door, caller, SUBNET, subnet).document["id"]
    with door.database.read() as tx:
        [flavor] = rows.find(tx, FLAVOR, name="active-standby")
    made = writes.create(door, caller, LOADBALANCER, {"vip_subnet_id": subnet_id, "flavor_id": flavor["id"]}).document
    drain()
    assert status(door, LOADBALANCER, made["id"]) == "PENDING_CREATE"
    with door.database.read() as tx:
        assert not rows.find(tx, AMPHORA, loadbalancer_id=made["id"]), "nothing is kept that cannot be connected"


def test_a_standby_that_is_away_neither_prevents_a_change_nor_is_forgotten(door, caller, pair, world, drain):
    see_master(door, pair, "MASTER")
    standby = amphorae(door, pair)["BACKUP"]["id"]
    back = away(door, standby)
    wanted = {"loadbalancer_id": pair["id"], "protocol": "HTTP", "protocol_port": 80}
    listener = writes.create(door, caller, LISTENER, wanted).document
    drain()
    assert status(door, LISTENER, listener["id"]) == "ACTIVE"
    assert not world.trees[standby].listeners
    back()
    make_due(door)
    drain()
    assert [node.listener.id for node in world.trees[standby].listeners] == [listener["id"]]
    assert work.next_due(door.database) is None, "nothing is left to do"


def test_a_change_is_not_in_effect_before_who_has_the_vips_has_it(door, caller, pair, drain):
    see_master(door, pair, "MASTER")
    back = away(door, amphorae(door, pair)["MASTER"]["id"])
    wanted = {"loadbalancer_id": pair["id"], "protocol": "HTTP", "protocol_port": 80}
    listener = writes.create(door, caller, LISTENER, wanted).document
    drain()
    assert status(door, LISTENER, listener["id"]) == "PENDING_CREATE"
    back()


@pytest.mark.parametrize("master", ["MASTER", "BACKUP"])
def test_a_pair_is_replaced_standby_first_and_never_both_at_once(door, caller, pair, world, drain, master):
    see_master(door, pair, master)
    before = amphorae(door, pair)
    kept = before[master]["id"]
    gone_while_kept = []

    def watch(_number, name):
        if name == "destroy" and kept in world.machines:
            gone_while_kept.append(len(world.machines))

    world.mishap = watch
    operator.failover(door, caller, pair["id"])
    drain()
    after = {amphora["id"] for amphora in amphorae(door, pair).values()}
    assert world.machines == after
    assert not after & {amphora["id"] for amphora in before.values()}
    assert gone_while_kept, "the standby went while the master was still there"
    assert status(door, LOADBALANCER, pair["id"]) == "ACTIVE"
