# SPDX-License-Identifier: Apache-2.0
"""What may stand beside what: the rules that no resource can judge alone (facts: octavia.md §2.5-§2.10, §2.18).

Two rules are indexes of the database instead, so that judging them needs no siblings: a member's address and port
are unique in its pool, and a pool has one health monitor. Pure; a tree here may lack its members.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address, ip_network

from caryatid.errors import Fault

from . import datagrams, limiting
from .datagrams import DATAGRAM_POOLS
from .flavor import Capabilities
from .healthmonitor import HealthMonitor
from .l7 import L7Policy, L7Rule
from .listener import Listener, ListenerProtocol
from .loadbalancer import LoadBalancer
from .member import Member
from .pool import Pool, PoolProtocol
from .ratelimit import RateLimitPolicy, RateLimitRule
from .resource import Provisioned, Row
from .tls import contiguous
from .tree import PoolNode, Tree

POOLS_OF: dict[ListenerProtocol, tuple[PoolProtocol, ...]] = {
    "TCP": ("HTTP", "HTTPS", "PROXY", "PROXYV2", "TCP"),
    "HTTP": ("HTTP", "PROXY", "PROXYV2"),
    "HTTPS": ("HTTPS", "PROXY", "PROXYV2", "TCP"),
    "TERMINATED_HTTPS": ("HTTP", "PROXY", "PROXYV2"),
    "UDP": ("UDP",),
    "SCTP": ("SCTP",),
    "PROMETHEUS": (),
}
"""Protocol of a listener → those of the pools that it can send to."""

DATAGRAM_MONITORS = ("UDP-CONNECT", "SCTP")
"""Only for datagram pools …"""
DATAGRAM_POOL_MONITORS = ("UDP-CONNECT", "SCTP", "TCP", "HTTP")
"""… which have no others than these."""


@dataclass(frozen=True)
class Limits:
    """How much there may be of what. Beyond them a request is refused."""

    members_per_pool: int = 5_000
    listeners: int = 100
    """Of a load balancer."""
    nested_objects: int = 1_000
    """In one fully populated create, members not counted."""
    rules_per_policy: int = 50
    """HAProxy reads 64 words a line."""
    rate_limits_per_listener: int = 20


def faults(tree: Tree, row: Row, *, limits: Limits) -> Iterator[Fault]:
    """What is wrong with `row` in `tree`, which has it already.

    Takes no time that grows with members, but for a pool whose members are in the tree.
    """
    match row:
        case LoadBalancer():
            yield from _loadbalancer(tree, row)
        case Listener():
            yield from _listener(tree, row, limits)
        case Pool():
            yield from _pool(tree, row, limits)
        case Member():
            yield from _member(tree, row)
        case HealthMonitor():
            yield from _healthmonitor(tree, row)
        case L7Policy():
            yield from _l7policy(tree, row, limits)
        case L7Rule():
            yield from _l7rule(tree, row, limits)
        case RateLimitPolicy():
            yield from limiting.policy_faults(tree, row, limits.rate_limits_per_listener, limits.rules_per_policy)
        case RateLimitRule():
            yield from limiting.rule_faults(tree, row, limits.rules_per_policy)
        case _:
            return


def size_faults(tree: Tree, *, limits: Limits) -> Iterator[Fault]:
    """Whether a fully populated create asks for too much at once."""
    count = len(tree.listeners) + len(tree.pools) + sum(node.healthmonitor is not None for node in tree.pools)
    count += sum(1 + len(policy.rules) for policy in tree.policies)
    count += sum(1 + len(limit.rules) for limit in tree.rate_limits)
    if count > limits.nested_objects:
        yield Fault(
            f"Validation failure: {count} objects in one request are too many; the limit is {limits.nested_objects}.",
            "loadbalancer",
        )


def crowded(members: int, *, limits: Limits) -> Iterator[Fault]:
    """Whether so many members are too many for a pool."""
    if members > limits.members_per_pool:
        yield Fault(f"Validation failure: A pool has at most {limits.members_per_pool} members here.", "members")


def delete_faults(tree: Tree, row: Row) -> Iterator[Fault]:
    """Why `row` cannot be deleted from `tree`; a cascading delete does not ask."""
    if isinstance(row, LoadBalancer) and (tree.listeners or tree.pools):
        yield Fault(f"Cannot delete Load Balancer {row.id} - it has children", "id")
    if isinstance(row, Pool):
        for node in tree.policies:
            if node.policy.redirect_pool_id == row.id:
                yield Fault(f"Pool {row.id} is in use by L7 policy {node.policy.id}", "id", 409)


def unsupported(tree: Tree, row: Row, capabilities: Capabilities, provider: str) -> Iterator[Fault]:
    """What of `row` the provider's drivers cannot do: a 501 each."""
    reasons = dict(capabilities.reasons)
    parts = (_beyond, datagrams.beyond, limiting.beyond)
    for attribute, word, what in (found for part in parts for found in part(tree, row, capabilities)):
        reason = reasons.get(word)
        because = f" {reason}" if reason else ""
        yield Fault(
            f"Provider '{provider}' does not support a requested option: {what} ({attribute}).{because}", attribute, 501
        )


