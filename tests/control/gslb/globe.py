# SPDX-License-Identifier: Apache-2.0
"""A small service in the noop world: regions, one zone, pools with members, names, and what regions say."""

import itertools
import time
from contextlib import suppress
from uuid import NAMESPACE_DNS, uuid5

from sqlalchemy import text

from caryatid.control.gslb.engine import attend
from caryatid.drivers.noop import WORLD
from caryatid.errors import Busy
from caryatid.model import (
    GSLB,
    GSLB_BACKEND,
    GSLB_MEMBER,
    GSLB_MONITOR,
    GSLB_POOL,
    GSLB_REGION,
    GSLB_ZONE,
)
from caryatid.model.gslb.tree import parts_of
from caryatid.store import clock, rows, work
from caryatid.store.gslb import state, trees, uses, votes
from caryatid.store.gslb.votes import Said

ZONE = "example.test."
PROJECT = "p1"
WORDS = {"U": "UP", "D": "DOWN"}
REGIONS = ("eu", "us", "ap")


def uid(name):
    """The id of what is called so here."""
    return str(uuid5(NAMESPACE_DNS, name))


class Globe:
    def __init__(self, door, regions=REGIONS, *, new=True):
        """`new`: nothing is there yet."""
        self.door = door
        self.database = door.database
        self.numbers = itertools.count(1)
        self.regions = tuple(regions)
        if not new:
            return
        for name in regions:
            self.insert(GSLB_REGION, name, {"name": name})
        self.insert(GSLB_BACKEND, "dns", {"driver": "noop"})
        self.insert(GSLB_ZONE, ZONE, {"name": ZONE, "backend_id": uid("dns")})
        self.insert(GSLB_MONITOR, "web", {"type": "tcp"})

    def insert(self, kind, name, body, generation=None, **given):
        """What is called `name` here; its id."""
        key, at = uid(name), clock.text(time.time())
        own = {"id": key, "project_id": PROJECT, "created_at": at, "updated_at": at, **given}
        row = kind.new(body, {name: value for name, value in own.items() if name in kind.attributes})
        with self.database.transaction() as tx:
            rows.insert(tx, kind, [row], root_id=key if kind.is_root else None, generation=generation)
        return key

    def pool(self, name, *addresses, **body):
        """A pool whose members are called by their addresses."""
        body = {"monitors": [{"monitor_id": uid("web")}], **body}
        key = self.insert(GSLB_POOL, name, {"name": name, **body})
        for address in addresses:
            self.member(name, address)
        return key

    def member(self, pool, address, **body):
        return self.insert(GSLB_MEMBER, address, {"address": address, **body}, pool_id=uid(pool))

    def elsewhere(self, backend, zone):
        """Another zone, of another backend."""
        self.insert(GSLB_BACKEND, backend, {"driver": "noop"})
        self.insert(GSLB_ZONE, zone, {"name": zone, "backend_id": uid(backend)})

    def gslb(self, name, *pools, zone=ZONE, **body):
        """`name` in the zone, answered with these pools."""
        fqdn = f"{name}.{zone}"
        used = [{"pool_id": uid(pool), "priority": number} for number, pool in enumerate(pools)]
        wanted = {"fqdn": fqdn, "pools": used, **body}
        key = self.insert(GSLB, f"{name} {next(self.numbers)}", wanted, generation=rows.FIRST, zone_id=uid(zone))
        with self.database.transaction() as tx:
            (tree,) = trees.load(tx, [key])
            uses.replace(tx, key, parts_of(tree.gslb, tree.geomap, tree.pools), rows.FIRST)
            work.begin(tx, key, kind=GSLB)
        return key

    def change(self, key, **values):
        """The gslb is wanted otherwise."""
        with self.database.transaction() as tx:
            rows.lock_root(tx, key, GSLB)
            row = GSLB.change(rows.get(tx, GSLB, key), values)
            generation = work.ask(tx, key, kind=GSLB)
            rows.change(tx, GSLB, row, generation=generation, at=clock.text(time.time()))
            (tree,) = trees.load(tx, [key])
            uses.replace(tx, key, parts_of(tree.gslb, tree.geomap, tree.pools), generation)

    def move(self, key, zone):
        """The name belongs to another zone now."""
        with self.database.transaction() as tx:
            rows.lock_root(tx, key, GSLB)
            work.ask(tx, key, kind=GSLB)
            tx.connection.execute(
                text("UPDATE gslb SET zone_id = :zone WHERE id = :key"), {"zone": uid(zone), "key": key}
            )

    def change_member(self, key, **values):
        with self.database.transaction() as tx:
            rows.lock(tx, GSLB_MEMBER, key)
            row = GSLB_MEMBER.change(rows.get(tx, GSLB_MEMBER, key), values)
            rows.change(tx, GSLB_MEMBER, row, at=clock.text(time.time()))
            found = uses.users(tx, GSLB_POOL.name, [row.pool_id])
            asked = work.ask_all(tx, list(rows.lock_roots(tx, found, GSLB)), kind=GSLB)
            uses.changed(tx, (GSLB_POOL.name, row.pool_id), asked)

    def delete(self, key):
        with self.database.transaction() as tx:
            rows.lock_root(tx, key, GSLB)
            rows.delete(tx, GSLB, [key], generation=work.ask(tx, key, kind=GSLB))

    def say(self, address, words, age_s=0.0, checker=None, wake=True):
        """What each region says of a member; `-`: nothing. `checker`: who says so in all of them."""
        member = uid(address)
        with self.database.transaction() as tx:
            now = clock.now(tx) - age_s
            for region, word in zip(self.regions, words, strict=False):
                if word != "-":
                    said = Said(
                        member, uid("web"), WORDS[word], now, 0, next(self.numbers), f"as {region} sees it", 5.0
                    )
                    votes.write(tx, uid(region), checker or f"checker-{region}", [said], now)
        if wake:
            self.wake()

    def silence(self):
        """All votes have expired."""
        with self.database.transaction() as tx:
            tx.connection.execute(text("UPDATE gslb_vote SET at = at - 1000000, since = since - 1000000"))

    def expire(self):
        """Leases have run out, and what is due some time is due."""
        with self.database.transaction() as tx:
            tx.connection.execute(text("UPDATE work SET lease_until = NULL"))
            tx.connection.execute(text("UPDATE work SET due_at = 0 WHERE due_at IS NOT NULL"))

    def wake(self):
        """All gslbs are looked at."""
        with self.database.transaction() as tx:
            found = [name.gslb_id for name in trees.in_zones(tx, [uid(ZONE)])]
            work.wake_roots(tx, found, kind=GSLB)

    def tries(self, key):
        """How often in a row it was tried in vain."""
        with self.database.read() as tx:
            return (
                tx.connection.execute(text("SELECT tries FROM work WHERE root_id = :key"), {"key": key}).scalar() or 0
            )

    def cut_off(self):
        """All connections to the database are lost (PostgreSQL)."""
        if self.database.dialect == "postgresql":
            mine = "datname = current_database() AND pid <> pg_backend_pid()"
            with suppress(Busy), self.database.transaction() as tx:
                tx.connection.execute(text(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {mine}"))

    def living(self, key):
        """Whether nobody has deleted it."""
        with self.database.read() as tx:
            return key in {row["id"] for row in rows.find(tx, GSLB)}

    def claims(self, worker="engine"):
        return work.claim_some(self.database, worker, GSLB, 200)

    def turn(self, since=0.0):
        """All that is due now has been attended to; what came of it."""
        outcomes = []
        for _ in range(50):
            claims = self.claims()
            if not claims:
                return outcomes
            outcomes += attend(self.door, claims, since)
        raise AssertionError("it never ends")

    def told(self, name, rrtype="A", zone=ZONE):
        """What is answered; None: nothing was ever published, or it was withdrawn."""
        found = WORLD.zones.get(zone, {}).get((f"{name}.{zone}", rrtype))
        return None if found is None else [each.content for each in found.answers.default.candidates]

    def get(self, kind, key):
        with self.database.read() as tx:
            return rows.get(tx, kind, key)

    def state(self, key):
        with self.database.read() as tx:
            return state.load(tx, [key]).get(key)
