# SPDX-License-Identifier: Apache-2.0
"""Any requests, a worker that is killed anywhere, a world that fails at any call: in the end the world is what was
asked for. This is the heart of the suite."""

import shutil
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule
from sqlalchemy import text

from caryatid.config import Settings
from caryatid.control import initial, operator, spares, writes
from caryatid.control.attempt import Attempt
from caryatid.control.door import Door, provider
from caryatid.control.reconcile import attend
from caryatid.drivers.amphora.base import TimeOutException
from caryatid.drivers.identity.noauth import NoAuthDriver
from caryatid.drivers.noop import WORLD, NoopAmphoraDriver, NoopComputeDriver, NoopNetworkDriver, NoopSecretsDriver
from caryatid.errors import CaryatidError, LeaseLost
from caryatid.model import AMPHORA, FLAVOR, FLAVORPROFILE, LISTENER, LOADBALANCER, MEMBER, POOL, PORT
from caryatid.model.policy import Caller
from caryatid.store import migrate, rows, work
from caryatid.store import tree as trees
from caryatid.store.database import Database

CALLER = Caller("tester", "p1", is_admin=True)
TURNS_MAX = 300


@cache
def template():
    """A database as it is at first, to be copied: migrating takes longer than an example."""
    path = Path(tempfile.mkdtemp()) / "caryatid.db"
    migrate.upgrade(f"sqlite:///{path}")
    return path


class KilledError(BaseException):
    """The worker's process is no more."""


