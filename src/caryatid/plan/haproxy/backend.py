# SPDX-License-Identifier: Apache-2.0
"""The backend of a pool: how it is shared out, how its members are checked, and its servers."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter

from caryatid.model.healthmonitor import HealthMonitor
from caryatid.model.listener import Listener
from caryatid.model.member import Member
from caryatid.model.pool import Algorithm, Pool
from caryatid.model.tls import TlsPolicy
from caryatid.model.tree import PoolNode
from caryatid.plan import quote

from . import headers, tls
from .frontend import MODES
from .l7 import backend_name
from .sheet import Server, Sheet, Unrenderable

BALANCE: dict[Algorithm, tuple[str, ...]] = {
    "ROUND_ROBIN": ("balance roundrobin",),
    "LEAST_CONNECTIONS": ("balance leastconn",),
    "SOURCE_IP": ("balance source", "hash-type consistent"),  # else servers cannot come and go at run time
}
POOLS = {"HTTP": "", "HTTPS": "", "TCP": "", "PROXY": "send-proxy", "PROXYV2": "send-proxy-v2"}
"""Protocol of a pool → what a server is told first."""
CHECKS = ("HTTP", "HTTPS", "TCP", "TLS-HELLO")
HANDSHAKES = ("HTTPS", "TLS-HELLO")
"""Checks that begin with one, whatever the pool speaks."""
AGE = attrgetter("created_at", "id")
SERVER_ID_MASK = 0x7FFF_FFFF


@dataclass(frozen=True)
class Timeouts:
    """Towards members, in milliseconds."""

    connect_ms: int
    data_ms: int


@dataclass(frozen=True)
class StickTable:
    """Whom a pool with session persistence has sent where."""

    entries: int
    peers: str
    """The section of those that share it; empty: nobody."""

    def line(self, key: str) -> str:
        return f"stick-table type {key} size {self.entries:d}{f' peers {self.peers}' if self.peers else ''}"


def write(
    sheet: Sheet, listener: Listener, node: PoolNode, timeouts: Timeouts, table: StickTable, policy: TlsPolicy
) -> None:
    pool, mode = node.pool, MODES[listener.protocol]
    _refuse(pool)
    monitor = node.healthmonitor if node.healthmonitor and node.healthmonitor.admin_state_up else None
    sheet.about("pool", pool.id)
    name = backend_name(node, listener)
    sheet.section(f"backend {name}", [
        f"mode {mode}",
        *BALANCE[pool.lb_algorithm],
        *(["http-reuse safe"] if mode == "http" else []),
        *_persistence(pool, mode, table),
        *headers.requests(listener),
        "option allbackups",
        f"timeout connect {timeouts.connect_ms:d}ms",
        f"timeout server {timeouts.data_ms:d}ms",
    ])
    secured = tls.towards(sheet, pool, listener, policy, http=mode == "http") if pool.tls_enabled else ""
    if node.members and pool.tls_enabled and (pool.tls_container_ref or pool.ca_tls_container_ref):
        sheet.pin(f"the files that servers of {name} name are loaded")
    if monitor:
        sheet.about("healthmonitor", monitor.id)
        sheet.add(_check(monitor))
    said = [_options(_proxy(pool, listener), monitor, secured, elsewhere=elsewhere) for elsewhere in (False, True)]
    _servers(sheet, name, node, said, cookies=mode == "http" and _persists_by(pool, "HTTP_COOKIE"))


def _refuse(pool: Pool) -> None:
    if pool.protocol not in POOLS:
        raise Unrenderable("pool", pool.id, f"protocol {pool.protocol} is not carried out by this driver")
    if pool.lb_algorithm not in BALANCE:
        raise Unrenderable("pool", pool.id, f"algorithm {pool.lb_algorithm} is not carried out by this driver")


def _persists_by(pool: Pool, kind: str) -> bool:
    return pool.session_persistence is not None and pool.session_persistence.type == kind


def sticks(listener: Listener, pool: Pool) -> bool:
    """Whether the pool has a table, as the listener's protocol goes."""
    return _persists_by(pool, "SOURCE_IP") or (MODES[listener.protocol] == "http" and _persists_by(pool, "APP_COOKIE"))


