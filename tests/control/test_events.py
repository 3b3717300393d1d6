# SPDX-License-Identifier: Apache-2.0
"""What the log tells of wishes and of what is done for them."""

import pytest

from caryatid.control import writes
from caryatid.control.initial import SUBNET_ID
from caryatid.model import LISTENER, LOADBALANCER, POOL
from caryatid.model.event import BEGINNING
from caryatid.store import events


@pytest.fixture
def log(door):
    def read(since=BEGINNING):
        with door.database.read() as tx:
            return [(f"{one['kind']}.{one['action']}", one["user_id"]) for one in events.after(tx, since)]

    return read


@pytest.fixture
def now(door):
    def read():
        with door.database.read() as tx:
            return events.last(tx)

    return read


def test_a_load_balancer_s_life_is_told(door, caller, drain, log, now):
    begin = now()
    root = writes.create(door, caller, LOADBALANCER, {"vip_subnet_id": SUBNET_ID}).document
    drain()
    assert log(begin) == [
        ("loadbalancer.create", caller.user_id),
        ("loadbalancer.create.begin", "system:worker"),
        ("amphora.create", "system:worker"),
        ("loadbalancer.create.end", "system:worker"),
    ]
    begin = now()
    writes.delete(door, caller, LOADBALANCER, root["id"])
    drain()
    assert log(begin) == [
        ("loadbalancer.delete", caller.user_id),
        ("loadbalancer.delete.begin", "system:worker"),
        ("amphora.removed", "system:worker"),
        ("loadbalancer.delete.end", "system:worker"),
    ]


def test_what_one_attempt_carries_out_together_begins_and_ends_one_by_one(door, caller, drain, log, now):
    root = writes.create(door, caller, LOADBALANCER, {"vip_subnet_id": SUBNET_ID}).document
    drain()
    begin = now()
    for number in (80, 81):
        body = {"loadbalancer_id": root["id"], "protocol": "HTTP", "protocol_port": number}
        writes.create(door, caller, LISTENER, body)
    drain()
    assert [name for name, _ in log(begin)] == [
        *["listener.create"] * 2,
        *["listener.create.begin"] * 2,
        *["listener.create.end"] * 2,
    ]


def test_a_refused_wish_is_in_no_event(door, caller, log, now):
    begin = now()
    with pytest.raises(Exception, match="not found"):
        writes.create(door, caller, POOL, {"listener_id": SUBNET_ID, "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN"})
    assert log(begin) == []
