# SPDX-License-Identifier: Apache-2.0
"""Load balancers that share an address which a host has anyhow: each has its own ports of it."""

import threading

import pytest

from caryatid.config import Settings
from caryatid.control import initial, writes
from caryatid.errors import Conflict, Refused
from caryatid.model import LISTENER, LOADBALANCER, NETWORK, PORT, SUBNET
from caryatid.model.policy import Caller
from caryatid.store import bindings, rows
from caryatid.store.database import Database
from tests.control.test_host_addresses import create, enrol
from tests.doors import open_door

ADDRESS = "192.0.2.5"
OTHER = Caller("other", "theirs", is_admin=True)


@pytest.fixture
def door(tmp_path, world, database_url):
    settings = Settings(state_dir=tmp_path, amphora_driver="noop", compute_driver="hosts", network_driver="noop")
    database = Database(database_url)
    door = open_door(database, settings)
    initial.ensure(door)
    yield door
    database.close()


@pytest.fixture
def subnet_id(door, caller):
    """On a network that every project may use; a host has two addresses of it."""
    network = writes.create(door, caller, NETWORK, {"shared": True}).document["id"]
    enrol(door, "a", ADDRESS, "192.0.2.6")
    body = {"network_id": network, "cidr": "192.0.2.0/24", "attachment": "host"}
    return writes.create(door, caller, SUBNET, body).document["id"]


@pytest.fixture
def pair(door, caller, subnet_id, drain):
    """Two load balancers of two projects on one address; their ids."""
    made = [create(door, who, subnet_id, vip_address=ADDRESS).document["id"] for who in (caller, OTHER)]
    drain()
    return made


def listen(door, caller, root_id, port=80, protocol="TCP"):
    body = {"loadbalancer_id": root_id, "protocol": protocol, "protocol_port": port}
    return writes.create(door, caller, LISTENER, body).document["id"]


def places(door, root_id):
    with door.database.read() as tx:
        return [(place.port, place.protocol) for place in bindings.held_by(tx, root_id)]


def test_a_port_of_the_address_is_one_load_balancer_s(door, caller, pair):
    one, other = pair
    listen(door, caller, one)
    with pytest.raises(Refused) as refused:
        listen(door, OTHER, other)
    (fault,) = refused.value.faults
    text = f"Another load balancer is already using protocol TCP and protocol_port 80 of address {ADDRESS}"
    assert (fault.status, fault.attribute, fault.message) == (409, "protocol_port", text)
    listen(door, OTHER, other, 81)
    listen(door, OTHER, other, 80, "UDP")
    assert (places(door, one), sorted(places(door, other))) == ([(80, "TCP")], [(80, "UDP"), (81, "TCP")])


def test_the_ports_of_a_fully_populated_create_are_all_free_or_nothing_is_made(door, caller, pair, subnet_id):
    listen(door, caller, pair[0])
    body = {"vip_subnet_id": subnet_id, "vip_address": ADDRESS}
    for port, made in ((80, False), (90, True)):
        given = {"loadbalancer_id": (key := f"00000000-0000-4000-8000-0000000000{port}")}
        child = writes.Wanted(LISTENER, f"{key[:-2]}a{port // 10}", {"protocol": "HTTP", "protocol_port": port}, given)
        try:
            writes.create_tree(door, caller, body, [child], loadbalancer_id=key)
        except Refused as refused:
            assert [fault.status for fault in refused.faults] == [409]
        with door.database.read() as tx:
            assert bool(rows.get(tx, LOADBALANCER, key)) == made


def test_a_listener_s_port_is_free_for_others_when_it_is_gone_and_for_its_own_at_once(door, caller, pair, drain):
    one, other = pair
    first = listen(door, caller, one)
    drain()
    writes.delete(door, caller, LISTENER, first)
    with pytest.raises(Refused):
        listen(door, OTHER, other)
    second = listen(door, caller, one)
    drain()
    assert places(door, one) == [(80, "TCP")], "that of the second is not freed with the first"
    writes.delete(door, caller, LISTENER, second)
    drain()
    listen(door, OTHER, other)


def test_a_load_balancer_that_goes_frees_only_what_is_its_own(door, caller, pair, subnet_id, drain):
    one, other = pair
    listen(door, caller, one)
    listen(door, OTHER, other, 81)
    writes.delete(door, caller, LOADBALANCER, one, cascade=True)
    drain()
    assert (places(door, one), places(door, other)) == ([], [(81, "TCP")])
    listen(door, OTHER, other, 80)
    with door.database.read() as tx:
        ports = rows.find(tx, PORT, subnet_id=subnet_id, ip_address=ADDRESS)
    assert [port["device_id"] for port in ports] == [other]


def test_who_asks_for_no_address_gets_one_that_nobody_has(door, caller, pair, subnet_id):
    assert create(door, caller, subnet_id).document["vip_address"] == "192.0.2.6"
    with pytest.raises(Refused, match="enough available IPs"):
        create(door, caller, subnet_id)


def test_a_port_of_a_user_s_own_is_not_shared(door, caller, pair, subnet_id):
    wanted = {"subnet_id": subnet_id, "ip_address": ADDRESS}
    with pytest.raises(Conflict, match="already in use"):
        writes.create(door, caller, PORT, wanted)
    writes.create(door, caller, PORT, {**wanted, "ip_address": "192.0.2.6"})
    with pytest.raises(Conflict, match="already in use"):
        create(door, OTHER, subnet_id, vip_address="192.0.2.6")


def test_addresses_that_no_host_has_before_are_not_shared(door, caller):
    body = {"network_id": initial.NETWORK_ID, "cidr": "198.51.100.0/24", "attachment": "uplink"}
    subnet_id = writes.create(door, caller, SUBNET, body).document["id"]
    create(door, caller, subnet_id, vip_address="198.51.100.9")
    with pytest.raises(Conflict, match="already in use"):
        create(door, caller, subnet_id, vip_address="198.51.100.9")


def test_of_two_at_once_one_has_the_port(door, caller, pair):
    outcomes, start = [], threading.Barrier(2)

    def try_it(root_id):
        start.wait(10)
        try:
            outcomes.append(listen(door, caller, root_id) and "made")
        except (Conflict, Refused):
            outcomes.append("refused")

    threads = [threading.Thread(target=try_it, args=(root_id,)) for root_id in pair]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(outcomes) == ["made", "refused"]
    assert sorted(places(door, pair[0]) + places(door, pair[1])) == [(80, "TCP")]
