# SPDX-License-Identifier: Apache-2.0
"""A cluster of ours, who watches it, and wishes for machines there."""

import threading
from contextlib import contextmanager
from uuid import uuid4

from sqlalchemy import text

from bench.waiting import until
from caryatid.config import Settings
from caryatid.control import authority, initial, writes
from caryatid.control.ganeti.arrival import arrived
from caryatid.control.ganeti.desk import Desk
from caryatid.control.ganeti.watcher import Watcher
from caryatid.model import AMPHORA, CLUSTER, HOST
from caryatid.model.cluster import MachineWish
from caryatid.model.policy import Caller
from caryatid.services import loop
from caryatid.store import clock, hosts, observations, rows
from caryatid.store.ganeti import jobs, machines, seen
from caryatid.store.hosts import Credential
from caryatid.wire.rapi.client import Rapi
from tests.doors import open_door

DEADLINE_S = 60
AT = "2026-11-21T00:00:00.000000"
ADMIN = Caller("tester", "p1", is_admin=True, request_id="req-1")
WISH = {
    "name": "west",
    "rapi_url": "https://west.example.test:5080",
    "rapi_user": "caryatid",
    "rapi_password": "correct horse",
    "nics": [{"network": "amphorae"}],
}


class Watched:
    """A controller's database with one cluster in it."""

    def __init__(self, database, state_dir, **cluster):
        settings = Settings(state_dir=state_dir, amphora_driver="noop", compute_driver="noop", network_driver="noop")
        self.door = open_door(database, settings)
        initial.ensure(self.door)
        self.registry = authority.open_registry(database, settings)
        self.database = database
        self.watchers = []
        self.desk = Desk(database)
        self.cluster_id = writes.create(self.door, ADMIN, CLUSTER, {**WISH, **cluster}).document["id"]
        with database.transaction() as tx:  # one that answers is what machines are made in
            seen.write(tx, seen.Seen(self.cluster_id, "ONLINE", 1.0))

    @contextmanager
    def watcher(self, rapi=Rapi):
        """It watches while this is entered. `rapi`: who is asked, given address, user, password and authorities."""
        stop, watcher = threading.Event(), Watcher(self.door, self.registry, self.cluster_id, rapi)
        thread = loop.start("watcher", lambda: loop.forever("watcher", watcher.turn, stop))
        self.watchers.append(watcher)
        try:
            yield watcher
        finally:
            self.watchers.remove(watcher)
            stop.set()
            for one in (thread, *watcher.stop(), thread):
                one.join(DEADLINE_S)
                assert not one.is_alive()

    def want(self, loadbalancer_id=None, **wish):
        """The amphora whose machine is wanted."""
        key = str(uuid4())
        amphora = AMPHORA.model(id=key, created_at=AT, updated_at=AT, loadbalancer_id=loadbalancer_id, status="BOOTING")
        with self.database.transaction() as tx:
            rows.insert(tx, AMPHORA, [amphora])
        self.desk.want(key, MachineWish(**wish))
        self.ring()
        return key

    def unwant(self, amphora_id):
        self.desk.unwant(amphora_id)
        with self.database.transaction() as tx:
            rows.delete(tx, AMPHORA, [amphora_id])
        self.ring()

    def ring(self):
        """What wake-ups do where there are processes."""
        for watcher in list(self.watchers):
            watcher.ring()

    def enrol(self, amphora_id):
        """Its agent comes; the host that it is."""
        host_id = str(uuid4())
        host = HOST.model(id=host_id, created_at=AT, name="h", agent_url="https://192.0.2.9:9443")
        with self.database.transaction() as tx:
            machine = machines.get(tx, amphora_id)
            assert arrived(tx, amphora_id, host_id, max(clock.now(tx), machine.changed_at))
            rows.insert(tx, HOST, [host])
            hosts.write_credential(tx, Credential(host_id, b"", "00"))
        return host_id

    def machine(self, amphora_id):
        with self.database.read() as tx:
            return machines.get(tx, amphora_id)

    def forget_job(self, amphora_id):
        """As if who asked for the machine had died before it wrote down the answer."""
        with self.database.transaction() as tx:
            tx.connection.execute(
                text("UPDATE machine SET job_id = NULL, phase = 'CREATING' WHERE amphora_id = :key"),
                {"key": amphora_id},
            )

    def every(self):
        with self.database.read() as tx:
            return machines.of_cluster(tx, self.cluster_id)

    def seen(self):
        with self.database.read() as tx:
            return seen.get(tx, self.cluster_id)

    def jobs(self, amphora_id):
        with self.database.read() as tx:
            return jobs.page(tx, self.cluster_id, limit=100, amphora_id=amphora_id)

    def lost(self):
        with self.database.read() as tx:
            return observations.lost_amphorae(tx)

    def due(self):
        """Roots that somebody shall look at."""
        with self.database.read() as tx:
            return {
                root for (root,) in tx.connection.execute(text("SELECT root_id FROM work WHERE due_at IS NOT NULL"))
            }

    def until(self, amphora_id, phase, timeout_s=DEADLINE_S):
        """The machine, once it is there."""
        return until(lambda: self._in(amphora_id, phase), f"it is {phase}: {self.machine(amphora_id)}", timeout_s)

    def _in(self, amphora_id, phase):
        machine = self.machine(amphora_id)
        return machine if machine and machine.phase == phase else None

    def until_gone(self, amphora_id, timeout_s=DEADLINE_S):
        until(lambda: self.machine(amphora_id) is None, "the row of its machine is gone", timeout_s)
