# SPDX-License-Identifier: Apache-2.0
"""Where amphorae may go: hosts as placement sees them, and the spares that wait there."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

from caryatid.model import AMPHORA, HOST
from caryatid.model.amphora import Amphora
from caryatid.model.host import Host
from caryatid.plan import placement
from caryatid.plan.placement import HostView, SpareView
from caryatid.store import observations, rows
from caryatid.store.database import Tx

MADE = tuple(HostView(name, open=True, capacity=1 << 30, used=0) for name in ("made-1", "made-2"))
"""Where the compute driver makes machines, there is always room for a pair."""


@dataclass(frozen=True)
class Room:
    """What there is to place amphorae on."""

    hosts: Sequence[HostView]
    spares: Sequence[Amphora]
    believed: Mapping[str, Host] = field(default_factory=dict)
    """Hosts that can be spoken to: neither revoked nor lost."""

    def ready(self, flavor_id: str | None) -> list[SpareView]:
        """Spares of the flavor that can be taken."""
        waiting = (one for one in self.spares if one.status == "READY" and one.spare_of == flavor_id)
        return [SpareView(one.id, one.compute_id or "") for one in waiting]


def look(tx: Tx, *, made: bool, spares: Sequence[Amphora] = (), among: Collection[str] | None = None) -> Room:
    """`made`: the compute driver makes a machine for each amphora. A spare's is a host of its own, on which nobody else
    finds room. Else they go to hosts that have enrolled. `among`: only of these hosts is anything said; None: all."""
    found = rows.find(tx, HOST) if among is None else filter(None, (rows.get(tx, HOST, key) for key in sorted(among)))
    known = {document["id"]: cast(Host, HOST.load(document)) for document in found}
    believed = {
        key: host
        for key, host in known.items()
        if host.operating_status != observations.LOST and host.duty != "REVOKED"
    }
    if made:
        own = (HostView(one.compute_id or "", open=True, capacity=0, used=1) for one in spares)
        return Room((*MADE, *own), spares, believed)
    return Room(_views(known, believed), spares, believed)


def spares(tx: Tx) -> list[Amphora]:
    """Every amphora without a load balancer, the oldest first."""
    return [cast(Amphora, AMPHORA.load(document)) for document in rows.find(tx, AMPHORA, loadbalancer_id=None)]


def _views(known: Mapping[str, Host], believed: Mapping[str, Host]) -> list[HostView]:
    return [
        HostView(
            key,
            open=host.enabled and key in believed,
            capacity=host.capacity,
            used=host.used,
            labels=host.labels,
            reaches=_offers(host),
        )
        for key, host in known.items()
    ]


def _offers(host: Host) -> frozenset[str]:
    uplinks = host.uplinks if "uplink" in host.attachments else []
    addresses = host.addresses if "host" in host.attachments else []
    return frozenset(
        [
            *map(placement.reach, host.attachments),
            *(placement.reach("uplink", name) for name in uplinks),
            *(placement.reach("host", address) for address in addresses),
        ]
    )