def _persistence(pool: Pool, mode: str, table: StickTable) -> Iterator[str]:
    """Where HTTP is not spoken there are no cookies to go by, and nothing is written."""
    wanted = pool.session_persistence
    if wanted is None:
        return
    if wanted.type == "SOURCE_IP":
        yield table.line("ipv6")
        yield "stick on src"
    elif mode == "http" and wanted.type == "HTTP_COOKIE":
        yield "cookie SRV insert indirect nocache"
    elif mode == "http":
        cookie = wanted.cookie_name or ""
        yield table.line("string len 64")
        yield f"stick store-response {quote.fetch('res.cook', cookie)}"
        yield f"stick match {quote.fetch('req.cook', cookie)}"


def _check(monitor: HealthMonitor) -> Iterator[str]:
    if monitor.type not in CHECKS:
        raise Unrenderable("healthmonitor", monitor.id, f"type {monitor.type} is not carried out by this driver")
    yield f"timeout check {max(monitor.timeout, 1):d}s"
    if monitor.type in ("HTTP", "HTTPS"):
        what = f"meth {quote.word(monitor.http_method or 'GET')} uri {quote.word(monitor.url_path or '/')}"
        request = f"{what} ver HTTP/{monitor.http_version or 1.0:.1f}"
        domain = f" hdr Host {quote.log_format(monitor.domain_name)}" if monitor.domain_name else ""
        yield "option httpchk"
        yield f"http-check send {request}{domain}"
        yield f"http-check expect status {quote.word(_codes(monitor.expected_codes or '200'))}"


def _codes(text: str) -> str:
    return ",".join(part.strip() for part in text.split(","))


def _servers(sheet: Sheet, backend: str, node: PoolNode, said: Sequence[str], *, cookies: bool) -> None:
    """The members, oldest first: what comes later does not move those before it.

    `said`: what all say that are checked where they serve, and what all say that are checked elsewhere.
    """
    members = sorted(node.members, key=AGE)
    checked = node.healthmonitor is not None and node.healthmonitor.admin_state_up
    ids = _server_ids(members) if node.pool.lb_algorithm == "SOURCE_IP" else None
    for member in members:
        sheet.current = "member", member.id
        elsewhere = checked and bool(member.monitor_address or member.monitor_port)
        options = [said[elsewhere]] if said[elsewhere] else []
        if elsewhere and member.monitor_address:
            options.append(f"addr {quote.host(member.monitor_address)}")
        if elsewhere and member.monitor_port:
            options.append(f"port {member.monitor_port:d}")
        if ids:
            options.append(f"id {ids[member.id]:d}")
        if cookies:
            options.append(f"cookie {quote.name(member.id)}")
        if member.backup:
            options.append("backup")
        sheet.server(
            Server(
                backend,
                member.id,
                member.address,
                member.protocol_port,
                member.weight,
                member.admin_state_up,
                options[0] if len(options) == 1 else " ".join(options),
            ),
            pinned=cookies,
        )


def _proxy(pool: Pool, listener: Listener) -> str:
    """What a server is told first: the client's certificate too, where clients may show one."""
    spoken = POOLS[pool.protocol]
    return f"{spoken}-ssl-cn" if spoken == "send-proxy-v2" and listener.certificates else spoken


def _options(proxy: str, monitor: HealthMonitor | None, secured: str, *, elsewhere: bool) -> str:
    """What all members say. A check at another address or port speaks neither the PROXY protocol nor the pool's TLS,
    but that of its type."""
    checks = _checks(monitor, secured) if monitor else ""
    speaks = "check-send-proxy" if proxy and checks and not elsewhere else ""
    return " ".join(part for part in (checks, proxy, speaks, secured) if part)


def _checks(monitor: HealthMonitor, secured: str) -> str:
    """A handshake believes any certificate, unless the pool says who is believed."""
    handshake = " check-ssl" if monitor.type in HANDSHAKES else ""
    believed = " verify none" if handshake and not secured else ""
    name = f" check-sni {quote.word(monitor.domain_name)}" if (handshake or secured) and monitor.domain_name else ""
    rhythm = f"inter {max(monitor.delay, 1):d}s fall {monitor.max_retries_down:d} rise {monitor.max_retries:d}"
    return f"check{handshake}{believed}{name} {rhythm}"


def _server_ids(members: list[Member]) -> dict[str, int]:
    """Consistent hashing goes by server id: one made from the member's own, so that clients keep their member."""
    ids: dict[str, int] = {}
    taken: set[int] = set()
    for member in members:
        key = int(member.id[:8], 16) & SERVER_ID_MASK or 1
        while key in taken:
            key = key % SERVER_ID_MASK + 1
        taken.add(key)
        ids[member.id] = key
    return ids
