# SPDX-License-Identifier: Apache-2.0
"""A load balancer as the configuration of one HAProxy (2.6 or newer).

A frontend a listener, a backend for each pool that a listener sends to (named `<pool>:<listener>`), a server a member.
What is disabled is not written, but for members, which are written `disabled`, so that they can be enabled at run
time. The text holds the agent's tokens: `@DIR@` and `@RUN@` for its directories, `@MAXCONN:n@` for a number that it
may lower. Before the lines of each object stands the comment `# <kind> <id>`.
"""

from dataclasses import dataclass

from caryatid.model.tree import Tree
from caryatid.plan.quote import Unquotable

from . import backend, frontend
from .sheet import Rendered, Server, Sheet, Unrenderable

__all__ = ["RenderSettings", "Rendered", "Server", "Unrenderable", "render"]


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


def render(tree: Tree, *, settings: RenderSettings) -> Rendered:
    """The configuration of `tree`. Raises Unrenderable, naming the object at fault."""
    sheet = Sheet("loadbalancer", tree.loadbalancer.id)
    try:
        _write(sheet, tree, settings)
    except Unquotable as error:
        raise Unrenderable(*sheet.current, str(error)) from error
    return sheet.rendered()


def _write(sheet: Sheet, tree: Tree, settings: RenderSettings) -> None:
    up = tree.loadbalancer.admin_state_up and not tree.deleted
    nodes = [node for node in tree.listeners if up and node.listener.admin_state_up]
    limits = [frontend.connection_limit(node.listener, settings.default_connection_limit) for node in nodes]
    maxconn = min(sum(limits) or settings.default_connection_limit, settings.connection_limit_max)
    _preamble(sheet, settings, maxconn)
    for node, limit in zip(nodes, limits, strict=True):
        frontend.write(
            sheet, node, tree.vips, limit, node.listener.timeout_client_data or settings.timeout_client_data_ms
        )
        timeouts = backend.Timeouts(
            node.listener.timeout_member_connect or settings.timeout_member_connect_ms,
            node.listener.timeout_member_data or settings.timeout_member_data_ms,
        )
        for pool in frontend.pools(node):
            backend.write(sheet, node.listener, pool, timeouts, settings.stick_table_entries)


def _preamble(sheet: Sheet, settings: RenderSettings, maxconn: int) -> None:
    sheet.section("global", [
        "log @RUN@/log.sock len 1024 local1 notice",
        "stats socket @RUN@/stats.sock mode 600 level admin expose-fd listeners",
        "server-state-file @DIR@/servers.state",
        f"hard-stop-after {settings.hard_stop_after_s:d}s",
        f"maxconn @MAXCONN:{maxconn:d}@",
        *([f"nbthread {settings.threads:d}"] if settings.threads else []),
    ])
    sheet.section("defaults", [
        "log global",
        "retries 3",
        "option redispatch",
        "load-server-state-from-file global",
    ])
