# SPDX-License-Identifier: Apache-2.0
"""An installation whose amphorae are machines of a cluster: real rows, driver and enrolment. The hand that writes how
far machines are is the test's; what agents are told goes to the noop world."""

import json
from dataclasses import replace

from sqlalchemy import text

from caryatid.config import Settings
from caryatid.control import admission, authority, initial, writes
from caryatid.control.attempt import Attempt
from caryatid.control.ganeti import noting
from caryatid.control.ganeti.noting import Notes, Step
from caryatid.control.ganeti.seeds import new_seed
from caryatid.control.housekeeping import remove_buried
from caryatid.control.initial import NETWORK_ID
from caryatid.control.reconcile import attend
from caryatid.model import AMPHORA, CLUSTER, FLAVOR, FLAVORPROFILE, HOST, LOADBALANCER, SUBNET
from caryatid.model.policy import Caller
from caryatid.plan import certificates
from caryatid.store import clock, rows, work
from caryatid.store.ganeti import jobs, machines, seen
from caryatid.store.ganeti.jobs import ClusterJob
from caryatid.wire.conductor import Enrolment, EnrolmentToken, HostFacts
from caryatid.wire.seed import Seed
from tests.doors import open_door

ADMIN = Caller("tester", "p1", is_admin=True, request_id="req-1")
CLUSTER_WISH = {
    "name": "west",
    "rapi_url": "https://west.example.test:5080",
    "rapi_user": "caryatid",
    "rapi_password": "correct horse",
    "nics": [{"network": "amphorae", "uplink": "default"}],
}


