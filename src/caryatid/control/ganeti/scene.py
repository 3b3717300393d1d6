# SPDX-License-Identifier: Apache-2.0
"""What is written down of a cluster: read whole, as of one moment."""

from dataclasses import dataclass, field
from typing import Final, cast
from uuid import uuid4

from caryatid.control.door import Door
from caryatid.model import CLUSTER
from caryatid.model.cluster import Cluster, Machine
from caryatid.store import clock, hosts, rows
from caryatid.store.database import Database, Tx
from caryatid.store.ganeti import machines, seen
from caryatid.store.ganeti.seen import Seen

from .clusters import password_of

INSTALLATION: Final = "installation"
"""Setting that names this installation towards those that serve several."""


@dataclass(frozen=True)
class Scene:
    """A cluster, its machines, and how it was when it was last asked."""

    cluster: Cluster
    password: str = field(repr=False)
    """Of the RAPI's user."""
    machines: tuple[Machine, ...]
    """In the order of amphorae."""
    seen: Seen | None
    now: float
    """By the clock that all processes share, in seconds since the epoch."""


def read(door: Door, cluster_id: str) -> Scene | None:
    """None: there is no such cluster (any more). Raises Busy, NoMasterKey."""
    with door.database.read() as tx:
        document = rows.get(tx, CLUSTER, cluster_id)
        if document is None:
            return None
        cluster = cast(Cluster, CLUSTER.load(document))
        password = password_of(tx, door, cluster_id)
        there = tuple(machines.of_cluster(tx, cluster_id))
        return Scene(cluster, password, there, seen.get(tx, cluster_id), clock.now(tx))


def installation(database: Database) -> str:
    """The name by which a cluster's other users tell our instances from theirs. Made once, and kept."""
    with database.read() as tx:
        known = hosts.setting(tx, INSTALLATION)
    if known is not None:
        return known.decode()
    with database.transaction() as tx:
        return _kept(tx)


def _kept(tx: Tx) -> str:
    return hosts.keep_setting(tx, INSTALLATION, str(uuid4()).encode()).decode()
