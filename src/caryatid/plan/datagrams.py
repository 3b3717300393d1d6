# SPDX-License-Identifier: Apache-2.0
"""Listeners for datagrams, as a table of nftables: each flow is sent on to a member by address translation.

The first packet of a flow is hashed to a slot, a map says which member has the slot, and another where that member is.
Both maps are the agent's to fill: it knows who is alive. Whoever else serves the load balancer hashes alike, and so
knows where to send a flow that it has never seen. Connection tracking is what keeps a flow with its member when slots
change hands. Only flows of these listeners are tracked (and what this namespace itself sends by the same protocols).

Bytes are counted as on the wire, headers of IP among them. Timeouts are those of the listener, see `idle_s`.
"""

import zlib
from collections.abc import Iterator, Sequence
from ipaddress import ip_address, ip_network

from caryatid.model.amphora import Placed
from caryatid.model.datagrams import DATAGRAM_POOLS
from caryatid.model.listener import Listener
from caryatid.model.pool import Pool
from caryatid.model.tree import ListenerNode, PoolNode, Tree

from . import quote
from .addresses import FAMILIES, Network, any_of

TABLE = "datagrams"
"""Chains are written anew with each ruleset; maps and counters stay what they are."""
SLOTS = 4096
"""Of a pool. Its shares are right to a few percent with tens of members."""
MEMBER_BITS = 15
"""The lowest of a flow's mark say which member has it; above them are 16 of the listener's port, and one of its
protocol."""
REFUSED = "refused"
"""Set: marks of flows that just now could not be delivered. Whoever sends much to a closed port gets all the answers
that the member's kernel gives in a second, and a check none."""
REFUSED_S = 3
IDLE_MAX_S = 3600
UNREPLIED_MAX_S = 30
"""As the kernel has it (nf_conntrack_udp_timeout)."""
LEG_MARKS_FROM = 0x10000
"""A packet marked with this plus i leaves by leg i; as agents have it (wire/network.py)."""
ERRORS = {
    "icmp": "destination-unreachable, time-exceeded, parameter-problem",
    "icmpv6": "destination-unreachable, packet-too-big, time-exceeded, parameter-problem",
}


def served(tree: Tree) -> tuple[ListenerNode, ...]:
    """The listeners for datagrams that are up, always in the same order."""
    if tree.deleted or not tree.loadbalancer.admin_state_up:
        return ()
    up = [node for node in tree.listeners if node.listener.l4 in DATAGRAM_POOLS and node.listener.admin_state_up]
    return tuple(sorted(up, key=lambda node: node.listener.id))


def pool_of(node: ListenerNode) -> PoolNode | None:
    """Where the listener sends to; None: nowhere."""
    pool = node.default_pool
    return pool if pool and pool.pool.admin_state_up else None


def versions(tree: Tree) -> tuple[int, ...]:
    """Families of its addresses."""
    return tuple(sorted({ip_address(vip.ip_address).version for vip in tree.vips}))


def slots_map(pool: Pool, version: int) -> str:
    """Slot → number of a member."""
    return f"slots{version:d}-{quote.name(pool.id)}"


def places_map(pool: Pool, version: int) -> str:
    """Number of a member → its address and port."""
    return f"places{version:d}-{quote.name(pool.id)}"


def counters(listener: Listener) -> tuple[str, str, str]:
    """Names of those for what comes from clients, for what goes to them, and for flows."""
    key = quote.name(listener.id)
    return f"in-{key}", f"out-{key}", f"flows-{key}"


def mark(listener: Listener) -> int:
    """Of its flows, without the member."""
    return ((listener.l4 == "SCTP") << 16 | listener.protocol_port) << MEMBER_BITS


