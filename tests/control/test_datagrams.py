# SPDX-License-Identifier: Apache-2.0
"""Listeners and pools for datagrams are refused where they could not be carried, with the remedy."""

from uuid import uuid4

import pytest

from caryatid.config import Settings
from caryatid.control import initial, writes
from caryatid.drivers.amphora.haproxy import CAPABILITIES
from caryatid.drivers.noop import NoopAmphoraDriver
from caryatid.errors import Refused
from caryatid.model import HOST, LISTENER, LOADBALANCER, POOL, SUBNET
from caryatid.store import migrate, rows
from caryatid.store.database import Database
from tests.doors import open_door


class Driver(NoopAmphoraDriver):
    """Declares what HAProxy's does."""

    capabilities = CAPABILITIES


@pytest.fixture
def door(tmp_path, world):
    url = f"sqlite:///{tmp_path}/caryatid.db"
    migrate.upgrade(url)
    settings = Settings(state_dir=tmp_path, amphora_driver="noop", compute_driver="hosts", network_driver="noop")
    database = Database(url)
    made = open_door(database, settings, Driver())
    initial.ensure(made)
    yield made
    database.close()


def root_on(door, caller, attachment):
    body = {"network_id": initial.NETWORK_ID, "cidr": "127.9.0.0/24", "attachment": attachment}
    subnet_id = writes.create(door, caller, SUBNET, body).document["id"]
    wanted = {"vip_subnet_id": subnet_id, "vip_address": "127.9.0.7"}
    return writes.create(door, caller, LOADBALANCER, wanted).document["id"]


def wish(door, caller, kind, root_id, protocol="UDP"):
    """The messages of a refusal; none if it is accepted."""
    body = {"loadbalancer_id": root_id, "protocol": protocol}
    body |= {"protocol_port": 53} if kind is LISTENER else {"lb_algorithm": "ROUND_ROBIN"}
    try:
        writes.create(door, caller, kind, body)
    except Refused as refused:
        assert {fault.status for fault in refused.faults} == {501}
        return [fault.message for fault in refused.faults]
    return []


def enrol(door, *protocols):
    at = "2026-11-21T00:00:00.000000"
    known = {"agent_url": f"https://{uuid4()}:1", "created_at": at, "protocols": [*protocols]}
    with door.database.transaction() as tx:
        rows.insert(tx, HOST, [HOST.model(id=str(uuid4()), name="h", **known)])


@pytest.mark.parametrize("kind", [LISTENER, POOL])
@pytest.mark.parametrize("attachment", ["loopback", "host"])
def test_datagrams_need_a_network_and_the_refusal_says_which(door, caller, kind, attachment):
    [message] = wish(door, caller, kind, root_on(door, caller, attachment))
    assert f"of attachment {attachment}" in message
    assert "routed or uplink" in message


@pytest.mark.parametrize("kind", [LISTENER, POOL])
@pytest.mark.parametrize("attachment", ["uplink", "routed"])
def test_on_a_network_they_are_taken(door, caller, kind, attachment):
    root_id = root_on(door, caller, attachment)
    assert wish(door, caller, kind, root_id) == []
    enrol(door, "UDP")
    assert wish(door, caller, POOL, root_id) == []


def test_where_no_host_has_sctp_the_refusal_says_how_to_get_it(door, caller):
    root_id = root_on(door, caller, "uplink")
    enrol(door, "UDP")
    [message] = wish(door, caller, LISTENER, root_id, "SCTP")
    assert "none" not in message
    assert "kernel module `sctp`" in message
    enrol(door, "UDP", "SCTP")
    assert wish(door, caller, LISTENER, root_id, "SCTP") == []


def test_hosts_that_cannot_carry_datagrams_at_all_are_counted(door, caller):
    root_id = root_on(door, caller, "uplink")
    enrol(door)
    enrol(door)
    [message] = wish(door, caller, LISTENER, root_id)
    assert "any of the 2 hosts" in message
