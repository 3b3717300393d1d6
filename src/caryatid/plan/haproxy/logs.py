# SPDX-License-Identifier: Apache-2.0
"""Where HAProxy's logs go: flows of tenants (a line a request or connection) and HAProxy's own notices.

UDP is sent as it is written. TCP and TLS go through a ring in memory, which HAProxy empties by itself: when its
receiver is slow or away, lines are lost, and traffic does not wait. Every target gets every line. The agent's socket
is in `global` only, so that no flow wakes the agent.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Literal

from caryatid.model.listener import Listener
from caryatid.model.loadbalancer import LoadBalancer
from caryatid.plan import quote
from caryatid.target import Target

from . import format as form
from .sheet import Sheet, Unrenderable

Purpose = Literal["tenant", "admin"]
LINE_BYTES = 4096
"""A longer line is cut."""
RING_BYTES = {"tenant": 1 << 20, "admin": 1 << 16}
"""What waits for a receiver, for each target; memory is used as lines come."""


@dataclass(frozen=True)
class LogSettings:
    """What the operator decides about logs. Raises Misformatted for a format that HAProxy would not take."""

    tenant: tuple[Target, ...] = ()
    """Who gets flows."""
    admin: tuple[Target, ...] = ()
    """Who gets notices."""
    tenant_facility: int = 0
    """n of syslog's `local<n>`; so the next one."""
    admin_facility: int = 1
    flows: bool = True
    """Flows are logged where the flavor says nothing (`log_flows`)."""
    format: str = form.DEFAULT
    """The same for `log_format`."""
    tls_ca: str = ""
    """Certificates (PEM) that TLS receivers' are checked against."""
    tls_name: str = ""
    """The name that TLS receivers' certificates bear."""

    def __post_init__(self) -> None:
        form.parse(self.format)


@dataclass(frozen=True)
class FlowLog:
    """The flow log of one load balancer, ready to be written into its frontends."""

    settings: LogSettings
    loadbalancer: LoadBalancer
    pieces: tuple[form.Piece, ...]

    def lines(self, listener: Listener, *, http: bool) -> Iterator[str]:
        """Directives of the listener's frontend."""
        places = {
            "project_id": self.loadbalancer.project_id,
            "lb_id": self.loadbalancer.id,
            "listener_id": listener.id,
        }
        yield from _logs("tenant", self.settings.tenant, f"local{self.settings.tenant_facility:d} info")
        yield f"log-format {quote.word(form.fill(self.pieces, places, http=http))}"


def flow_log(settings: LogSettings, loadbalancer: LoadBalancer, flavor: Mapping[str, Any]) -> FlowLog | None:
    """None: nobody is to get flows. Raises Unrenderable for a flavor's format that HAProxy would not take."""
    wanted = flavor.get("log_flows")
    if not settings.tenant or not (settings.flows if wanted is None else wanted):
        return None
    try:
        pieces = form.parse(flavor.get("log_format") or settings.format)
    except form.Misformatted as error:
        raise Unrenderable("loadbalancer", loadbalancer.id, f"its flavor's log_format: {error}") from error
    return FlowLog(settings, loadbalancer, pieces)


def notices(settings: LogSettings) -> Iterator[str]:
    """Directives of `global`."""
    if settings.admin or settings.tenant:
        yield "log-send-hostname"
    yield from _logs("admin", settings.admin, f"local{settings.admin_facility:d} notice")


def _logs(purpose: Purpose, targets: tuple[Target, ...], what: str) -> Iterator[str]:
    for number, target in enumerate(targets, 1):
        where = _address(target) if target.scheme == "udp" else f"ring@{_ring(purpose, number)}"
        yield f"log {where} len {LINE_BYTES:d} format rfc5424 {what}"


def rings(sheet: Sheet, settings: LogSettings, flows: FlowLog | None) -> None:
    """The sections by which TCP and TLS targets are reached, each with its server."""
    _rings(sheet, settings, "admin", settings.admin)
    if flows:
        _rings(sheet, settings, "tenant", settings.tenant)


def _rings(sheet: Sheet, settings: LogSettings, purpose: Purpose, targets: tuple[Target, ...]) -> None:
    for number, target in enumerate(targets, 1):
        if target.scheme != "udp":
            sheet.section(
                f"ring {_ring(purpose, number)}",
                [
                    "format rfc5424",
                    f"maxlen {LINE_BYTES:d}",
                    f"size {RING_BYTES[purpose]:d}",
                    "timeout connect 5s",
                    "timeout server 10s",
                    f"server receiver {_address(target)} log-proto octet-count{_tls(sheet, settings, target)}",
                ],
            )


def _tls(sheet: Sheet, settings: LogSettings, target: Target) -> str:
    if target.scheme != "tls":
        return ""
    name = f"log-ca-{sha256(settings.tls_ca.encode()).hexdigest()[:16]}.pem"  # other content, other text: a reload
    sheet.files[name] = settings.tls_ca
    return f" ssl verify required ca-file @DIR@/{name} verifyhost {quote.name(settings.tls_name)}"


def _ring(purpose: Purpose, number: int) -> str:
    return f"logs-{purpose}-{number:d}"


def _address(target: Target) -> str:
    return f"{quote.host(target.host)}:{target.port:d}"
