# SPDX-License-Identifier: Apache-2.0
"""Gslbs and what they use, written as the door for wishes writes them."""

import itertools
from typing import Any
from uuid import uuid4

import pytest

from caryatid.model import GSLB, GSLB_BACKEND, GSLB_GEOMAP, GSLB_MEMBER, GSLB_MONITOR, GSLB_POOL, GSLB_ZONE
from caryatid.model.gslb.tree import parts_of
from caryatid.model.kind import Kind
from caryatid.store import rows, work
from caryatid.store.database import Database
from caryatid.store.gslb import trees, uses

BODIES: dict[str, dict[str, Any]] = {
    "gslb": {"fqdn": "www.example.test"},
    "gslb_pool": {},
    "gslb_member": {"address": "192.0.2.1"},
    "gslb_monitor": {"type": "tcp"},
    "gslb_geomap": {},
    "gslb_zone": {"name": "example.test"},
    "gslb_backend": {"driver": "noop"},
    "gslb_region": {"name": "fra"},
}


class Orchard:
    """Grows gslbs and their parts."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.ages = itertools.count(1)

    def row(self, kind: Kind, **body: Any) -> Any:
        at = f"2026-11-21T19:00:00.{next(self.ages):06d}"
        given = {"id": str(uuid4()), "created_at": at, "updated_at": at}
        given |= {name: body.pop(name) for name in ("zone_id",) if name in body}
        given |= {"project_id": "p1"} if kind.owned else {}
        if kind.parent:
            given[kind.parent] = body.pop(kind.parent)
        return kind.new({**BODIES[kind.name], **body}, given)

    def part(self, kind: Kind, **body: Any) -> str:
        row = self.row(kind, **body)
        with self.database.transaction() as tx:
            rows.insert(tx, kind, [row])
        return str(row.id)

    def gslb(self, **body: Any) -> str:
        row = self.row(GSLB, **body)
        with self.database.transaction() as tx:
            rows.insert(tx, GSLB, [row], root_id=row.id, generation=rows.FIRST)
            work.begin(tx, row.id, kind=GSLB)
            tree = trees.load(tx, [row.id])[0]
            uses.replace(tx, row.id, parts_of(tree.gslb, tree.geomap, tree.pools), rows.FIRST)
        return str(row.id)

    def ask(self, key: str) -> int:
        with self.database.transaction() as tx:
            rows.lock_root(tx, key, GSLB)
            return work.ask(tx, key, kind=GSLB)

    def change_part(self, kind: Kind, key: str) -> None:
        """As a wish for another form of it does."""
        with self.database.transaction() as tx:
            found = uses.users(tx, kind.name, [key])
            rows.lock_roots(tx, found, GSLB)
            uses.changed(tx, (kind.name, key), {one: work.ask(tx, one, kind=GSLB) for one in found})

    def settle(self, key: str, outcome: Any) -> None:
        held = next(one for one in work.claim_some(self.database, "test", GSLB, 100) if one.root_id == key)
        with self.database.transaction() as tx:
            work.settle(tx, held, outcome)

    def status(self, kind: Kind, key: str) -> Any:
        with self.database.read() as tx:
            document = rows.get(tx, kind, key)
            return document and document["provisioning_status"]

    def whole(self) -> dict[str, str]:
        """A gslb with one of everything; kind → id."""
        backend = self.part(GSLB_BACKEND)
        zone = self.part(GSLB_ZONE, backend_id=backend)
        monitor = self.part(GSLB_MONITOR)
        pool = self.part(GSLB_POOL, monitors=[{"monitor_id": monitor}])
        mapped = self.part(GSLB_POOL)
        geomap = self.part(GSLB_GEOMAP, rules=[{"countries": ["DE"], "pool_ids": [mapped]}])
        member = self.part(GSLB_MEMBER, pool_id=pool)
        gslb = self.gslb(pools=[{"pool_id": pool}], steering_policy="geo", geomap_id=geomap, zone_id=zone)
        return {
            "gslb": gslb,
            "gslb_pool": pool,
            "mapped": mapped,
            "gslb_member": member,
            "gslb_monitor": monitor,
            "gslb_geomap": geomap,
            "gslb_zone": zone,
            "gslb_backend": backend,
        }


@pytest.fixture
def orchard(database: Database) -> Orchard:
    return Orchard(database)
