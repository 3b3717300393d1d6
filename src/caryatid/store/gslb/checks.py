# SPDX-License-Identifier: Apache-2.0
"""All that is checked, read at once; and whether any of it may be otherwise than last time."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy import func, select

from caryatid.model import GSLB, GSLB_MEMBER, GSLB_MONITOR, GSLB_POOL, GSLB_REGION, SUBNET
from caryatid.model.gslb.member import GslbMember
from caryatid.model.gslb.monitor import GslbMonitor
from caryatid.model.gslb.place import GslbRegion
from caryatid.model.gslb.pool import GslbPool
from caryatid.store.database import Tx
from caryatid.store.gslb.tables import GSLB_REMOTE, GSLB_USE
from caryatid.store.tables import TABLES

from . import bundles, elsewhere, loadbalancers, trees
from .loadbalancers import Own


@dataclass(frozen=True, slots=True)
class Checked:
    """What gslbs use, as far as somebody has to check it."""

    regions: Sequence[GslbRegion]
    pools: Sequence[GslbPool]
    members: Sequence[GslbMember]
    monitors: Mapping[str, GslbMonitor]
    own: Mapping[str, Own]
    """By member: those that say themselves where they are."""
    digests: Mapping[str, Mapping[str, str]]
    """By monitor: parameter → digest of what the reference in it stands for."""


def fingerprint(tx: Tx) -> Hashable:
    """The same twice: nothing that is checked has changed between. A change of a part raises the generation of whoever
    uses it, and so of the use."""
    return tuple(tuple(tx.connection.execute(statement).one()) for statement in _FINGERPRINT)


def monitors_fingerprint(tx: Tx) -> Hashable:
    """The same of monitors, used or not."""
    return tuple(tx.connection.execute(_MONITORS).one())


def load(tx: Tx) -> Checked:
    """All of it, in few statements."""
    used = list(tx.connection.execute(_USED).scalars())
    pools = cast(dict[str, GslbPool], trees.some(tx, GSLB_POOL, used))
    checked = [pool for pool in pools.values() if pool.monitors]
    ids = {use.monitor_id for pool in checked for use in pool.monitors}
    monitors = cast(dict[str, GslbMonitor], trees.some(tx, GSLB_MONITOR, sorted(ids)))
    members = trees.members_of(tx, [pool.id for pool in checked])
    digests = bundles.digests(tx, list(monitors))
    return Checked(trees.regions(tx), checked, members, monitors, loadbalancers.own_of(tx, members), digests)


def _number(name: str) -> Any:
    table = TABLES[name]
    return select(func.count(), func.max(table.c.updated_at)).select_from(table)


_LIVING = TABLES[GSLB.name]
_USED = (
    select(GSLB_USE.c.id)
    .join(_LIVING, _LIVING.c.id == GSLB_USE.c.gslb_id)
    .where(GSLB_USE.c.kind == GSLB_POOL.name, _LIVING.c.deleted_generation.is_(None))
    .distinct()
)
_MONITORS = _number(GSLB_MONITOR.name)
_FINGERPRINT = (
    select(func.count(), func.sum(GSLB_USE.c.generation)),
    _number(GSLB.name).add_columns(func.max(_LIVING.c.created_at), func.count(_LIVING.c.deleted_generation)),
    *(_number(kind.name) for kind in (GSLB_POOL, GSLB_MEMBER, GSLB_REGION, SUBNET)),
    _MONITORS,
    select(func.count(), func.max(GSLB_REMOTE.c.since)).select_from(GSLB_REMOTE),
    elsewhere.FINGERPRINT,
    bundles.FINGERPRINT,
)
