# SPDX-License-Identifier: Apache-2.0
"""A gslb with all that it uses: what is decided about and published. Detached from the database."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from .gslb import Gslb
from .member import GslbMember
from .monitor import GSLB_MONITOR, GslbMonitor
from .place import GSLB_GEOMAP, GSLB_ZONE, GslbBackend, GslbGeomap, GslbZone
from .pool import GSLB_POOL, GslbPool

Part = tuple[str, str]
"""Name of its kind, and its id."""


@dataclass(frozen=True, slots=True)
class GslbTree:
    """A gslb as it is wanted, and what it uses."""

    gslb: Gslb
    generation: int = 0
    observed_generation: int = 0
    deleted: bool = False
    """It is being deleted."""
    zone: GslbZone | None = None
    backend: GslbBackend | None = None
    geomap: GslbGeomap | None = None
    pools: Mapping[str, GslbPool] = field(default_factory=dict)
    members: Mapping[str, Sequence[GslbMember]] = field(default_factory=dict)
    """By pool, oldest first."""
    monitors: Mapping[str, GslbMonitor] = field(default_factory=dict)


def pools_of(gslb: Gslb, geomap: GslbGeomap | None) -> Iterator[str]:
    """The pools that a gslb uses, some more than once."""
    yield from (use.pool_id for use in gslb.pools)
    for rule in (*gslb.rules, *(geomap.rules if geomap else ())):
        yield from rule.pool_ids
    if gslb.fallback_pool_id is not None:
        yield gslb.fallback_pool_id


def parts_of(gslb: Gslb, geomap: GslbGeomap | None, pools: Mapping[str, GslbPool]) -> set[Part]:
    """All that a gslb uses. Members count as part of their pools."""
    found: set[Part] = set()
    for pool_id in pools_of(gslb, geomap):
        found.add((GSLB_POOL.name, pool_id))
        if pool_id in pools:
            found |= {(GSLB_MONITOR.name, use.monitor_id) for use in pools[pool_id].monitors}
    if gslb.geomap_id is not None:
        found.add((GSLB_GEOMAP.name, gslb.geomap_id))
    if gslb.zone_id is not None:
        found.add((GSLB_ZONE.name, gslb.zone_id))
    return found
