# SPDX-License-Identifier: Apache-2.0
"""Who of a pair has the VIPs, as the configuration of one keepalived (2.2 or newer): VRRP version 3 between the two own
addresses (facts: dataplane.md §2).

Both begin as BACKUP and neither takes the VIPs back from the other (`nopreempt`): what works is left alone. The agent
says through the track file whether HAProxy serves (0, or -254: out of the running), and is told through a FIFO what
becomes of the pair. The text holds the agent's token `@RUN@`.
"""

from collections.abc import Iterator

from caryatid.model.amphora import Placed
from caryatid.model.tree import Tree

from . import quote

PRIORITIES: dict[str | None, int] = {"MASTER": 100, "BACKUP": 90}
"""By role: which of a pair has the VIPs when both start at once. Who has neither role is not one of a pair."""
HOP_LIMIT = 255
"""Routers lower it (RFC 9568 §5.1.1.3, §5.1.2.3): nobody beyond the link can speak for a peer."""


def render(tree: Tree, placed: Placed, *, advert_interval_s: float) -> str:
    """The configuration for one amphora; empty if it is not one of a pair, or the other has no address yet.

    A peer is given up after a little more than three intervals. Raises Unquotable.
    """
    amphora = placed.amphora
    peers = [peer.vrrp_ip for peer in placed.peers if peer.vrrp_ip]
    addresses = list(_addresses(placed))
    own = placed.legs[0].address if placed.legs else None
    if not (own and peers and addresses and amphora.vrrp_id and amphora.vrrp_priority):
        return ""
    return "\n".join([
        f"# loadbalancer {quote.name(tree.loadbalancer.id)}",
        *_block("global_defs", _global()),
        *_block("track_file serving", ['file "@RUN@/serving"']),
        *_block("vrrp_instance vips", [
            "state BACKUP",
            "nopreempt",
            "interface eth0",
            f"virtual_router_id {amphora.vrrp_id:d}",
            f"priority {amphora.vrrp_priority:d}",
            f"advert_int {advert_interval_s:.2f}",
            f"unicast_src_ip {quote.address(own)}",
            f"unicast_ttl {HOP_LIMIT:d}",
            *_block("unicast_peer", [f"{quote.address(peer)} min_ttl {HOP_LIMIT:d}" for peer in peers]),
            *_block("virtual_ipaddress", addresses[:1]),
            *_block("virtual_ipaddress_excluded", addresses[1:]),
            *_block("track_interface", [f"eth{number:d}" for number in range(1, len(placed.legs))]),
            *_block("track_file", ["serving weight 1"]),
        ]),
        "",
    ])


def _addresses(placed: Placed) -> Iterator[str]:
    """The VIPs, the first one first: VRRP itself speaks of that alone, so that families may mix."""
    for number, leg in enumerate(placed.legs):
        for vip in leg.vips:
            yield f"{quote.address(vip)}/{128 if ':' in vip else 32:d} dev eth{number:d}"


def _global() -> list[str]:
    return [
        "vrrp_version 3",
        "vrrp_check_unicast_src",
        "vrrp_garp_master_delay 1",
        "vrrp_garp_master_repeat 5",
        "vrrp_garp_master_refresh 60",
        'vrrp_notify_fifo "@RUN@/vrrp.fifo" root',
    ]


def _block(header: str, lines: list[str]) -> Iterator[str]:
    """Nothing at all, if there are no lines."""
    if lines:
        yield f"{header} {{"
        yield from (f"    {line}" for line in lines)
        yield "}"
