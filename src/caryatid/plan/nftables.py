# SPDX-License-Identifier: Apache-2.0
"""Which packets reach an amphora's namespace, as a ruleset for nftables: what nobody listens to is not answered.

Connections are not tracked: a table of them could fill up, and would be empty on the amphora that takes over. Who
begins a TCP connection sends a SYN alone, so that is what is looked at. (Flows of datagrams are: see datagrams.py.)
"""

from collections.abc import Iterator, Sequence
from ipaddress import ip_network

from caryatid.model.amphora import Placed
from caryatid.model.datagrams import DATAGRAM_POOLS
from caryatid.model.listener import Listener
from caryatid.model.tree import Tree

from . import datagrams
from .addresses import FAMILIES, Network, any_of

PEERS_PORT = 1025
"""Where HAProxys of one load balancer tell each other about sessions."""
VRRP = 112
REPLACED = ("add table inet amphora", "delete table inet amphora")
"""Before what replaces it; that of datagrams.py goes on."""


def render(tree: Tree, placed: Placed) -> str:
    """The whole ruleset; empty for an amphora that has no namespace. Raises ValueError for what is no address."""
    if not placed.legs:
        return ""
    carries = bool(datagrams.served(tree))
    return "\n".join([
        *(REPLACED if carries else ("flush ruleset",)),
        "table inet amphora {",
        "    chain input {",
        "        type filter hook input priority filter; policy drop;",
        *(f"        {rule}" for rule in _rules(tree, placed)),
        "    }",
        "}",
        *(datagrams.render(tree, placed) if carries else ()),
        "",
    ])


def _rules(tree: Tree, placed: Placed) -> Iterator[str]:
    yield 'iifname "lo" accept'
    yield "tcp flags & (fin | syn | rst | ack) != syn accept"
    yield "icmp type { echo-request, echo-reply, destination-unreachable, time-exceeded, parameter-problem } accept"
    yield (
        "icmpv6 type { echo-request, echo-reply, destination-unreachable, packet-too-big, time-exceeded, "
        "parameter-problem, nd-neighbor-solicit, nd-neighbor-advert, mld-listener-query } accept"
    )
    peers = [ip_network(peer.vrrp_ip) for peer in placed.peers if peer.vrrp_ip]
    for source in any_of("saddr", peers):
        yield f"{source} meta l4proto {VRRP} accept"
        yield f"{source} tcp dport {PEERS_PORT} accept"
    vips = [ip_network(vip.ip_address) for vip in tree.vips]
    up = tree.loadbalancer.admin_state_up and not tree.deleted
    for listener in sorted((node.listener for node in tree.listeners), key=lambda listener: listener.id):
        if up and listener.admin_state_up and listener.l4 not in DATAGRAM_POOLS:
            yield from _listener(listener, vips)
    if datagrams.served(tree):
        yield "ct state established,related accept"
        yield from datagrams.refused(tree)


def _listener(listener: Listener, vips: Sequence[Network]) -> Iterator[str]:
    """IPv6 clients reach IPv6 VIPs alone, and so do their networks."""
    port = f"tcp dport {listener.protocol_port:d}"
    for version in FAMILIES:
        for target in any_of("daddr", [vip for vip in vips if vip.version == version]):
            if listener.allowed_cidrs is None:
                yield f"{target} {port} accept"
                continue
            networks = [ip_network(cidr, strict=False) for cidr in listener.allowed_cidrs]
            for source in any_of("saddr", [network for network in networks if network.version == version]):
                yield f"{target} {port} {source} accept"