def _beyond(tree: Tree, row: Row, can: Capabilities) -> Iterator[tuple[str, str, str]]:
    """Attribute, word and description of each thing that is asked of `row` beyond what is declared."""
    match row:
        case LoadBalancer():
            topology = str(tree.flavor.get("loadbalancer_topology", "SINGLE"))
            if topology not in can.topologies:
                yield "flavor_id", topology, f"load balancers of topology {topology}"
        case Listener():
            yield from _listener_beyond(row, can)
        case Pool():
            yield from _pool_beyond(row, can)
        case HealthMonitor() if row.type not in can.monitor_types:
            yield "type", row.type, f"health monitors of type {row.type}"
        case L7Policy():
            node = tree.listener(row.listener_id)
            if node and node.listener.protocol not in (*can.l7_protocols, "PROMETHEUS"):
                yield "listener_id", "l7policies", f"L7 policies on {node.listener.protocol} listeners"
        case _:
            return


def _listener_beyond(row: Listener, can: Capabilities) -> Iterator[tuple[str, str, str]]:
    if row.protocol not in can.listener_protocols:
        yield "protocol", row.protocol, f"listeners of protocol {row.protocol}"
    elif row.certificates:
        yield from _versions_beyond(row, can)


def _pool_beyond(row: Pool, can: Capabilities) -> Iterator[tuple[str, str, str]]:
    if row.protocol not in can.pool_protocols:
        yield "protocol", row.protocol, f"pools of protocol {row.protocol}"
    if row.lb_algorithm not in datagrams.algorithms(row, can):
        yield "lb_algorithm", f"{row.protocol} {row.lb_algorithm}", f"algorithm {row.lb_algorithm}"
    if row.tls_enabled and not can.backend_tls:
        yield "tls_enabled", "tls_enabled", "TLS towards members"
    elif row.tls_enabled:
        yield from _versions_beyond(row, can)


def _versions_beyond(row: Listener | Pool, can: Capabilities) -> Iterator[tuple[str, str, str]]:
    wanted = row.tls_versions or []
    for version in wanted:
        if version not in can.tls_versions:
            yield "tls_versions", version, f"TLS version {version}"
    if not can.tls_version_gaps and len(contiguous(wanted)) < len(set(wanted)):
        yield "tls_versions", "tls_version_gaps", "TLS versions with a gap between them"


def _loadbalancer(tree: Tree, row: LoadBalancer) -> Iterator[Fault]:
    if row.vip_sg_ids and any(node.listener.allowed_cidrs for node in tree.listeners):
        yield _groups_exclude_cidrs("vip_sg_ids")


def _listener(tree: Tree, row: Listener, limits: Limits) -> Iterator[Fault]:
    others = [node.listener for node in tree.listeners if node.listener.id != row.id]
    if any((other.protocol_port, other.l4) == (row.protocol_port, row.l4) for other in others):
        yield Fault(
            f"Another Listener on this Load Balancer is already using protocol {row.protocol} and protocol_port "
            f"{row.protocol_port}",
            "protocol_port",
            409,
        )
    if _new(row) and len(others) >= limits.listeners:
        yield Fault(
            f"Validation failure: A load balancer has at most {limits.listeners} listeners here.", "loadbalancer_id"
        )
    if row.default_pool_id and row.protocol != "PROMETHEUS":
        yield from _pool_faults(tree, row.default_pool_id, row, "default_pool_id")
    yield from _cidr_faults(row, tree)


def _pool(tree: Tree, row: Pool, limits: Limits) -> Iterator[Fault]:
    users = {node.listener.id: node.listener for node in tree.listeners_of(row.id)}
    if row.listener_id and _new(row):
        node = tree.listener(row.listener_id)
        if node is None:
            yield Fault(f"Listener {row.listener_id} not found.", "listener_id", 404)
        else:
            users[node.listener.id] = node.listener
            if node.listener.default_pool_id not in (None, row.id):
                yield Fault("This listener already has a default pool", "listener_id", 409)
    for listener in users.values():
        yield from _protocol_faults(row, listener, "protocol")
    here = tree.pool(row.id)
    if here is not None:
        yield from _member_faults(here, limits)


