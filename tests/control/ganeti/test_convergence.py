# SPDX-License-Identifier: Apache-2.0
"""Workers that are killed anywhere or overtaken, machines that come, fail and die at any moment, agents that speak too
late: there is never a second machine for an amphora, and in the end each load balancer has what it was to have."""

import shutil
import tempfile
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from sqlalchemy import text

from caryatid.control import hosts, operator, spares
from caryatid.control.attempt import Attempt
from caryatid.control.door import provider
from caryatid.control.ganeti.desk import Desk
from caryatid.control.reconcile import attend
from caryatid.drivers.compute.ganeti import GanetiDriver
from caryatid.drivers.noop import WORLD, NoopAmphoraDriver, NoopNetworkDriver
from caryatid.errors import CaryatidError, Forbidden, LeaseLost, Unauthorized
from caryatid.model import AMPHORA, HOST, LOADBALANCER, PORT
from caryatid.plan.placement import ROLES
from caryatid.store import hosts as host_store
from caryatid.store import rows, work
from caryatid.store.database import Database
from tests.control.ganeti.works import ADMIN, Works

TURNS_MAX = 300
NUMBER = st.integers(0, 7)


class KilledError(BaseException):
    """The worker's process is no more."""


class StruckDesk(Desk):
    """The real one. What befalls workers may befall them just before and just after."""

    def want(self, amphora_id, wish):
        with WORLD.act("before want"):
            pass
        machine = super().want(amphora_id, wish)
        with WORLD.act("after want"):
            return machine

    def unwant(self, amphora_id):
        with WORLD.act("before unwant"):
            pass
        super().unwant(amphora_id)
        with WORLD.act("after unwant"):
            pass