class World(RuleBasedStateMachine):
    """Requests and mishaps, in any order."""

    loadbalancers = Bundle("loadbalancers")
    listeners = Bundle("listeners")
    pools = Bundle("pools")
    members = Bundle("members")

    @initialize()
    def begin(self):
        WORLD.forget()
        self.directory = tempfile.TemporaryDirectory()
        shutil.copy(template(), Path(self.directory.name) / "caryatid.db")
        url = f"sqlite:///{self.directory.name}/caryatid.db"
        known = Settings(
            state_dir=Path(self.directory.name),
            amphora_driver="noop",
            compute_driver="noop",
            network_driver="noop",
            delete_deadline_s=1e9,
            builds_at_once=2,
        )
        providers = provider(NoopAmphoraDriver(), NoopComputeDriver(), NoopNetworkDriver())
        self.door = Door(Database(url), providers, known, NoopSecretsDriver(), NoAuthDriver())
        initial.ensure(self.door)
        profile = {"name": "p", "provider_name": "amphora", "flavor_data": '{"spares": 1}'}
        made = writes.create(self.door, CALLER, FLAVORPROFILE, profile).document["id"]
        self.flavor = writes.create(self.door, CALLER, FLAVOR, {"name": "f", "flavor_profile_id": made}).document["id"]

    def teardown(self):
        if hasattr(self, "door"):
            self.converge()
            self.look()
            self.door.database.close()
            self.directory.cleanup()
        WORLD.forget()

    # requests

    @rule(target=loadbalancers, spared=st.booleans())
    def create_loadbalancer(self, spared):
        body = {"vip_subnet_id": initial.SUBNET_ID} | ({"flavor_id": self.flavor} if spared else {})
        return self.created(LOADBALANCER, body)

    @rule(target=listeners, loadbalancer=loadbalancers, port=st.integers(80, 83))
    def create_listener(self, loadbalancer, port):
        body = {"loadbalancer_id": loadbalancer, "protocol": "HTTP", "protocol_port": port}
        return self.created(LISTENER, body)

    @rule(target=pools, listener=listeners)
    def create_pool(self, listener):
        return self.created(POOL, {"listener_id": listener, "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN"})

    @rule(target=members, pool=pools, number=st.integers(1, 4))
    def create_member(self, pool, number):
        body = {"address": f"192.0.2.{number}", "protocol_port": 80}
        return self.created(MEMBER, body, parent_id=pool)

    @rule(member=members, weight=st.integers(0, 5))
    def change_member(self, member, weight):
        self.allowed_to_fail(lambda: writes.change(self.door, CALLER, MEMBER, member, {"weight": weight}))

    @rule(listener=listeners, up=st.booleans())
    def change_listener(self, listener, up):
        self.allowed_to_fail(lambda: writes.change(self.door, CALLER, LISTENER, listener, {"admin_state_up": up}))

    @rule(member=consumes(members))
    def delete_member(self, member):
        self.allowed_to_fail(lambda: writes.delete(self.door, CALLER, MEMBER, member))

    @rule(pool=consumes(pools))
    def delete_pool(self, pool):
        self.allowed_to_fail(lambda: writes.delete(self.door, CALLER, POOL, pool))

    @rule(listener=consumes(listeners))
    def delete_listener(self, listener):
        self.allowed_to_fail(lambda: writes.delete(self.door, CALLER, LISTENER, listener))

    @rule(loadbalancer=consumes(loadbalancers))
    def delete_loadbalancer(self, loadbalancer):
        self.allowed_to_fail(lambda: writes.delete(self.door, CALLER, LOADBALANCER, loadbalancer, cascade=True))

    @rule(loadbalancer=loadbalancers)
    def failover(self, loadbalancer):
        self.allowed_to_fail(lambda: operator.failover(self.door, CALLER, loadbalancer))

    # mishaps

    @rule()
    def work_once(self):
        self.turn()

    @rule(offered=st.booleans())
    def offer_the_flavor_or_not(self, offered):
        writes.change(self.door, CALLER, FLAVOR, self.flavor, {"enabled": offered})

    @rule()
    def keep_spares(self):
        self.keep()

    @rule(calls=st.integers(1, 2))
    def keep_spares_and_be_killed(self, calls):
        self.mishap_at(calls, KilledError)
        self.keep()

    @rule(calls=st.integers(1, 2))
    def work_while_spares_are_built(self, calls):
        at = WORLD.calls + calls

        def mishap(number, _name):
            if number == at:
                WORLD.mishap = lambda _number, _name: None
                self.keep()
                self.expire()
                self.turn()

        WORLD.mishap = mishap
        self.keep()

    @rule(calls=st.integers(1, 6))
    def work_and_be_killed(self, calls):
        """The process ends at its n-th act outside, with or without the act having happened."""
        self.mishap_at(calls, KilledError)
        self.turn()

    @rule(calls=st.integers(1, 6))
    def work_in_a_world_that_fails(self, calls):
        self.mishap_at(calls, TimeOutException)
        self.turn()

    @rule(calls=st.integers(1, 4))
    def overtaken_at_work(self, calls):
        """A worker is paused in the middle of an act past its lease; another one does its work meanwhile."""
        at = WORLD.calls + calls

        def mishap(number, _name):
            if number == at:
                WORLD.mishap = lambda _number, _name: None
                self.expire()
                self.turn()

        WORLD.mishap = mishap
        self.turn()

    @rule(polls=st.integers(0, 2))
    def machines_take_their_time(self, polls):
        WORLD.polls = polls

    @rule()
    def two_workers_on_one_root(self):
        """One is paused past its lease; another does its work; the first one wakes and must change nothing."""
        first = self.claimed()
        if first is None:
            return
        self.expire()
        self.turn()
        with suppress(LeaseLost, KilledError):
            attend(self.door, Attempt(first))

    # what holds

    @invariant()
    def statuses_are_never_unknown(self):
        if not hasattr(self, "door"):
            return
        with self.door.database.read() as tx:
            for document in rows.find(tx, LOADBALANCER):
                assert document["provisioning_status"] in ("PENDING_CREATE", "PENDING_UPDATE", "ACTIVE", "ERROR")

    def converge(self):
        WORLD.mishap = lambda _number, _name: None
        writes.change(self.door, CALLER, FLAVOR, self.flavor, {"enabled": True})
        for _ in range(TURNS_MAX):
            self.expire()
            self.keep()
            if not self.turn() and self.spares() == ["READY"]:
                return
        raise AssertionError("it never ends")

    def look(self):
        """The world is what was asked for."""
        with self.door.database.read() as tx:
            living = {d["id"] for d in rows.find(tx, LOADBALANCER)}
            everywhere = rows.find(tx, AMPHORA)
            (spare,) = [a["id"] for a in everywhere if a["loadbalancer_id"] is None]
            amphorae = [a for a in everywhere if a["id"] != spare]
            assert {a["loadbalancer_id"] for a in amphorae} == living
            assert len(amphorae) == len(living), "one amphora each"
            assert WORLD.machines == {a["id"] for a in everywhere}
            assert set(WORLD.trees) == WORLD.machines - {spare} == set(WORLD.vips)
            assert {p["device_id"] for p in rows.find(tx, PORT)} == living
            for amphora in amphorae:
                assert amphora["status"] == "ALLOCATED"
                wanted = trees.load(tx, amphora["loadbalancer_id"])
                made = WORLD.trees[amphora["id"]]
                assert (made.listeners, made.pools) == (wanted.listeners, wanted.pools)
            for kind in (LOADBALANCER, LISTENER, POOL, MEMBER):
                assert all(d["provisioning_status"] == "ACTIVE" for d in rows.find(tx, kind))
            left = tx.connection.execute(text("SELECT count(*) FROM loadbalancer")).scalar_one()
            assert left == len(living), "what was deleted is gone"

    # how

    def created(self, kind, body, parent_id=None):
        try:
            return writes.create(self.door, CALLER, kind, body, parent_id=parent_id).document["id"]
        except CaryatidError as error:
            assert error.status in (400, 404, 409)
            return multiple()

    def allowed_to_fail(self, act):
        """What is deleted already, or being deleted, may refuse."""
        try:
            act()
        except CaryatidError as error:
            assert error.status in (400, 404, 409)

    def mishap_at(self, calls, error):
        at = WORLD.calls + calls

        def mishap(number, _name):
            if number == at:
                raise error

        WORLD.mishap = mishap

    def claimed(self):
        return work.claim(self.door.database, "test")

    def turn(self):
        claim = self.claimed()
        if claim is None:
            return False
        try:
            attend(self.door, Attempt(claim))
        except KilledError:
            self.expire()
        except LeaseLost:
            pass  # overtaken; the other one has done the work
        return True

    def keep(self):
        with suppress(KilledError):
            spares.keep(self.door)

    def spares(self):
        with self.door.database.read() as tx:
            return [a["status"] for a in rows.find(tx, AMPHORA, loadbalancer_id=None)]

    def expire(self):
        """Leases have run out, and so much time has passed that the next one is due: the urgent wait too."""
        soonest = "(SELECT root_id FROM work WHERE due_at IS NOT NULL ORDER BY due_at LIMIT 1)"
        with self.door.database.transaction() as tx:
            tx.connection.execute(text("UPDATE work SET lease_until = NULL"))
            tx.connection.execute(text("UPDATE work SET due_at = 0 WHERE root_id IN " + soonest))


TestConvergence = World.TestCase
TestConvergence.settings = settings(
    max_examples=80, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