def _member(tree: Tree, row: Member) -> Iterator[Fault]:
    if tree.pool(row.pool_id) is None:
        yield _not_found("Pool", row.pool_id, "pool_id")
    if row.request_sriov and not tree.flavor.get("allow_member_sriov"):
        yield Fault("Validation failure: The load balancer flavor does not allow SR-IOV member ports.", "request_sriov")


def _healthmonitor(tree: Tree, row: HealthMonitor) -> Iterator[Fault]:
    node = tree.pool(row.pool_id)
    if node is None:
        yield _not_found("Pool", row.pool_id, "pool_id")
        return
    protocol = node.pool.protocol
    if protocol in DATAGRAM_POOLS and row.type not in DATAGRAM_POOL_MONITORS:
        yield Fault(
            f"Validation failure: The associated pool protocol is {protocol}, so only a "
            f"{'/'.join(DATAGRAM_POOL_MONITORS)} health monitor is supported.",
            "type",
        )
    if row.type in DATAGRAM_MONITORS and protocol not in DATAGRAM_POOLS:
        yield Fault(
            f"Validation failure: The {row.type} type is only supported for pools of type {'/'.join(DATAGRAM_POOLS)}.",
            "type",
        )


def _l7policy(tree: Tree, row: L7Policy, limits: Limits) -> Iterator[Fault]:
    node = tree.listener(row.listener_id)
    if node is None:
        yield _not_found("Listener", row.listener_id, "listener_id")
        return
    if node.listener.protocol == "PROMETHEUS":
        yield Fault("Protocol PROMETHEUS listeners cannot have child objects.", "listener_id")
    elif row.redirect_pool_id:
        yield from _pool_faults(tree, row.redirect_pool_id, node.listener, "redirect_pool_id")
    here = next((policy for policy in node.l7policies if policy.policy.id == row.id), None)
    if here is not None and len(here.rules) > limits.rules_per_policy:
        yield _too_many_rules(row.id)


def _l7rule(tree: Tree, row: L7Rule, limits: Limits) -> Iterator[Fault]:
    policy = next((node for node in tree.policies if node.policy.id == row.l7policy_id), None)
    if policy is None:
        yield _not_found("L7Policy", row.l7policy_id, "l7policy_id")
    elif _new(row) and len(policy.rules) > limits.rules_per_policy and policy.rules[-1].id == row.id:
        yield _too_many_rules(row.l7policy_id)


def _pool_faults(tree: Tree, pool_id: str, listener: Listener, attribute: str) -> Iterator[Fault]:
    node = tree.pool(pool_id)
    if node is None:
        yield _not_found("Pool", pool_id, attribute)
    else:
        yield from _protocol_faults(node.pool, listener, attribute)


def _protocol_faults(pool: Pool, listener: Listener, attribute: str) -> Iterator[Fault]:
    if pool.protocol not in POOLS_OF[listener.protocol]:
        yield Fault(
            f"Validation failure: The pool protocol '{pool.protocol}' is invalid while the listener protocol is "
            f"'{listener.protocol}'.",
            attribute,
        )


def _cidr_faults(row: Listener, tree: Tree) -> Iterator[Fault]:
    if not row.allowed_cidrs:
        return
    if tree.loadbalancer.vip_sg_ids:
        yield _groups_exclude_cidrs("allowed_cidrs")
    addresses = [vip.ip_address for vip in tree.vips]
    versions = {ip_address(address).version for address in addresses}
    for cidr in row.allowed_cidrs:
        if versions and ip_network(cidr).version not in versions:
            yield Fault(
                f"Validation failure: CIDR {cidr} IP version incompatible with all VIPs {addresses} IP version.",
                "allowed_cidrs",
            )


def _member_faults(node: PoolNode, limits: Limits) -> Iterator[Fault]:
    yield from crowded(len(node.members), limits=limits)
    places = Counter((member.address, member.protocol_port) for member in node.members)
    for (address, port), count in places.items():
        if count > 1:
            yield Fault(
                f"Another member on this pool is already using ip {address} on protocol_port {port}", "members", 409
            )


def _new(row: Provisioned) -> bool:
    """Whether the row is being created. A limit that was lowered later must not stop changes of what is there."""
    return row.updated_at in (None, row.created_at)


def _not_found(title: str, key: str, attribute: str) -> Fault:
    return Fault(f"{title} {key} not found.", attribute, 404)


def _too_many_rules(policy_id: str) -> Fault:
    return Fault(f"Too many rules on L7 policy {policy_id}", "rules", 409)


def _groups_exclude_cidrs(attribute: str) -> Fault:
    return Fault("Validation failure: Allowed CIDRs are not allowed when using custom VIP Security Groups.", attribute)
