# SPDX-License-Identifier: Apache-2.0
"""With whom an HAProxy shares the tables of session persistence: the other of its pair, and itself after a reload.

The process that a reload replaces tells its successor, over the local peer's own address, what it has learned. (HAProxy
2.6: once it has itself been told by all that it waits for, or ten seconds after its start.)
"""

from collections.abc import Iterable, Iterator

from caryatid.model.amphora import Placed
from caryatid.model.network import NAMESPACED
from caryatid.model.tree import ListenerNode
from caryatid.plan import quote

from . import backend, frontend, ratelimit
from .sheet import Sheet

SECTION = "amphorae"
PORT = 1025
"""On the amphorae's own addresses, where no listener is (facts: octavia.md §1.10)."""
LOOPBACK = "127.0.0.1"


def needed(nodes: Iterable[ListenerNode]) -> bool:
    """Whether there is a table at all."""
    return any(ratelimit.windows(node) for node in nodes) or any(
        node.listener.protocol in frontend.MODES and backend.sticks(node.listener, pool.pool)
        for node in nodes
        for pool in frontend.pools(node)
    )


def local(placed: Placed) -> list[str]:
    """For the global section: who of the peers this is."""
    return [f"localpeer {quote.name(placed.id)}"]


def write(sheet: Sheet, placed: Placed) -> None:
    sheet.section(f"peers {SECTION}", [
        f"bind {_own(placed)}",
        f"server {quote.name(placed.id)}",
        *_others(placed),
    ])


def _own(placed: Placed) -> str:
    """An address that nobody else can have: its own; in a namespace, the namespace's; else a socket among its files,
    which its agent gives to the workers."""
    leg = placed.legs[0] if placed.legs else None
    if leg and leg.address:
        return f"{quote.host(leg.address)}:{PORT:d}"
    if leg and leg.subnet.attachment in NAMESPACED:
        return f"{LOOPBACK}:{PORT:d}"
    return "unix@@RUN@/peers.sock mode 600"


def _others(placed: Placed) -> Iterator[str]:
    if placed.legs and placed.legs[0].address:
        for peer in placed.peers:
            if peer.vrrp_ip:
                yield f"server {quote.name(peer.id)} {quote.host(peer.vrrp_ip)}:{PORT:d}"
