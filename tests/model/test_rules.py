# SPDX-License-Identifier: Apache-2.0
"""What may stand beside what, with the texts and statuses that clients know."""

from collections.abc import Callable, Iterable
from typing import Any

import pytest

from caryatid.errors import Fault
from caryatid.model.flavor import Capabilities
from caryatid.model.resource import Row
from caryatid.model.rules import POOLS_OF, Limits, delete_faults, faults, size_faults, unsupported
from caryatid.model.tree import Tree

Grow = Callable[[Any], Tree]
LIMITS = Limits()
POOL = {"name": "blue", "protocol": "HTTP"}
WEB = {"name": "web", "protocol": "HTTP", "protocol_port": 80}
RULE = {"type": "PATH", "compare_type": "EQUAL_TO", "value": "/a"}


def tree_of(grow: Grow, *listeners: Any, pools: Iterable[Any] = (), **more: Any) -> Tree:
    return grow({"listeners": listeners, "pools": list(pools), **more})


def found(tree: Tree, row: Row, limits: Limits = LIMITS) -> list[tuple[int, str, str]]:
    return [(fault.status, fault.attribute, fault.message) for fault in faults(tree, row, limits=limits)]


def changed(row: Any, **values: Any) -> Any:
    return row.model_copy(update=values)


def listener(tree: Tree, place: int = 0) -> Any:
    return tree.listeners[place].listener


@pytest.mark.parametrize(("one", "other", "clash"), [
    ("HTTP", "TCP", True), ("TCP", "PROMETHEUS", True), ("UDP", "UDP", True),
    ("HTTP", "UDP", False), ("SCTP", "UDP", False), ("SCTP", "TCP", False),
])  # fmt: skip
def test_a_port_is_taken_once_a_transport_protocol(grow: Grow, one: str, other: str, clash: bool) -> None:
    tree = tree_of(grow, {**WEB, "protocol": one}, {**WEB, "name": "more", "protocol": other})
    text = f"Another Listener on this Load Balancer is already using protocol {other} and protocol_port 80"
    assert found(tree, listener(tree, 1)) == ([(409, "protocol_port", text)] if clash else [])


def test_a_load_balancer_has_so_many_listeners_but_those_there_are_may_be_changed(grow: Grow) -> None:
    tree = tree_of(grow, *({**WEB, "name": str(port), "protocol_port": port} for port in (1, 2, 3)))
    text = "Validation failure: A load balancer has at most 2 listeners here."
    assert found(tree, listener(tree), Limits(listeners=2)) == [(400, "loadbalancer_id", text)]
    assert found(tree, listener(tree), Limits(listeners=3)) == []
    assert found(tree, changed(listener(tree), updated_at="2026-11-20T20:00:00.000000"), Limits(listeners=2)) == []


def test_a_default_pool_must_exist_on_the_load_balancer(grow: Grow, id_of: Any) -> None:
    tree = tree_of(grow, {**WEB, "default_pool": "gone"})
    assert found(tree, listener(tree)) == [(404, "default_pool_id", f"Pool {id_of('pool', 'gone')} not found.")]


@pytest.mark.parametrize("protocol", ["TCP", "HTTP", "HTTPS", "UDP", "SCTP"])
@pytest.mark.parametrize("pool", ["HTTP", "HTTPS", "PROXY", "PROXYV2", "TCP", "UDP", "SCTP"])
def test_listeners_send_to_pools_that_speak_what_they_can_pass_on(grow: Grow, protocol: Any, pool: Any) -> None:
    tree = tree_of(grow, {**WEB, "protocol": protocol, "default_pool": "blue"}, pools=[{**POOL, "protocol": pool}])
    text = f"Validation failure: The pool protocol '{pool}' is invalid while the listener protocol is '{protocol}'."
    good = pool in POOLS_OF[protocol]
    assert found(tree, listener(tree)) == ([] if good else [(400, "default_pool_id", text)])
    assert found(tree, tree.pools[0].pool) == ([] if good else [(400, "protocol", text)])


