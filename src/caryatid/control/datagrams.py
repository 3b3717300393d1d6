# SPDX-License-Identifier: Apache-2.0
"""Whether listeners and pools for datagrams can be where they are asked for: on which subnets, on any host at all."""

from collections.abc import Iterator

from caryatid.errors import Fault
from caryatid.model import HOST, SUBNET
from caryatid.model.datagrams import DATAGRAM_POOLS
from caryatid.model.flavor import Capabilities
from caryatid.model.listener import Listener
from caryatid.model.pool import Pool
from caryatid.model.resource import Row
from caryatid.model.tree import Tree
from caryatid.store import rows
from caryatid.store.database import Tx

WHY_NOT_HERE = (
    "They are shared out by the kernel in a network namespace of the amphora's own, which VIPs that a host has anyhow "
    "do not have. Take a VIP on a subnet of attachment {}, on hosts whose agent is root."
)


def faults(tx: Tx, tree: Tree, row: Row, can: Capabilities) -> Iterator[Fault]:
    """A 501 that says what to use instead."""
    if not isinstance(row, Listener | Pool) or row.protocol not in DATAGRAM_POOLS or can.datagram_attachments is None:
        return
    for vip in tree.vips:
        subnet = rows.get(tx, SUBNET, vip.subnet_id or "")
        attachment = subnet["attachment"] if subnet else "unknown"
        if attachment not in can.datagram_attachments:
            wanted = " or ".join(sorted(can.datagram_attachments))
            what = f"{row.protocol} is not carried on a subnet of attachment {attachment}."
            yield Fault(f"{what} {WHY_NOT_HERE.format(wanted)}", "protocol", 501)
            return
    yield from _host_faults(tx, row.protocol)


def _host_faults(tx: Tx, protocol: str) -> Iterator[Fault]:
    """Where no host has enrolled yet, any may."""
    hosts = rows.find(tx, HOST)
    if not hosts or any(protocol in host.get("protocols", ()) for host in hosts):
        return
    remedy = (
        "load the kernel module `sctp` on one and restart its agent"
        if protocol == "SCTP"
        else "its agent must be root, of this version, and find `nft`; its log says what is missing"
    )
    yield Fault(f"{protocol} is not carried by any of the {len(hosts)} hosts: {remedy}.", "protocol", 501)