class Lives(RuleBasedStateMachine):
    """Load balancers, workers, a cluster and its agents, in any order."""

    def __init__(self, new_url):
        super().__init__()
        self.new_url = new_url

    @initialize()
    def begin(self):
        WORLD.forget()
        self.folder = tempfile.TemporaryDirectory()
        self.database = Database(self.new_url(Path(self.folder.name)))
        self.works = Works(self.database, Path(self.folder.name), builds_at_once=3)
        compute = GanetiDriver(StruckDesk(self.database))
        self.works.door = replace(
            self.works.door, providers=provider(NoopAmphoraDriver(), compute, NoopNetworkDriver())
        )
        self.flavors = [
            self.works.flavor(spares=1),
            self.works.flavor(loadbalancer_topology="ACTIVE_STANDBY"),
            self.works.flavor(loadbalancer_topology="ACTIVE_STANDBY", anti_affinity="strict"),
        ]
        self.roots = []
        self.tokens = {}

    def teardown(self):
        if hasattr(self, "database"):
            try:
                self.converge()
                self.look()
            finally:
                self.database.close()
                self.folder.cleanup()
                WORLD.forget()

    # wishes

    @rule(flavor=st.integers(0, 3))
    def create(self, flavor):
        wish = {"flavor_id": self.flavors[flavor]} if flavor < len(self.flavors) else {}
        self.roots.append(self.works.create(**wish).document["id"])

    @rule(number=NUMBER)
    def delete_one(self, number):
        self.delete(number)

    @rule(number=NUMBER)
    def fail_one_over(self, number):
        self.fail_over(number)

    def delete(self, number):
        if self.roots:
            self.works.delete(self.roots.pop(number % len(self.roots)))

    def fail_over(self, number):
        if self.roots:
            with suppress(CaryatidError):
                operator.failover(self.works.door, ADMIN, self.roots[number % len(self.roots)])

    @rule(number=NUMBER, act=st.sampled_from([hosts.evacuate, hosts.revoke, hosts.enable]))
    def change_host(self, number, act):
        if known := sorted(self.works.hosts()):
            with suppress(CaryatidError):
                act(self.works.door, ADMIN, known[number % len(known)])

    # workers

    @rule()
    def work_once(self):
        self.turn()

    @rule(calls=st.integers(1, 8))
    def work_and_be_killed(self, calls):
        self.mishap_at(calls, self.kill)
        self.turn()

    @rule(calls=st.integers(1, 8), wish=st.sampled_from(["", "delete", "fail over"]), number=NUMBER)
    def overtaken_at_work(self, calls, wish, number):
        """Paused in the middle of an act past the lease; another worker does the work meanwhile, perhaps of a wish that
        has come since."""

        def meanwhile():
            if wish:
                (self.delete if wish == "delete" else self.fail_over)(number)
            self.expire()
            while self.turn():
                pass

        self.mishap_at(calls, meanwhile)
        self.turn()

    @rule(calls=st.integers(1, 8), number=NUMBER, well=st.booleans())
    def work_while_a_machine_moves(self, calls, number, well):
        self.mishap_at(calls, lambda: self.move(number, well=well))
        self.turn()

    @rule(calls=st.integers(0, 4))
    def keep_spares(self, calls):
        if calls:
            self.mishap_at(calls, self.kill)
        with suppress(KilledError):
            spares.keep(self.works.door)

    @rule()
    def tidy(self):
        self.works.tidy()

    # the cluster, and its agents

    @rule(number=NUMBER, well=st.booleans())
    def machine_moves(self, number, well):
        self.move(number, well=well)

    @rule(number=NUMBER)
    def machine_dies(self, number):
        known = [one for one in self.works.machines().values() if one.phase in ("BOOTING", "READY")]
        if known:
            self.works.lose(known[number % len(known)].amphora_id)

    @rule(number=NUMBER)
    def agent_speaks(self, number):
        """Perhaps too late, perhaps for the second time."""
        if self.tokens:
            self.speak(sorted(self.tokens)[number % len(self.tokens)])

    # what holds

    @invariant()
    def hosts_are_machines_and_each_is_one(self):
        if hasattr(self, "database"):
            named = [one.host_id for one in self.works.machines().values() if one.host_id]
            assert len(named) == len(set(named))
            assert self.works.hosts() <= set(named)

    @invariant()
    def what_serves_has_a_machine(self):
        """Or had one: nobody is shown on a host that never was its own."""
        if hasattr(self, "database"):
            machines = self.works.machines()
            with self.database.read() as tx:
                for amphora in rows.find(tx, AMPHORA, status="ALLOCATED"):
                    machine = machines.get(amphora["id"])
                    assert machine is None or machine.host_id == amphora["compute_id"]

    def converge(self):
        WORLD.mishap = lambda _number, _name: None
        with self.database.read() as tx:
            evacuated = [one["id"] for one in rows.find(tx, HOST) if one["duty"] == "EVACUATING"]
        for host_id in evacuated:
            hosts.enable(self.works.door, ADMIN, host_id)
        for _ in range(TURNS_MAX):
            self.expire()
            spares.keep(self.works.door)
            moved = [self.move(number, well=True) for number in range(len(self.works.machines()))]
            for amphora_id in sorted(self.tokens):
                self.speak(amphora_id)
            self.works.tidy()
            if not self.turn() and not any(moved) and self.waiting() == ["READY"]:
                return
        raise AssertionError(f"it never ends: {self.works.machines()}")

    def look(self):
        """There is what was asked for, and nothing else."""
        machines = self.works.machines()
        with self.database.read() as tx:
            living = {one["id"]: one for one in rows.find(tx, LOADBALANCER)}
            amphorae = rows.find(tx, AMPHORA)
            assert host_store.tombstones(tx) == []
            owners = {one["device_id"] for one in rows.find(tx, PORT, subnet_id=self.works.subnet_id)}
        assert set(living) == set(self.roots)
        assert {one["provisioning_status"] for one in living.values()} <= {"ACTIVE"}
        assert {one["id"] for one in amphorae} == set(machines)
        for one in amphorae:
            machine = machines[one["id"]]
            assert (machine.phase, machine.host_id) == ("READY", one["compute_id"])
            assert machine.loadbalancer_id == one["loadbalancer_id"]
        serving = [one for one in amphorae if one["loadbalancer_id"]]
        for root_id, root in living.items():
            topology = "ACTIVE_STANDBY" if root["flavor_id"] in self.flavors[1:] else "SINGLE"
            assert sorted(one["role"] for one in serving if one["loadbalancer_id"] == root_id) == sorted(
                ROLES[topology]
            )
        assert self.works.hosts() == {one.host_id for one in machines.values()}
        assert set(WORLD.trees) == {one["id"] for one in serving}
        paired = {one["id"] for one in serving if one["role"] != "STANDALONE"}
        assert owners == set(living) | paired

    # how

    def move(self, number, *, well):
        """The machine goes on, or fails, as whoever watches its cluster would write it; False: nothing is to come."""
        known = sorted(self.works.machines().values(), key=lambda one: one.amphora_id)
        if not known:
            return False
        machine = known[number % len(known)]
        works, now = self.works, self.works.now()
        match machine.phase:
            case "WANTED" if well:
                works.step(machine, "", phase="CREATING", asked_at=now, changed_at=now, reason=None)
                self.tokens[machine.amphora_id] = works.token(machine.amphora_id)
            case "WANTED":
                works.step(machine, "", reason="The cluster is full.", remedy="Add a node.", tries=machine.tries + 1)
            case "CREATING" if well:
                works.step(machine, "", phase="BOOTING", changed_at=now, deadline_at=now + 60)
            case "CREATING":
                works.step(machine, "", phase="WANTED", changed_at=now, asked_at=None, reason="The disks failed.")
            case "BOOTING" if not well:
                works.lose(machine.amphora_id)
            case "UNWANTED" | "DELETING" if well:
                if works.step(machine, "forget", phase="DELETING") is not None:
                    WORLD.trees.pop(machine.amphora_id, None)  # it was in the machine
                    WORLD.vips.pop(machine.amphora_id, None)
            case _:
                return False
        return True

    def speak(self, amphora_id):
        token = self.tokens[amphora_id]
        with suppress(Forbidden, Unauthorized):
            self.works.enrol(amphora_id, token)
            self.tokens.pop(amphora_id, None)

    def kill(self):
        raise KilledError

    def mishap_at(self, calls, act):
        at = WORLD.calls + calls

        def mishap(number, _name):
            if number == at:
                WORLD.mishap = lambda _number, _name: None
                act()

        WORLD.mishap = mishap

    def turn(self):
        claim = work.claim(self.database, "test")
        if claim is None:
            return False
        try:
            attend(self.works.door, Attempt(claim))
        except KilledError:
            self.expire()
        except LeaseLost:
            pass  # overtaken; the other one has done the work
        return True

    def waiting(self):
        with self.database.read() as tx:
            return [one["status"] for one in rows.find(tx, AMPHORA, loadbalancer_id=None)]

    def expire(self):
        """Leases have run out, and all that waits is due."""
        with self.database.transaction() as tx:
            tx.connection.execute(text("UPDATE work SET lease_until = NULL"))
            tx.connection.execute(text("UPDATE work SET due_at = 0 WHERE due_at IS NOT NULL"))


def run(new_url, examples):
    known = settings(
        max_examples=examples, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
    )
    run_state_machine_as_test(lambda: Lives(new_url), settings=known)


@pytest.mark.timeout(300)
def test_each_has_its_machine_in_the_end(sqlite):
    def copied(folder):
        shutil.copy(sqlite, folder / "caryatid.db")
        return f"sqlite:///{folder}/caryatid.db"

    run(copied, 25)


@pytest.mark.timeout(300)
def test_each_has_its_machine_in_the_end_on_postgresql(new_database):
    run(lambda _folder: new_database(), 6)