def test_the_protocols_of_pools_are_those_of_the_contract() -> None:
    assert {name: set(pools) for name, pools in POOLS_OF.items()} == {
        "TCP": {"HTTP", "HTTPS", "PROXY", "PROXYV2", "TCP"},
        "HTTP": {"HTTP", "PROXY", "PROXYV2"},
        "HTTPS": {"HTTPS", "PROXY", "PROXYV2", "TCP"},
        "TERMINATED_HTTPS": {"HTTP", "PROXY", "PROXYV2"},
        "UDP": {"UDP"},
        "SCTP": {"SCTP"},
        "PROMETHEUS": set(),
    }


def test_allowed_networks_must_be_of_a_family_that_a_vip_has(grow: Grow) -> None:
    cidrs = {"allowed_cidrs": ["192.0.2.0/24", "2001:db8::/32"]}
    tree = tree_of(grow, {**WEB, **cidrs}, loadbalancer={"vip_address": "198.0.2.5"})
    text = "Validation failure: CIDR 2001:db8::/32 IP version incompatible with all VIPs ['198.0.2.5'] IP version."
    assert found(tree, listener(tree)) == [(400, "allowed_cidrs", text)]
    more = [{"subnet_id": "6f8c3a52-1111-4222-8333-444455556666", "ip_address": "2001:db8::5"}]
    both = tree_of(grow, {**WEB, **cidrs}, loadbalancer={"additional_vips": more})
    assert found(both, listener(both)) == []


def test_allowed_networks_and_security_groups_exclude_each_other(grow: Grow) -> None:
    groups = {"vip_sg_ids": ["6f8c3a52-1111-4222-8333-444455556666"]}
    tree = tree_of(grow, {**WEB, "allowed_cidrs": ["127.0.0.0/8"]}, loadbalancer=groups)
    text = "Validation failure: Allowed CIDRs are not allowed when using custom VIP Security Groups."
    assert found(tree, listener(tree)) == [(400, "allowed_cidrs", text)]
    assert found(tree, tree.loadbalancer) == [(400, "vip_sg_ids", text)]


def test_a_pool_made_for_a_listener_needs_one_that_is_there_and_free(grow: Grow, id_of: Any) -> None:
    tree = tree_of(grow, {**WEB, "default_pool": "red"}, pools=[POOL, {**POOL, "name": "red"}])
    pool = changed(tree.pools[0].pool, listener_id=id_of("listener", "web"))
    assert found(tree, pool) == [(409, "listener_id", "This listener already has a default pool")]
    gone = changed(pool, listener_id=id_of("listener", "gone"))
    assert found(tree, gone) == [(404, "listener_id", f"Listener {id_of('listener', 'gone')} not found.")]
    later = changed(pool, updated_at="2026-11-20T20:00:00.000000")
    assert found(tree, later) == []


def test_a_pool_made_for_a_listener_speaks_what_the_listener_passes_on(grow: Grow, id_of: Any) -> None:
    tree = tree_of(grow, WEB, pools=[{**POOL, "protocol": "TCP"}])
    pool = changed(tree.pools[0].pool, listener_id=id_of("listener", "web"))
    text = "Validation failure: The pool protocol 'TCP' is invalid while the listener protocol is 'HTTP'."
    assert found(tree, pool) == [(400, "protocol", text)]


def test_members_of_a_pool_are_so_many_and_each_at_its_own_place(grow: Grow) -> None:
    member = {"address": "192.0.2.1", "protocol_port": 80}
    members = [member, {**member, "name": "again"}, {**member, "protocol_port": 81}]
    tree = tree_of(grow, pools=[{**POOL, "members": members}])
    assert found(tree, tree.pools[0].pool, Limits(members_per_pool=2)) == [
        (400, "members", "Validation failure: A pool has at most 2 members here."),
        (409, "members", "Another member on this pool is already using ip 192.0.2.1 on protocol_port 80"),
    ]


def test_a_member_needs_its_pool_and_no_port_that_the_flavor_does_not_allow(grow: Grow, id_of: Any) -> None:
    wanted = {"address": "192.0.2.1", "protocol_port": 80, "request_sriov": True}
    tree = tree_of(grow, pools=[{**POOL, "members": [wanted]}])
    member = tree.pools[0].members[0]
    text = "Validation failure: The load balancer flavor does not allow SR-IOV member ports."
    assert found(tree, member) == [(400, "request_sriov", text)]
    allowing = tree_of(grow, pools=[{**POOL, "members": [wanted]}], flavor={"allow_member_sriov": True})
    assert found(allowing, member) == []
    gone = id_of("pool", "gone")
    assert found(allowing, changed(member, pool_id=gone)) == [(404, "pool_id", f"Pool {gone} not found.")]


