# SPDX-License-Identifier: Apache-2.0
"""What a wish names: looked for, held until the transaction ends, and refused where it is not the project's."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, cast

from caryatid.errors import Fault, Refused, Unsupported
from caryatid.model import GSLB_BACKEND, GSLB_GEOMAP, GSLB_MONITOR, GSLB_POOL, GSLB_REGION
from caryatid.model.gslb import rules
from caryatid.model.gslb.gslb import GeoRule, Gslb
from caryatid.model.gslb.place import GslbBackend, GslbGeomap, GslbZone
from caryatid.model.gslb.pool import GslbPool
from caryatid.model.gslb.tree import Part, parts_of, pools_of
from caryatid.model.gslb.words import POLICIES, SteeringPolicy
from caryatid.model.kind import Kind
from caryatid.store import rows
from caryatid.store.database import Tx
from caryatid.store.gslb import parts, trees

NO_ZONE: Final = (
    "No zone of this project, or shared, holds {fqdn}: make one (POST /gslb/v1/zones), or choose a name within one of "
    "those that there are (GET /gslb/v1/zones)."
)


@dataclass(frozen=True)
class Used:
    """What a gslb is made of."""

    gslb: Gslb
    zone: GslbZone
    backend: GslbBackend
    geomap: GslbGeomap | None = None
    pools: Mapping[str, GslbPool] = field(default_factory=dict)

    @property
    def parts(self) -> set[Part]:
        return parts_of(self.gslb, self.geomap, self.pools)


def hold(tx: Tx, gslb: Gslb) -> None:
    """What it names stays as it is until this transaction ends."""
    geomaps = parts.held(tx, GSLB_GEOMAP, filter(None, [gslb.geomap_id]))
    parts.held(tx, GSLB_POOL, pools_of(gslb, cast(GslbGeomap | None, geomaps.get(gslb.geomap_id or ""))))


def used(tx: Tx, gslb: Gslb) -> Used:
    """What it is made of, all of it there and its project's; its zone is known now. Raises Refused, Unsupported."""
    faults: list[Fault] = []
    zone = _zone(tx, gslb)
    if zone is None:
        faults.append(Fault(NO_ZONE.format(fqdn=gslb.fqdn), "fqdn"))
    else:
        faults += rules.gslb_faults(gslb, zone)
    geomaps = trees.some(tx, GSLB_GEOMAP, [gslb.geomap_id] if gslb.geomap_id else [])
    pools = trees.some(tx, GSLB_POOL, list(dict.fromkeys(pools_of(gslb, None))))
    faults += _strange(GSLB_GEOMAP, [gslb.geomap_id] if gslb.geomap_id else [], geomaps, gslb.project_id, "geomap_id")
    for attribute, ids in _named(gslb):
        faults += _strange(GSLB_POOL, ids, pools, gslb.project_id, attribute)
    if faults or zone is None:
        raise Refused(faults)
    geomap = cast(GslbGeomap | None, geomaps.get(gslb.geomap_id or ""))
    pools |= trees.some(tx, GSLB_POOL, [key for key in pools_of(gslb, geomap) if key not in pools])
    backend = cast(GslbBackend, trees.some(tx, GSLB_BACKEND, [zone.backend_id])[zone.backend_id])
    found = cast(dict[str, GslbPool], pools)
    require_able(tx, backend, rules.needed(gslb, found.values()))
    return Used(gslb.model_copy(update={"zone_id": zone.id}), zone, backend, geomap, found)


def require_able(tx: Tx, backend: GslbBackend, needed: Collection[SteeringPolicy]) -> None:
    """Raises Unsupported, naming the backends that can, if the servers of this one cannot."""
    missing = set(needed) - set(backend.policies)
    if not missing:
        return
    words = ", ".join(name for name in POLICIES if name in missing)
    backends = [cast(GslbBackend, GSLB_BACKEND.load(document)) for document in rows.find(tx, GSLB_BACKEND)]
    others = sorted({one.name or one.id for one in backends if set(needed) <= set(one.policies)})
    remedy = f"These can: {', '.join(others)}." if others else "None of those that there are can."
    known = ", ".join(name for name in POLICIES if name in backend.policies) or "nothing"
    raise Unsupported(
        f"The DNS servers of backend {backend.name or backend.id} ({backend.driver}) cannot do {words}; they can do "
        f"{known}. {remedy}"
    )


def pool_faults(tx: Tx, pool: GslbPool) -> Iterator[Fault]:
    """What the pool names, and is not there or not its project's."""
    monitors = parts.held(tx, GSLB_MONITOR, ids := [use.monitor_id for use in pool.monitors])
    yield from _strange(GSLB_MONITOR, ids, monitors, pool.project_id, "monitors")
    yield from region_faults(tx, [pool.region_id] if pool.region_id else [], "region_id")


def geomap_faults(tx: Tx, geomap: GslbGeomap) -> Iterator[Fault]:
    """The same of a geomap."""
    pools = parts.held(tx, GSLB_POOL, ids := _of_rules(geomap.rules))
    yield from _strange(GSLB_POOL, ids, pools, geomap.project_id, "rules")


def region_faults(tx: Tx, ids: Sequence[str], attribute: str) -> Iterator[Fault]:
    """Regions are nobody's."""
    known = parts.held(tx, GSLB_REGION, ids)
    yield from (_missing(GSLB_REGION, key, attribute) for key in ids if key not in known)


def _zone(tx: Tx, gslb: Gslb) -> GslbZone | None:
    """The one that answers for the name, if the project may use it."""
    found = next(iter(parts.zones(tx, rules.within(gslb.fqdn))), None)
    return found if found is not None and (found.shared or found.project_id == gslb.project_id) else None


def _named(gslb: Gslb) -> Iterator[tuple[str, list[str]]]:
    """The pools that it names, by the attribute that does."""
    yield "pools", [use.pool_id for use in gslb.pools]
    yield "rules", _of_rules(gslb.rules)
    yield "fallback_pool_id", [gslb.fallback_pool_id] if gslb.fallback_pool_id else []


def _of_rules(given: Iterable[GeoRule]) -> list[str]:
    return list(dict.fromkeys(key for rule in given for key in rule.pool_ids))


def _strange(
    kind: Kind, ids: Iterable[str], found: Mapping[str, object], project_id: str, attribute: str
) -> Iterator[Fault]:
    """Those that are not there, or another project's, which is the same to whoever asks."""
    for key in ids:
        if getattr(found.get(key), "project_id", None) != project_id:
            yield _missing(kind, key, attribute)


def _missing(kind: Kind, key: str, attribute: str) -> Fault:
    return Fault(f"{kind.title} {key} not found.", attribute)
