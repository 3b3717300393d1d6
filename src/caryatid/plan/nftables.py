# SPDX-License-Identifier: Apache-2.0
"""Which packets reach an amphora's namespace, as a ruleset for nftables: what nobody listens to is not answered.

Connections are not tracked: a table of them could fill up, and would be empty on the amphora that takes over. Who
begins a TCP connection sends a SYN alone, so that is what is looked at.
"""

from collections.abc import Iterable, Iterator, Sequence
from ipaddress import IPv4Network, IPv6Network, collapse_addresses, ip_network

from caryatid.model.amphora import Placed
from caryatid.model.listener import Listener
from caryatid.model.tree import Tree

PEERS_PORT = 1025
"""Where HAProxys of one load balancer tell each other about sessions."""
VRRP = 112
FAMILIES = {4: "ip", 6: "ip6"}
CARRIED = {"TCP": "tcp", "UDP": "udp", "SCTP": "sctp"}
Network = IPv4Network | IPv6Network


def render(tree: Tree, placed: Placed) -> str:
    """The whole ruleset; empty for an amphora that has no namespace. Raises ValueError for what is no address."""
    if not placed.legs:
        return ""
    return "\n".join([
        "flush ruleset",
        "table inet amphora {",
        "    chain input {",
        "        type filter hook input priority filter; policy drop;",
        *(f"        {rule}" for rule in _rules(tree, placed)),
        "    }",
        "}",
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
    for source in _any_of("saddr", peers):
        yield f"{source} meta l4proto {VRRP} accept"
        yield f"{source} tcp dport {PEERS_PORT} accept"
    vips = [ip_network(vip.ip_address) for vip in tree.vips]
    up = tree.loadbalancer.admin_state_up and not tree.deleted
    for listener in sorted((node.listener for node in tree.listeners), key=lambda listener: listener.id):
        if up and listener.admin_state_up:
            yield from _listener(listener, vips)


def _listener(listener: Listener, vips: Sequence[Network]) -> Iterator[str]:
    """IPv6 clients reach IPv6 VIPs alone, and so do their networks."""
    port = f"{CARRIED[listener.l4]} dport {listener.protocol_port:d}"
    for version in FAMILIES:
        for target in _any_of("daddr", [vip for vip in vips if vip.version == version]):
            if listener.allowed_cidrs is None:
                yield f"{target} {port} accept"
                continue
            networks = [ip_network(cidr, strict=False) for cidr in listener.allowed_cidrs]
            for source in _any_of("saddr", [network for network in networks if network.version == version]):
                yield f"{target} {port} {source} accept"


def _any_of(field: str, networks: Iterable[Network]) -> Iterator[str]:
    """For each family a match on any of these; overlapping ones would be refused."""
    known = list(networks)
    for version, family in FAMILIES.items():
        some = [network for network in known if network.version == version]
        if some:
            yield f"{family} {field} {{ {', '.join(map(str, _collapsed(some)))} }}"


def _collapsed(networks: Sequence[Network]) -> Iterator[Network]:
    four = [network for network in networks if isinstance(network, IPv4Network)]
    six = [network for network in networks if isinstance(network, IPv6Network)]
    yield from collapse_addresses(four)
    yield from collapse_addresses(six)
