# SPDX-License-Identifier: Apache-2.0
"""What the agent is told of listeners for datagrams: beside the ruleset, which is rendered in plan/datagrams.py."""

from collections.abc import Iterable
from typing import cast

from caryatid.model.healthmonitor import HealthMonitor
from caryatid.model.tree import ListenerNode, PoolNode, Tree
from caryatid.plan import datagrams as plan
from caryatid.wire import datagrams as wire


def told(tree: Tree) -> wire.Datagrams | None:
    """None: no listener is for datagrams, or none is up."""
    nodes = plan.served(tree)
    if not nodes:
        return None
    pools = {pool.pool.id: pool for node in nodes if (pool := plan.pool_of(node))}
    return wire.Datagrams(
        table=plan.TABLE,
        refused=plan.REFUSED,
        slots=plan.SLOTS,
        member_bits=plan.MEMBER_BITS,
        listeners=[_listener(node) for node in nodes],
        pools=[_pool(pool, plan.versions(tree)) for _, pool in sorted(pools.items())],
    )


def _listener(node: ListenerNode) -> wire.Listener:
    pool, listener = plan.pool_of(node), node.listener
    bytes_in, bytes_out, flows = plan.counters(listener)
    return wire.Listener(
        id=listener.id,
        pool=pool.pool.id if pool else "",
        mark=plan.mark(listener),
        bytes_in=bytes_in,
        bytes_out=bytes_out,
        flows=flows,
        limit=max(listener.connection_limit, 0),
    )


def _pool(node: PoolNode, versions: Iterable[int]) -> wire.Pool:
    monitor = node.healthmonitor
    return wire.Pool(
        id=node.pool.id,
        shares=[
            wire.Share(version, plan.slots_map(node.pool, version), plan.places_map(node.pool, version))
            for version in versions
        ],
        members=[
            wire.Member(
                member.id,
                member.address,
                member.protocol_port,
                member.weight,
                member.admin_state_up,
                member.backup,
                member.monitor_address or member.address,
                member.monitor_port or member.protocol_port,
            )
            for member in sorted(node.members, key=lambda member: member.id)
        ],
        monitor=_monitor(monitor) if monitor and monitor.admin_state_up else None,
    )


def _monitor(monitor: HealthMonitor) -> wire.Monitor:
    return wire.Monitor(
        type=cast(wire.Check, monitor.type),
        delay_s=max(monitor.delay, 1),
        timeout_s=max(monitor.timeout, 1),
        rise=monitor.max_retries,
        fall=monitor.max_retries_down,
        method=monitor.http_method or "GET",
        path=monitor.url_path or "/",
        version="1.1" if monitor.http_version == 1.1 else "1.0",  # noqa: PLR2004
        host=monitor.domain_name or "",
        codes=tuple(_codes(monitor.expected_codes or "200")),
    )


def _codes(text: str) -> Iterable[tuple[int, int]]:
    for part in text.split(","):
        first, _, last = part.strip().partition("-")
        yield int(first), int(last or first)
