# SPDX-License-Identifier: Apache-2.0
"""VIPs that are a host's own addresses (attachment `host`): the amphora goes where the address is."""

import json
from uuid import uuid4

import pytest

from caryatid.config import Settings
from caryatid.control import initial, writes
from caryatid.errors import Refused
from caryatid.model import AMPHORA, FLAVOR, FLAVORPROFILE, HOST, LOADBALANCER, SUBNET
from caryatid.store import jobs, migrate, rows, work
from caryatid.store.database import Database
from tests.doors import open_door


@pytest.fixture
def door(tmp_path, world):
    """Amphorae are on hosts that have enrolled; what runs there is the noop world."""
    url = f"sqlite:///{tmp_path}/caryatid.db"
    migrate.upgrade(url)
    settings = Settings(state_dir=tmp_path, amphora_driver="noop", compute_driver="hosts", network_driver="noop")
    database = Database(url)
    door = open_door(database, settings)
    initial.ensure(door)
    yield door
    database.close()


@pytest.fixture
def subnet_id(door, caller):
    body = {"network_id": initial.NETWORK_ID, "cidr": "192.0.2.0/24", "attachment": "host"}
    return writes.create(door, caller, SUBNET, body).document["id"]


def enrol(door, name, *addresses, attachments=("loopback", "host")):
    host_id, at = str(uuid4()), "2026-11-21T00:00:00.000000"
    said = {"agent_url": f"https://{name}:1", "attachments": [*attachments], "addresses": [*addresses]}
    with door.database.transaction() as tx:
        rows.insert(tx, HOST, [HOST.model(id=host_id, created_at=at, name=name, **said)])
        work.retry_all(tx)
    return host_id


def create(door, caller, subnet_id, **body):
    return writes.create(door, caller, LOADBALANCER, {"vip_subnet_id": subnet_id, **body})


def where(door, root_id):
    with door.database.read() as tx:
        return [one["compute_id"] for one in rows.find(tx, AMPHORA, loadbalancer_id=root_id)]


def test_an_amphora_goes_to_the_host_that_has_the_address(door, caller, drain, subnet_id):
    enrol(door, "a", "192.0.2.4")
    b = enrol(door, "b", "192.0.2.5", "2001:db8::5")
    enrol(door, "c", "192.0.2.6")
    made = create(door, caller, subnet_id, vip_address="192.0.2.5").document
    drain()
    assert where(door, made["id"]) == [b]


def test_an_address_that_nobody_has_is_waited_for_and_the_job_names_it(door, caller, drain, subnet_id):
    enrol(door, "a", "192.0.2.4")
    accepted = create(door, caller, subnet_id, vip_address="192.0.2.5")
    drain()
    with door.database.read() as tx:
        job = jobs.get(tx, accepted.job_id)
    assert job["state"] == "retrying"
    assert "has address 192.0.2.5" in job["reason"]
    b = enrol(door, "b", "192.0.2.5")
    drain()
    assert where(door, accepted.document["id"]) == [b]


def test_a_host_that_may_not_offer_its_addresses_does_not(door, caller, drain, subnet_id):
    enrol(door, "a", "192.0.2.5", attachments=("loopback",))
    made = create(door, caller, subnet_id, vip_address="192.0.2.5").document
    drain()
    assert where(door, made["id"]) == []


def test_an_address_that_is_chosen_is_one_that_a_host_has(door, caller, subnet_id):
    enrol(door, "a", "198.51.100.4", "192.0.2.77")
    assert create(door, caller, subnet_id).document["vip_address"] == "192.0.2.77"
    with pytest.raises(Refused, match="enough available IPs"):
        create(door, caller, subnet_id)


def test_load_balancers_that_share_an_address_are_on_the_host_that_has_it(door, caller, drain, subnet_id):
    enrol(door, "a", "192.0.2.4")
    b = enrol(door, "b", "192.0.2.5")
    made = [create(door, caller, subnet_id, vip_address="192.0.2.5").document["id"] for _ in range(2)]
    drain()
    assert [where(door, root_id) for root_id in made] == [[b], [b]]


def test_a_pair_cannot_share_the_address_of_one_host(door, caller, subnet_id):
    enrol(door, "a", "192.0.2.5")
    data = json.dumps({"loadbalancer_topology": "ACTIVE_STANDBY"})
    profile = {"name": "p", "provider_name": "amphora", "flavor_data": data}
    made = writes.create(door, caller, FLAVORPROFILE, profile).document["id"]
    flavor_id = writes.create(door, caller, FLAVOR, {"name": "f", "flavor_profile_id": made}).document["id"]
    with pytest.raises(Refused, match="attachment host"):
        create(door, caller, subnet_id, vip_address="192.0.2.5", flavor_id=flavor_id)
