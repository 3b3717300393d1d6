# SPDX-License-Identifier: Apache-2.0
"""Any wishes, any votes, an engine that is killed anywhere, name servers that fail at any call, two engines at once: in
the end what is published is what the decision says, and nothing else."""

import shutil
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, multiple, rule

from caryatid.config import Settings
from caryatid.control.gslb import auditing
from caryatid.control.gslb.engine import attend, begin, publish, verify
from caryatid.control.gslb.scenes import gather
from caryatid.control.gslb.settling import settle
from caryatid.control.gslb.told import contents
from caryatid.drivers.dns.base import DnsError
from caryatid.drivers.noop import WORLD
from caryatid.errors import Conflict
from caryatid.model import GSLB
from caryatid.plan.steering import decide
from caryatid.plan.votes import Look
from caryatid.store import migrate, rows
from caryatid.store.database import Database
from tests.control.gslb.globe import ZONE, Globe, uid
from tests.doors import open_door

ADDRESSES = [f"192.0.2.{number}" for number in range(1, 5)]
POOLS = ["near", "far"]
NAMES = ["www", "api"]
TYPES = [["A"], ["A", "AAAA"]]
CALLS = st.integers(1, 5)
SAID = st.text("UD-", min_size=3, max_size=3)
WORDS = st.dictionaries(st.sampled_from(ADDRESSES), SAID, min_size=1)


@cache
def template():
    """A database as it is at first, to be copied: migrating takes longer than an example."""
    path = Path(tempfile.mkdtemp()) / "caryatid.db"
    migrate.upgrade(f"sqlite:///{path}")
    door = open_door(Database(f"sqlite:///{path}"), Settings(state_dir=path.parent, compute_driver="noop"))
    globe = Globe(door)
    for number, name in enumerate(POOLS):
        globe.pool(name, *ADDRESSES[number * 2 : number * 2 + 2])
    door.database.close()
    return path


class KilledError(BaseException):
    """The engine's process is no more."""


class World(RuleBasedStateMachine):
    """Wishes, votes and mishaps, in any order."""

    gslbs = Bundle("gslbs")

    @initialize()
    def begin(self):
        WORLD.forget()
        self.directory = tempfile.TemporaryDirectory()
        path = Path(self.directory.name) / "caryatid.db"
        shutil.copy(template(), path)
        door = open_door(Database(f"sqlite:///{path}"), Settings(state_dir=path.parent, compute_driver="noop"))
        self.globe = Globe(door, new=False)

    def teardown(self):
        if not hasattr(self, "globe"):
            return
        try:
            self.converge()
            self.look()
        finally:
            self.globe.database.close()
            self.directory.cleanup()
            WORLD.forget()

    # Wishes and votes

    @rule(target=gslbs, name=st.sampled_from(NAMES), pools=st.permutations(POOLS), types=st.sampled_from(TYPES))
    def create(self, name, pools, types):
        try:
            return self.globe.gslb(name, *pools, record_types=types)
        except Conflict:
            return multiple()

    @rule(key=gslbs, types=st.sampled_from(TYPES), ttl=st.integers(1, 3), up=st.booleans())
    def change(self, key, types, ttl, up):
        if self.globe.living(key):
            self.globe.change(key, record_types=types, ttl=ttl, admin_state_up=up)

    @rule(key=consumes(gslbs))
    def delete(self, key):
        if self.globe.living(key):
            self.globe.delete(key)

    @rule(address=st.sampled_from(ADDRESSES), up=st.booleans())
    def change_member(self, address, up):
        self.globe.change_member(uid(address), admin_state_up=up)

    @rule(words=WORDS)
    def say(self, words):
        for address, said in words.items():
            self.globe.say(address, said)

    # Work and mishaps

    @rule()
    def work(self):
        self.attend()

    @rule(calls=CALLS)
    def work_and_be_killed(self, calls):
        self.mishap_at(calls, KilledError)
        self.attend()

    @rule(calls=CALLS)
    def work_while_name_servers_fail(self, calls):
        self.mishap_at(calls, DnsError)
        self.attend()

    @rule(calls=CALLS)
    def overtaken_at_work(self, calls):
        """An engine is paused in the middle of an act past its lease; another does its work meanwhile."""
        at = WORLD.calls + calls

        def mishap(number, _name):
            if number == at:
                WORLD.mishap = lambda _number, _name: None
                self.globe.expire()
                self.attend()

        WORLD.mishap = mishap
        self.attend()

    @rule(words=WORDS, stage=st.integers(0, 3))
    def paused_between_acts(self, words, stage):
        """The same between acts, and something else is said meanwhile."""
        acts = [self.meanwhile if number == stage else lambda _words: None for number in range(4)]
        cases = begin(self.globe.door, self.globe.claims("first"))
        acts[0](words)
        for act, then in ((publish, acts[1]), (verify, acts[2])):
            for case in cases:
                for place in case.publications:
                    act(self.globe.door, place, [case])
            then(words)
        settle(self.globe.door, cases)

    def meanwhile(self, words):
        self.globe.expire()
        self.say(words)
        self.attend()

    @rule()
    def name_servers_lose_everything(self):
        WORLD.zones.clear()

    @rule()
    def audit(self):
        WORLD.mishap = lambda _number, _name: None
        auditing.audit(self.globe.door)

    # What holds

    def converge(self):
        WORLD.mishap = lambda _number, _name: None
        for _ in range(3):
            for _ in range(3):
                self.globe.expire()
                self.attend()
            auditing.audit(self.globe.door)
        for _ in range(20):
            if not self.attend():
                return
        raise AssertionError("it never ends")

    def look(self):
        """Name servers answer what the decision says, and everybody who waits has been told."""
        with self.globe.database.read() as tx:
            living = {row["id"] for row in rows.find(tx, GSLB)}
            gathered = gather(tx, self.globe.door, sorted(living))
            shown = [rows.get(tx, GSLB, key) for key in living]
        published = {key: each.answers for key, each in WORLD.zones.get(ZONE, {}).items()}
        wanted = {}
        for scene in gathered.scenes.values():
            decision = decide(scene.gslb, scene.pools, gathered.regions, scene.memory, Look(gathered.now))
            assert not scene.tree.deleted
            assert decision.memory == scene.memory, "what was decided is remembered"
            wanted |= {(scene.gslb.fqdn, rrtype): answers for rrtype, answers in decision.answers.items()}
        assert all(wanted.get(key) == answers for key, answers in published.items())
        assert answered(published) == answered(wanted)
        assert {row["provisioning_status"] for row in shown} <= {"ACTIVE"}

    # How

    def attend(self):
        """Whether anything was due."""
        claims = self.globe.claims()
        with suppress(KilledError):
            attend(self.globe.door, claims)
        return bool(claims)

    def mishap_at(self, calls, error):
        at = WORLD.calls + calls

        def mishap(number, _name):
            if number == at:
                raise error("Out of order.")

        WORLD.mishap = mishap


def answered(found):
    """Without what is answered with nothing: servers that lost it, and have no record for it, answer the same."""
    return {key: answers for key, answers in found.items() if contents(answers)}


TestConvergence = World.TestCase
TestConvergence.settings = settings(
    max_examples=25, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
)
