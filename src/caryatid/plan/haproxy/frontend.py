# SPDX-License-Identifier: Apache-2.0
"""The frontend of a listener: where it listens, whom it lets in, and which backend gets what."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from caryatid.model.listener import Listener
from caryatid.model.loadbalancer import Vip
from caryatid.model.tls import TlsPolicy
from caryatid.model.tree import ListenerNode, PoolNode
from caryatid.plan import quote

from . import headers, l7, ratelimit, tls
from .logs import FlowLog
from .sheet import Sheet, Unrenderable

MODES = {"HTTP": "http", "TERMINATED_HTTPS": "http", "PROMETHEUS": "http", "HTTPS": "tcp", "TCP": "tcp"}
"""Protocol of a listener → what HAProxy makes of it; the others are not carried out here."""
CIDRS_A_LINE = 50  # a line of HAProxy has 64 words at most


@dataclass(frozen=True)
class Terms:
    """What holds for a listener beside what it says itself."""

    connection_limit: int
    timeout_client_ms: int
    tls: TlsPolicy
    flows: FlowLog | None = None


def connection_limit(listener: Listener, default: int) -> int:
    return listener.connection_limit if listener.connection_limit > 0 else default


def pools(node: ListenerNode) -> tuple[PoolNode, ...]:
    """The pools that traffic of the listener can reach as it is written, each once."""
    found = {}
    for pool in (node.default_pool, *(policy.redirect_pool for policy in l7.effective(node))):
        if pool is not None and pool.pool.admin_state_up:
            found[pool.pool.id] = pool
    return tuple(found.values())


def write(sheet: Sheet, node: ListenerNode, vips: Sequence[Vip], terms: Terms) -> None:
    listener = node.listener
    if listener.protocol not in MODES:
        raise Unrenderable("listener", listener.id, f"protocol {listener.protocol} is not carried out by this driver")
    if not vips:
        raise Unrenderable(*sheet.current, "it has no address yet")
    mode = MODES[listener.protocol]
    sheet.about("listener", listener.id)
    secured = f" {tls.port(sheet, node, terms.tls)}" if listener.certificates else ""
    sheet.section(f"frontend {listener.id}", [
        f"mode {mode}",
        *(f"bind {quote.host(vip.ip_address)}:{listener.protocol_port:d}{secured}" for vip in vips),
        "no log",
        *(terms.flows.lines(listener, http=mode == "http") if terms.flows else []),
        f"maxconn {terms.connection_limit:d}",
        f"timeout client {terms.timeout_client_ms:d}ms",
        *(["option idle-close-on-response"] if mode == "http" else []),
        *headers.answers(listener),
        *_admission(listener),
    ])
    if listener.protocol == "PROMETHEUS":
        sheet.add([
            "http-request use-service prometheus-exporter if { path /metrics }",
            "http-request deny deny_status 404",
        ])
        return
    ratelimit.write(sheet, node, http=mode == "http")
    l7.write(sheet, node)
    if node.default_pool and node.default_pool.pool.admin_state_up:
        sheet.about("listener", listener.id)
        sheet.add([f"default_backend {l7.backend_name(node.default_pool, listener)}"])


def _admission(listener: Listener) -> Iterator[str]:
    if listener.allowed_cidrs:
        networks = [quote.cidr(network) for network in listener.allowed_cidrs]
        for start in range(0, len(networks), CIDRS_A_LINE):
            yield f"acl allowed src {' '.join(networks[start : start + CIDRS_A_LINE])}"
        yield "tcp-request connection reject if !allowed"
    if listener.timeout_tcp_inspect:
        yield f"tcp-request inspect-delay {listener.timeout_tcp_inspect:d}ms"
