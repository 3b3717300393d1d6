# SPDX-License-Identifier: Apache-2.0
"""What may be asked of a provider that carries datagrams."""

from dataclasses import replace

import pytest

from caryatid.errors import Refused
from caryatid.model.flavor import Capabilities
from caryatid.model.pool import POOL
from caryatid.model.rules import unsupported

ALL = frozenset({"HTTP", "UDP", "ROUND_ROBIN", "LEAST_CONNECTIONS", "SOURCE_IP", "UDP-CONNECT"})
ID = "5f6f1f3c-0d5b-4b0e-9a54-2f4b5c1d7e90"
CAN = Capabilities(
    listener_protocols=ALL,
    pool_protocols=ALL,
    algorithms=ALL,
    monitor_types=ALL,
    topologies=frozenset({"SINGLE"}),
    l7_protocols=frozenset(),
    datagram_algorithms=frozenset({"ROUND_ROBIN", "SOURCE_IP_PORT"}),
    datagram_flows_max=100,
    datagram_families_apart=True,
    reasons=(("UDP LEAST_CONNECTIONS", "Hashed."), ("families", "Apart."), ("connection_limit", "Slow.")),
)


def refused(tree, row, can=CAN):
    """Status, attribute and last word of each fault."""
    faults = unsupported(tree, row, can, "x")
    return [(fault.status, fault.attribute, fault.message.rpartition(" ")[2]) for fault in faults]


def tree_of(grow, *members, algorithm="ROUND_ROBIN", protocol="UDP", **listener):
    rows = [{"address": address, "protocol_port": 53} for address in members]
    pool = {"name": "p", "protocol": protocol, "lb_algorithm": algorithm, "members": rows}
    listeners = [{"name": "l", "protocol": protocol, "default_pool": "p", **listener}]
    return grow({"loadbalancer": {"vip_address": "192.0.2.1"}, "listeners": listeners, "pools": [pool]})


@pytest.mark.parametrize(("protocol", "algorithm", "reasons"), [
    ("UDP", "LEAST_CONNECTIONS", ["Hashed."]),
    ("UDP", "SOURCE_IP_PORT", []),
    ("HTTP", "LEAST_CONNECTIONS", []),
    ("HTTP", "SOURCE_IP_PORT", ["(lb_algorithm)."]),
])  # fmt: skip
def test_pools_for_datagrams_have_algorithms_of_their_own(grow, protocol, algorithm, reasons):
    tree = tree_of(grow, protocol=protocol, algorithm=algorithm)
    assert refused(tree, tree.pools[0].pool) == [(501, "lb_algorithm", reason) for reason in reasons]


def test_a_provider_that_says_nothing_about_it_treats_them_alike(grow):
    tree = tree_of(grow, algorithm="LEAST_CONNECTIONS")
    assert refused(tree, tree.pools[0].pool, replace(CAN, datagram_algorithms=None)) == []


@pytest.mark.parametrize(("limit", "fine"), [(-1, True), (0, True), (100, True), (101, False)])
def test_so_many_flows_at_a_time_can_be_asked_for(grow, limit, fine):
    tree = tree_of(grow, connection_limit=limit)
    assert refused(tree, tree.listeners[0].listener) == ([] if fine else [(501, "connection_limit", "Slow.")])
    tree = tree_of(grow, connection_limit=limit, protocol="HTTP")
    assert refused(tree, tree.listeners[0].listener) == []


def test_members_are_of_the_families_that_vips_are_of(grow):
    tree = tree_of(grow, "192.0.2.2", "2001:db8::2")
    four, six = tree.pools[0].members
    assert (refused(tree, four), refused(tree, six)) == ([], [(501, "address", "Apart.")])
    assert refused(tree, six, replace(CAN, datagram_families_apart=False)) == []
    tree = tree_of(grow, "2001:db8::2", protocol="HTTP")
    assert refused(tree, tree.pools[0].members[0]) == []


MASKS = [("255.255.255.0", True), ("ffff:ffff::", True), ("24", False), ("1.2", False)]


@pytest.mark.parametrize(("mask", "good"), MASKS)
def test_clients_that_count_as_one_are_told_by_a_netmask(mask, good):
    persistence = {"type": "SOURCE_IP", "persistence_granularity": mask}
    body = {"protocol": "UDP", "lb_algorithm": "SOURCE_IP", "session_persistence": persistence, "listener_id": ID}
    given = {"id": ID, "project_id": "p", "created_at": "2026-11-20T19:05:00.000000"}
    if good:
        POOL.new(body, given)
    else:
        with pytest.raises(Refused, match="a netmask is"):
            POOL.new(body, given)