def idle_s(listener: Listener) -> int:
    """A flow of which nothing is heard for so long is forgotten: `timeout_client_data`, within bounds. (nft can say so
    of UDP; flows of SCTP have their own ends.)"""
    return min(max(listener.timeout_client_data // 1000, 1), IDLE_MAX_S)


def refused(tree: Tree) -> Iterator[str]:
    """What becomes of packets that no member is there for: whoever sends them is told so."""
    for node in served(tree):
        for version in versions(tree):
            yield f"{_target(tree, node.listener, version)} reject"


def render(tree: Tree, placed: Placed) -> list[str]:
    """The table, replacing the chains of another. Raises ValueError for what is no address."""
    nodes, marked = served(tree), _answers(placed)
    protocols = ", ".join(sorted({node.listener.l4.lower() for node in nodes}))
    return [
        f"add table inet {TABLE}",
        f"flush table inet {TABLE}",
        f"table inet {TABLE} {{",
        *(f"    {line}" for line in _objects(tree, nodes)),
        *_chain("arrival", "filter hook prerouting priority raw; policy accept;", [
            *(rule for node in nodes for rule in _strangers(tree, node.listener)),
            *_untracked(protocols),
        ]),
        *(_chain("legs", "filter hook prerouting priority mangle; policy accept;", marked) if marked else ()),
        *_chain("share", "nat hook prerouting priority dstnat; policy accept;", [
            rule for node in nodes for rule in _shares(tree, node)
        ]),
        *_chain("passage", "filter hook forward priority filter; policy drop;", _passage(nodes)),
        *_chain("departure", "nat hook postrouting priority srcnat; policy accept;", ["ct status dnat masquerade"]),
        *_chain("own", "filter hook output priority raw; policy accept;", [
            "icmpv6 type nd-redirect drop",
            *_untracked(protocols),
        ]),
        *_chain("unreachable", "filter hook output priority filter; policy accept;", list(_refusals())),
        "}",
    ]


def _chain(name: str, kind: str, rules: Sequence[str]) -> Iterator[str]:
    yield f"    chain {name} {{"
    yield f"        type {kind}"
    yield from (f"        {rule}" for rule in rules)
    yield "    }"


def _objects(tree: Tree, nodes: Sequence[ListenerNode]) -> Iterator[str]:
    yield f"set {REFUSED} {{ type mark; size 65535; flags dynamic, timeout; timeout {REFUSED_S:d}s; }}"
    for node in nodes:
        yield from (f"counter {name} {{ }}" for name in counters(node.listener))
    for idle in sorted({idle_s(node.listener) for node in nodes if node.listener.l4 == "UDP"}):
        yield f"ct timeout {_timeout(idle)} {{"
        yield "    protocol udp"
        yield f"    policy = {{ unreplied : {min(idle, UNREPLIED_MAX_S):d}, replied : {idle:d} }}"
        yield "}"
    pools = {one.pool.id: one.pool for node in nodes if (one := pool_of(node))}
    for _, pool in sorted(pools.items()):
        for version in versions(tree):
            yield f"map {slots_map(pool, version)} {{ type mark : mark; size {SLOTS:d}; }}"
            yield f"map {places_map(pool, version)} {{ type mark : ipv{version:d}_addr . inet_service; }}"


def _timeout(idle: int) -> str:
    """One that is there keeps its values, so these are its name. A flow of which both sides are heard for more than
    two seconds is `replied`."""
    return f"idle-{idle:d}s"


def _untracked(protocols: str) -> Iterator[str]:
    """Errors are: they are about flows, and addresses in them are translated too."""
    yield f"meta l4proto {{ {protocols} }} accept"
    yield from (f"{protocol} type {{ {types} }} accept" for protocol, types in ERRORS.items())
    yield "notrack"


def _target(tree: Tree, listener: Listener, version: int) -> str:
    vips = [ip_network(vip.ip_address) for vip in tree.vips]
    [match] = any_of("daddr", [vip for vip in vips if vip.version == version])
    return f"{match} {listener.l4.lower()} dport {listener.protocol_port:d}"


def _strangers(tree: Tree, listener: Listener) -> Iterator[str]:
    """Each packet is looked at: networks that are no longer allowed are out at once."""
    if listener.allowed_cidrs is None:
        return
    allowed: list[Network] = [ip_network(cidr, strict=False) for cidr in listener.allowed_cidrs]
    for version in versions(tree):
        others = list(any_of("saddr", [network for network in allowed if network.version == version], but=True))
        yield " ".join([_target(tree, listener, version), *others, "drop"])


def _answers(placed: Placed) -> list[str]:
    """Where several legs have a gateway of one family, an answer leaves as its VIP does: by the leg that has it."""
    families = [ip_address(leg.vips[0]).version for leg in placed.legs]
    marks: dict[int, list[str]] = {}
    for number, (leg, version) in enumerate(zip(placed.legs, families, strict=True)):
        if families.count(version) > 1:
            known = marks.setdefault(version, [])
            known += [f"{ip_address(vip)} : {LEG_MARKS_FROM + number:#x}" for vip in leg.vips]
    return [
        f"ct direction reply meta mark set ct original {FAMILIES[version]} daddr map {{ {', '.join(known)} }}"
        for version, known in sorted(marks.items())
    ]


def _shares(tree: Tree, node: ListenerNode) -> Iterator[str]:
    listener, pool = node.listener, pool_of(node)
    if pool is None:
        return
    if listener.connection_limit > 0:
        port = f"{listener.l4.lower()} dport {listener.protocol_port:d}"
        yield f"{port} ct count over {listener.connection_limit:d} drop"
    seed = zlib.crc32(tree.loadbalancer.id.encode())
    for version in versions(tree):
        yield " ".join([
            _target(tree, listener, version),
            f"meta mark set jhash {_key(pool.pool, listener, version)} mod {SLOTS:d} seed {seed:#x}",
            f"meta mark set meta mark map @{slots_map(pool.pool, version)}",
            f"ct mark set meta mark or {mark(listener):#x}",
            *([f'ct timeout set "{_timeout(idle_s(listener))}"'] if listener.l4 == "UDP" else []),
            f'counter name "{counters(listener)[2]}"',
            f"dnat {FAMILIES[version]} to meta mark map @{places_map(pool.pool, version)}",
        ])


def _key(pool: Pool, listener: Listener, version: int) -> str:
    """What of a packet decides: the client, if it shall come back to its member; else each of its flows."""
    source = f"{FAMILIES[version]} saddr"
    persistence = pool.session_persistence
    if persistence is not None:
        mask = persistence.persistence_granularity
        return f"{source} and {ip_address(mask)}" if mask and ip_address(mask).version == version else source
    return source if pool.lb_algorithm == "SOURCE_IP" else f"{source} . {listener.l4.lower()} sport"


def _passage(nodes: Sequence[ListenerNode]) -> list[str]:
    """Nothing is passed on but what these listeners have shared out, its answers, and errors about it."""
    above = (1 << 32) - (1 << MEMBER_BITS)
    rules = []
    for number, which in enumerate(("ct direction original ct status dnat", "ct direction reply ct state established")):
        named = ", ".join(f'{mark(node.listener):#x} : "{counters(node.listener)[number]}"' for node in nodes)
        rules.append(f"{which} counter name ct mark and {above:#x} map {{ {named} }} accept")
    return [*rules, *_refusals(), "ct status dnat accept"]


def _refusals() -> Iterator[str]:
    """A member, or a router, says that nobody takes what it was sent; or our own kernel, that no machine is there."""
    for error in ("icmp type destination-unreachable icmp code != frag-needed", "icmpv6 type destination-unreachable"):
        yield f"ct direction reply ct state related {error} update @{REFUSED} {{ ct mark }}"
