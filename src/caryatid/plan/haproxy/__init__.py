# SPDX-License-Identifier: Apache-2.0
"""A load balancer as the configuration of one HAProxy (2.6 or newer).

A frontend a listener, a backend for each pool that a listener sends to (named `<pool>:<listener>`), a server a member.
Listeners for datagrams are not here: plan/datagrams.py. What is disabled is not written, but for members, which are
written `disabled`, so that they can be enabled at run time. The text holds the agent's tokens: `@DIR@` and `@RUN@` for
its directories, `@MAXCONN:n@` for a number that it may lower. Before the lines of each object stands the comment
`# <kind> <id>`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from caryatid.model.amphora import Placed
from caryatid.model.datagrams import DATAGRAM_POOLS
from caryatid.model.tls import TlsPolicy
from caryatid.model.tree import ListenerNode, Tree
from caryatid.plan.quote import Unquotable

from . import backend, frontend, logs, peers, ratelimit, tls
from .format import Misformatted
from .logs import LogSettings
from .sheet import Rendered, Server, Sheet, Unrenderable

__all__ = ["LogSettings", "Misformatted", "RenderSettings", "Rendered", "Server", "Unrenderable", "render"]


@dataclass(frozen=True)
class RenderSettings:
    """What the operator decides about every HAProxy."""

    default_connection_limit: int = 50_000
    """Of a listener that sets none (-1 or 0)."""
    connection_limit_max: int = 1_000_000
    """Of all listeners of a load balancer together."""
    hard_stop_after_s: int = 1_800
    """How long a replaced process may keep its last connections."""
    threads: int | None = None
    """Of one HAProxy; None: as many as there are CPUs."""
    timeout_client_data_ms: int = 50_000
    """Of a listener that sets 0; so the next two."""
    timeout_member_connect_ms: int = 5_000
    timeout_member_data_ms: int = 50_000
    stick_table_entries: int = 10_240
    """Clients that a pool with session persistence remembers."""
    rate_table_entries: int = 65_536
    """Clients that are counted for rate limits, in all tables together; each takes 250 bytes at most."""
    tls: TlsPolicy = field(default_factory=TlsPolicy)
    logs: LogSettings = field(default_factory=LogSettings)


def render(tree: Tree, *, settings: RenderSettings, placed: Placed | None = None) -> Rendered:
    """The configuration of `tree`. Raises Unrenderable, naming the object at fault.

    `placed`: the amphora that it is for; without, whom it sent where is told nobody, and forgotten with a reload.
    """
    sheet = Sheet("loadbalancer", tree.loadbalancer.id, tree.bundles)
    try:
        _write(sheet, tree, _flavored(settings, tree.flavor), placed)
    except Unquotable as error:
        raise Unrenderable(*sheet.current, str(error)) from error
    return sheet.rendered()


def _flavored(settings: RenderSettings, flavor: Mapping[str, Any]) -> RenderSettings:
    """The settings, as far as the flavor does not say otherwise. It can only lower what HAProxy may take."""
    return replace(
        settings,
        threads=flavor.get("haproxy_threads") or settings.threads,
        connection_limit_max=min(
            settings.connection_limit_max, flavor.get("haproxy_maxconn") or settings.connection_limit_max
        ),
    )


def _write(sheet: Sheet, tree: Tree, settings: RenderSettings, placed: Placed | None) -> None:
    up = tree.loadbalancer.admin_state_up and not tree.deleted
    enabled = [node for node in tree.listeners if up and node.listener.admin_state_up]
    nodes = [node for node in enabled if node.listener.l4 not in DATAGRAM_POOLS]
    limits = [frontend.connection_limit(node.listener, settings.default_connection_limit) for node in nodes]
    maxconn = min(sum(limits) or settings.default_connection_limit, settings.connection_limit_max)
    flows = logs.flow_log(settings.logs, tree.loadbalancer, tree.flavor)
    shared = placed if placed and peers.needed(nodes) else None
    _preamble(sheet, settings, maxconn, flows, shared, secured=_secured(nodes))
    section = peers.SECTION if shared else ""
    table = backend.StickTable(settings.stick_table_entries, section)
    rate_entries = ratelimit.share(settings.rate_table_entries, nodes)
    for node, limit in zip(nodes, limits, strict=True):
        timeout_client_ms = node.listener.timeout_client_data or settings.timeout_client_data_ms
        terms = frontend.Terms(limit, timeout_client_ms, settings.tls, flows)
        frontend.write(sheet, node, tree.vips, terms)
        ratelimit.write_tables(sheet, node, rate_entries, section)
        timeouts = backend.Timeouts(
            node.listener.timeout_member_connect or settings.timeout_member_connect_ms,
            node.listener.timeout_member_data or settings.timeout_member_data_ms,
        )
        for pool in frontend.pools(node):
            backend.write(sheet, node.listener, pool, timeouts, table, settings.tls)


def _secured(nodes: Iterable[ListenerNode]) -> bool:
    """Whether TLS is spoken on any side."""
    return any(node.listener.certificates or any(p.pool.tls_enabled for p in frontend.pools(node)) for node in nodes)


def _preamble(
    sheet: Sheet,
    settings: RenderSettings,
    maxconn: int,
    flows: logs.FlowLog | None,
    shared: Placed | None,
    *,
    secured: bool,
) -> None:
    sheet.section("global", [
        "log @RUN@/log.sock len 1024 local1 notice",
        *logs.notices(settings.logs),
        "stats socket @RUN@/stats.sock mode 600 level admin expose-fd listeners",
        "server-state-file @DIR@/servers.state",
        f"hard-stop-after {settings.hard_stop_after_s:d}s",
        f"maxconn @MAXCONN:{maxconn:d}@",
        *([f"nbthread {settings.threads:d}"] if settings.threads else []),
        *(tls.preamble(settings.tls) if secured else []),
        *(peers.local(shared) if shared else []),
    ])
    logs.rings(sheet, settings.logs, flows)
    sheet.section("defaults", [
        "log global",
        "retries 3",
        "option redispatch",
        "load-server-state-from-file global",
    ])
    if shared:
        peers.write(sheet, shared)