ONLY = "so only a UDP-CONNECT/SCTP/TCP/HTTP health monitor is supported."


@pytest.mark.parametrize(("pool", "monitor", "text"), [
    ("UDP", "PING", f"The associated pool protocol is UDP, {ONLY}"),
    ("SCTP", "HTTPS", f"The associated pool protocol is SCTP, {ONLY}"),
    ("TCP", "UDP-CONNECT", "The UDP-CONNECT type is only supported for pools of type UDP/SCTP."),
    ("HTTP", "SCTP", "The SCTP type is only supported for pools of type UDP/SCTP."),
    ("UDP", "UDP-CONNECT", None), ("SCTP", "SCTP", None), ("UDP", "TCP", None), ("UDP", "HTTP", None),
    ("TCP", "TLS-HELLO", None),
])  # fmt: skip
def test_a_monitor_fits_its_pool(grow: Grow, pool: str, monitor: str, text: str | None) -> None:
    tree = tree_of(grow, pools=[{**POOL, "protocol": pool, "healthmonitor": {"type": monitor}}])
    row = tree.pools[0].healthmonitor
    assert row is not None
    assert found(tree, row) == ([(400, "type", f"Validation failure: {text}")] if text else [])


def test_a_monitor_needs_its_pool(grow: Grow, id_of: Any) -> None:
    tree = tree_of(grow, pools=[{**POOL, "healthmonitor": {"type": "TCP"}}])
    gone = id_of("pool", "gone")
    row = changed(tree.pools[0].healthmonitor, pool_id=gone)
    assert found(tree, row) == [(404, "pool_id", f"Pool {gone} not found.")]


def policies(*wanted: Any, protocol: str = "HTTP") -> dict[str, Any]:
    return {**WEB, "protocol": protocol, "l7policies": list(wanted)}


def test_a_policy_sends_to_a_pool_that_is_there_and_fits(grow: Grow, id_of: Any) -> None:
    wanted = policies(*({"action": "REDIRECT_TO_POOL", "redirect_pool": name} for name in ("gone", "tcp", "blue")))
    tree = tree_of(grow, wanted, pools=[POOL, {**POOL, "name": "tcp", "protocol": "TCP"}])
    first, second, third = (node.policy for node in tree.policies)
    assert found(tree, first) == [(404, "redirect_pool_id", f"Pool {id_of('pool', 'gone')} not found.")]
    text = "Validation failure: The pool protocol 'TCP' is invalid while the listener protocol is 'HTTP'."
    assert found(tree, second) == [(400, "redirect_pool_id", text)]
    assert found(tree, third) == []


def test_figures_have_no_policies(grow: Grow) -> None:
    tree = tree_of(grow, policies({"action": "REJECT"}, protocol="PROMETHEUS"))
    policy = next(tree.policies).policy
    assert found(tree, policy) == [(400, "listener_id", "Protocol PROMETHEUS listeners cannot have child objects.")]


def test_a_policy_has_so_many_rules_but_those_there_are_may_be_changed(grow: Grow) -> None:
    tree = tree_of(grow, policies({"action": "REJECT", "rules": [RULE] * 51}))
    node = next(tree.policies)
    text = f"Too many rules on L7 policy {node.policy.id}"
    assert found(tree, node.rules[-1]) == [(409, "rules", text)]
    assert found(tree, node.policy) == [(409, "rules", text)]
    assert found(tree, changed(node.rules[-1], updated_at="2026-11-20T20:00:00.000000")) == []
    fifty = tree_of(grow, policies({"action": "REJECT", "rules": [RULE] * 50}))
    assert found(fifty, next(fifty.policies).rules[-1]) == []


