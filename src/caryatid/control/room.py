# SPDX-License-Identifier: Apache-2.0
"""Where amphorae may go: hosts as placement sees them, and the spares that wait there."""

from collections.abc import Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, cast

from caryatid.model import AMPHORA, HOST
from caryatid.model.amphora import Amphora
from caryatid.model.host import Host
from caryatid.plan import placement
from caryatid.plan.placement import HostView, SpareView, Wanted
from caryatid.store import observations, rows
from caryatid.store.database import Tx

MADE = tuple(HostView(name, open=True, capacity=1 << 30, used=0) for name in ("made-1", "made-2"))
"""Where the compute driver makes machines, there is always room for a pair."""

NOWHERE: Final[Mapping[str, str]] = MappingProxyType({})


@dataclass(frozen=True)
class Room:
    """What there is to place amphorae on."""

    hosts: Sequence[HostView]
    spares: Sequence[Amphora]
    believed: Mapping[str, Host] = field(default_factory=dict)
    """Hosts that can be spoken to: neither revoked nor lost."""
    nodes: Mapping[str, str] = field(default_factory=dict)
    """Amphora → the node that its machine is on, where that matters."""
    unfit: AbstractSet[str] = frozenset()
    """Spares that are of no use: their own machines run no more, or are not to be believed."""

    def ready(self, flavor_id: str | None) -> list[SpareView]:
        """Spares of the flavor that can be taken."""
        waiting = (one for one in self.spares if one.status == "READY" and one.id not in self.unfit)
        waiting = (one for one in waiting if one.spare_of == flavor_id)
        return [SpareView(one.id, self.where(one) or "") for one in waiting]

    def where(self, amphora: Amphora) -> str | None:
        """What it is on: two on the same are not apart."""
        return self.nodes.get(amphora.id, amphora.compute_id)


def wanted(
    flavor: Mapping[str, Any], zone: Mapping[str, Any], reaches: frozenset[str] = frozenset(), *, made: bool
) -> Wanted:
    """What flavor and zone ask for. `made`: machines that are made have no labels, and are connected to what their
    cluster says."""
    want = placement.wanted(flavor, zone, reaches)
    return Wanted(topology=want.topology, apart=want.apart) if made else want


def look(
    tx: Tx,
    *,
    made: bool,
    spares: Sequence[Amphora] = (),
    among: Collection[str] | None = None,
    dead: AbstractSet[str] = frozenset(),
    nodes: Mapping[str, str] = NOWHERE,
) -> Room:
    """`made`: the compute driver makes a machine for each amphora. A spare's is a host of its own, on which nobody else
    finds room. Else they go to hosts that have enrolled. `among`: only of these hosts is anything said; None: all.
    `dead`: spares whose own machines run no more. `nodes`: amphora → the node that its machine is on, where two are not
    to be on one."""
    found = rows.find(tx, HOST) if among is None else filter(None, (rows.get(tx, HOST, key) for key in sorted(among)))
    known = {document["id"]: cast(Host, HOST.load(document)) for document in found}
    believed = {
        key: host
        for key, host in known.items()
        if host.operating_status != observations.LOST and host.duty != "REVOKED"
    }
    if made:
        unfit = dead | {one.id for one in spares if _is_unfit(one, believed)}
        own = {nodes.get(one.id, one.compute_id or "") for one in spares if one.id not in unfit}
        views = (HostView(name, open=True, capacity=0, used=1) for name in sorted(own))
        return Room((*MADE, *views), spares, believed, nodes, unfit)
    return Room(_views(known, believed), spares, believed)


def _is_unfit(spare: Amphora, believed: Mapping[str, Host]) -> bool:
    """Its machine's agent has enrolled, and is lost, revoked, or to be left."""
    host = believed.get(spare.compute_id or "")
    return spare.compute_id not in (None, spare.id) and (host is None or not host.enabled)


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
