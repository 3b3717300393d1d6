# SPDX-License-Identifier: Apache-2.0
"""Listeners and pools for datagrams: what may be asked of a provider that carries them."""

from collections.abc import Iterator
from ipaddress import ip_address

from .flavor import Capabilities
from .listener import Listener
from .member import Member
from .pool import Pool
from .resource import Row
from .tree import Tree

DATAGRAM_POOLS = ("UDP", "SCTP")
FAMILIES = "families"
"""The word for members of a family that no VIP has."""


def beyond(tree: Tree, row: Row, can: Capabilities) -> Iterator[tuple[str, str, str]]:
    """Attribute, word and description of each thing that is asked of `row` beyond what is declared; see rules.py."""
    match row:
        case Listener() if row.protocol in DATAGRAM_POOLS:
            most = can.datagram_flows_max
            if most is not None and row.connection_limit > most:
                what = f"a connection_limit of more than {most} on {row.protocol} listeners"
                yield "connection_limit", "connection_limit", what
        case Member() if can.datagram_families_apart:
            node = tree.pool(row.pool_id)
            version = ip_address(row.address).version
            versions = {ip_address(vip.ip_address).version for vip in tree.vips}
            if node and node.pool.protocol in DATAGRAM_POOLS and version not in versions:
                yield "address", FAMILIES, f"IPv{version} members for datagrams where no VIP is IPv{version}"
        case _:
            return


def algorithms(pool: Pool, can: Capabilities) -> frozenset[str]:
    """Those that the pool may have."""
    apart = pool.protocol in DATAGRAM_POOLS and can.datagram_algorithms is not None
    return (can.datagram_algorithms if apart else None) or can.algorithms