class Works:
    """A controller whose compute driver is `ganeti`, one cluster, and a subnet for VIPs."""

    def __init__(self, database, state_dir, **settings):
        known = {"amphora_driver": "noop", "compute_driver": "ganeti", "network_driver": "noop", **settings}
        self.door = open_door(database, Settings(state_dir=state_dir, **known))
        self.database = database
        initial.ensure(self.door)
        self.registry = authority.open_registry(database, self.door.settings)
        self.numbers = iter(range(1, 1 << 20))
        self.cluster_id = self.cluster()
        subnet = {"network_id": NETWORK_ID, "cidr": "10.9.0.0/24", "attachment": "uplink"}
        self.subnet_id = writes.create(self.door, ADMIN, SUBNET, subnet).document["id"]

    def cluster(self, *, online=True, **body):
        key = writes.create(self.door, ADMIN, CLUSTER, {**CLUSTER_WISH, **body}).document["id"]
        if online:
            with self.database.transaction() as tx:
                seen.write(tx, seen.Seen(key, "ONLINE", 1.0))
        return key

    # wishes

    def flavor(self, **data):
        name = f"f{next(self.numbers)}"
        profile = {"name": name, "provider_name": "amphora", "flavor_data": json.dumps(data)}
        made = writes.create(self.door, ADMIN, FLAVORPROFILE, profile).document["id"]
        return writes.create(self.door, ADMIN, FLAVOR, {"name": name, "flavor_profile_id": made}).document["id"]

    def create(self, **body):
        return writes.create(self.door, ADMIN, LOADBALANCER, {"vip_subnet_id": self.subnet_id, **body})

    def delete(self, root_id):
        writes.delete(self.door, ADMIN, LOADBALANCER, root_id)

    # workers

    def make_due(self):
        with self.database.transaction() as tx:
            tx.connection.execute(text("UPDATE work SET due_at = 0 WHERE due_at IS NOT NULL"))

    def work(self, times=1):
        """Everything that waits is looked at, so often; the outcomes of the last time."""
        for _ in range(times):
            self.make_due()
            outcomes = []
            while (claim := work.claim(self.database, "test")) is not None:
                outcomes.append(attend(self.door, Attempt(claim)))
        return outcomes

    def drain(self):
        """Only what is due is looked at."""
        while (claim := work.claim(self.database, "test")) is not None:
            attend(self.door, Attempt(claim))

    def tidy(self):
        remove_buried(self.door)

    # who watches the cluster

    def step(self, before, act="", **changes):
        """What is written of the machine by whoever watches the cluster; None: somebody was faster."""
        step = Step(before, replace(before, **changes), act)
        with self.database.read() as tx:
            cluster = CLUSTER.load(rows.get(tx, CLUSTER, before.cluster_id))
        written = noting.write(self.registry, cluster, Notes([step])).steps
        return written[0].after if written else None

    def make(self, amphora_id, node="node1"):
        """Its machine is asked for, made, and boots; with a token of its own."""
        self.step(self.machine(amphora_id), phase="CREATING", asked_at=self.now(), changed_at=self.now(), job_id=None)
        job = next(self.numbers)
        self.step(self.machine(amphora_id), job_id=job)
        with self.database.transaction() as tx:
            told = [[1.0, "* creating disks..."], [2.0, "* running the instance OS create scripts..."]]
            known = ClusterJob(self.cluster_id, job, "create", amphora_id, None, "", "success", 1.0, log=told, serial=2)
            jobs.write(tx, [known])
        self.step(self.machine(amphora_id), phase="BOOTING", job_id=None, node=node, deadline_at=self.now() + 60)

    def token(self, amphora_id):
        """What its agent enrols with."""
        with self.database.transaction() as tx:
            cluster = CLUSTER.load(rows.get(tx, CLUSTER, self.cluster_id))
            seed = Seed.decode(new_seed(tx, self.registry, cluster, machines.get(tx, amphora_id)))
        return EnrolmentToken.decode(seed.token)

    def enrol(self, amphora_id, token=None):
        """Its agent speaks for the first time; the host that it is."""
        token = token or self.token(amphora_id)
        facts = HostFacts(
            name=f"amphora-{amphora_id}",
            agent_url=f"https://192.0.2.{next(self.numbers) % 250 + 1}:9443",
            capacity=1,
            bindable_from=1,
            agent_version="0",
            haproxy_version="0",
        )
        csr = certificates.request(certificates.new_key()).decode()
        wanted = Enrolment(token_id=token.id, secret=token.secret, csr_pem=csr, host=facts)
        return admission.enrol(self.registry, wanted).host_id

    def bring_up(self, amphora_id, node="node1"):
        self.make(amphora_id, node)
        return self.enrol(amphora_id)

    def lose(self, amphora_id):
        """Its machine runs no more."""
        before = self.machine(amphora_id)
        self.step(before, "lost", phase="DEAD", changed_at=self.now(), reason="it runs no more", deadline_at=None)

    def forget(self, amphora_id):
        """Its instance is known to be gone."""
        self.step(self.machine(amphora_id), "forget", phase="DELETING")

    # what there is

    def now(self):
        with self.database.read() as tx:
            return clock.now(tx)

    def machine(self, amphora_id):
        with self.database.read() as tx:
            return machines.get(tx, amphora_id)

    def machines(self):
        with self.database.read() as tx:
            return {one.amphora_id: one for one in machines.of_cluster(tx, self.cluster_id)}

    def phases(self):
        return sorted(one.phase for one in self.machines().values())

    def amphorae(self, root_id):
        """Those that stay, by role."""
        with self.database.read() as tx:
            found = rows.find(tx, AMPHORA, loadbalancer_id=root_id)
        return {one["role"]: one for one in found if one["status"] != "PENDING_DELETE"}

    def only(self, root_id):
        (amphora,) = self.amphorae(root_id).values()
        return amphora

    def get(self, kind, key):
        with self.database.read() as tx:
            return rows.get(tx, kind, key)

    def status(self, root_id):
        document = self.get(LOADBALANCER, root_id)
        return document and document["provisioning_status"]

    def hosts(self):
        with self.database.read() as tx:
            return {one["id"] for one in rows.find(tx, HOST)}

    def serving(self, **body):
        """A load balancer in effect."""
        root_id = self.create(**body).document["id"]
        self.work()
        for number, role in enumerate(sorted(self.amphorae(root_id)), 1):
            self.bring_up(self.amphorae(root_id)[role]["id"], f"node{number}")
        self.work()
        assert self.status(root_id) == "ACTIVE"
        return root_id