def test_policies_and_rules_need_what_they_hang_on(grow: Grow, id_of: Any) -> None:
    tree = tree_of(grow, policies({"action": "REJECT", "rules": [RULE]}))
    node, gone = next(tree.policies), id_of("gone")
    assert found(tree, changed(node.policy, listener_id=gone)) == [(404, "listener_id", f"Listener {gone} not found.")]
    rule = changed(node.rules[0], l7policy_id=gone)
    assert found(tree, rule) == [(404, "l7policy_id", f"L7Policy {gone} not found.")]


def test_a_fully_populated_create_has_a_limit_that_members_do_not_count_against(grow: Grow) -> None:
    members = [{"address": "192.0.2.1", "protocol_port": port} for port in range(1, 10)]
    pool = {**POOL, "members": members, "healthmonitor": {"type": "TCP"}}
    tree = tree_of(grow, policies({"action": "REJECT", "rules": [RULE]}), pools=[pool])
    assert list(size_faults(tree, limits=Limits(nested_objects=5))) == []
    assert [fault.status for fault in size_faults(tree, limits=Limits(nested_objects=4))] == [400]


def test_a_load_balancer_with_children_is_deleted_by_cascade_only(grow: Grow) -> None:
    full, empty = tree_of(grow, WEB), tree_of(grow)
    assert list(delete_faults(full, full.loadbalancer)) == [
        Fault(f"Cannot delete Load Balancer {full.loadbalancer.id} - it has children", "id")
    ]
    assert list(delete_faults(empty, empty.loadbalancer)) == []


def test_a_pool_that_a_policy_sends_to_is_not_deleted_but_a_default_pool_is(grow: Grow) -> None:
    wanted = {**policies({"action": "REDIRECT_TO_POOL", "redirect_pool": "blue"}), "default_pool": "red"}
    tree = tree_of(grow, wanted, pools=[POOL, {**POOL, "name": "red"}])
    blue, red = (node.pool for node in tree.pools)
    text = f"Pool {blue.id} is in use by L7 policy {next(tree.policies).policy.id}"
    assert list(delete_faults(tree, blue)) == [Fault(text, "id", 409)]
    assert list(delete_faults(tree, red)) == []


CAN = Capabilities(
    listener_protocols=frozenset({"HTTP", "TCP"}),
    pool_protocols=frozenset({"HTTP"}),
    algorithms=frozenset({"ROUND_ROBIN"}),
    monitor_types=frozenset({"HTTP"}),
    topologies=frozenset({"SINGLE"}),
    l7_protocols=frozenset({"HTTP"}),
    reasons=(("PING", "A ping needs a privilege."),),
)


def test_what_a_provider_does_not_declare_is_a_501_that_names_the_attribute(grow: Grow) -> None:
    pool = {"name": "blue", "protocol": "UDP", "lb_algorithm": "SOURCE_IP_PORT", "healthmonitor": {"type": "PING"}}
    wanted = policies({"action": "REJECT"}, protocol="UDP")
    pools = [pool, {**POOL, "name": "tls", "tls_enabled": True}]
    tree = tree_of(grow, wanted, pools=pools, flavor={"loadbalancer_topology": "X"})
    udp, tls = tree.pools
    rows = [tree.loadbalancer, listener(tree), udp.pool, tls.pool, udp.healthmonitor, next(tree.policies).policy]
    refused = [fault for row in rows if row for fault in unsupported(tree, row, CAN, "amphora")]
    attributes = ["flavor_id", "protocol", "protocol", "lb_algorithm", "tls_enabled", "type", "listener_id"]
    assert [fault.attribute for fault in refused] == attributes
    assert {fault.status for fault in refused} == {501}
    assert all(f.message.startswith("Provider 'amphora' does not support a requested option: ") for f in refused)
    assert refused[5].message.endswith("health monitors of type PING (type). A ping needs a privilege.")


def test_what_a_provider_declares_is_supported(grow: Grow) -> None:
    member = {"address": "192.0.2.1", "protocol_port": 80}
    pool = {**POOL, "members": [member], "healthmonitor": {"type": "HTTP"}}
    tree = tree_of(grow, policies({"action": "REJECT", "rules": [RULE]}), pools=[pool])
    node = next(tree.policies)
    rows = [tree.loadbalancer, listener(tree), node.policy, node.rules[0], tree.pools[0].pool, *tree.pools[0].members]
    assert [fault for row in rows for fault in unsupported(tree, row, CAN, "amphora")] == []
