# SPDX-License-Identifier: Apache-2.0
"""Machines in a cluster where anything goes wrong: jobs fail or are cancelled, answers are lost, requests are carried
out late, looks are old, two watch at once and die anywhere. There is never a second machine of an amphora, nothing is
removed that is wanted, and in the end everything is as it was wished."""

from dataclasses import dataclass, field, replace
from itertools import count

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from caryatid.model.cluster import CLUSTER, OURS, Machine, MachineWish, instance_name
from caryatid.plan.ganeti.aligning import align
from caryatid.plan.ganeti.bodies import wanted as body_of
from caryatid.plan.ganeti.judging import ASK_WITHIN_S, Sight, asked, judge, unwanted
from caryatid.wire.rapi.answers import Job, Problem
from tests.rapi_world import RapiWorld

SITE = "site"
BOOT_DEADLINE_S = 100.0
TURNS_MAX = 2000
CLUSTER_ROW = CLUSTER.new(
    {"name": "c", "rapi_url": "https://c.example.test:5080", "rapi_user": "u", "nics": [{"network": "lb"}]},
    {"id": "11111111-2222-4333-8444-555555555555", "created_at": "2026-11-20T19:00:00.000000", "updated_at": None},
)
NAMES = ["jobs", "config", "unfinished", "live"]
REFUSALS = [
    ("OpPrereqError", "insufficient_resources", "Not enough memory on node n for creating instance"),
    ("OpExecError", "", "OS Parameters validation failed on node n: Directory for OS x not found in search path"),
]
MAYBE = ["", "", "late", "ambiguous", "late", "unreachable", "drained", "broken"]


@dataclass
class Watcher:
    """What one process knows and is about to do."""

    rows: list[Machine] = field(default_factory=list)
    seen: dict[str, tuple[float, object]] = field(default_factory=dict)
    acts: list[tuple[Machine, str]] = field(default_factory=list)
    orphans: dict[str, float] = field(default_factory=dict)


class Lives(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.world = RapiWorld()
        self.world.on_removed = self.removed
        self.rows: dict[str, Machine] = {}
        self.wishes: set[str] = set()
        self.watchers = [Watcher(), Watcher()]
        self.numbers = count(1)

    # wishes

    @precondition(lambda self: len(self.rows) < 6)
    @rule()
    def want(self):
        key = f"a{next(self.numbers)}"
        name = instance_name(key, CLUSTER_ROW.domain)
        self.rows[key] = Machine(key, "lb1", "c1", name, MachineWish(), "WANTED", self.world.now)
        self.wishes.add(key)

    @rule(number=st.integers(0, 5))
    def unwant(self, number):
        if key := pick(sorted(self.wishes), number):
            self.give_up(key)

    def give_up(self, key):
        self.wishes.discard(key)
        self.write(self.rows[key], unwanted(self.rows[key], self.world.now))

    # watchers

    @rule(who=st.sampled_from([0, 1]), what=st.sampled_from(["rows", *NAMES]))
    def look(self, who, what):
        watcher = self.watchers[who]
        if what == "rows":
            watcher.rows = list(self.rows.values())
            return
        ids = [row.job_id for row in self.rows.values() if row.job_id is not None]
        asks = {
            "config": lambda: self.world.instances(OURS),
            "live": lambda: self.world.live(OURS),
            "unfinished": self.world.unfinished,
            "jobs": lambda: [self.world.job(one) for one in ids],
        }
        at, answer = self.world.now, asks[what]()
        if not isinstance(answer, Problem):
            watcher.seen[what] = (at, answer)

    @rule(who=st.sampled_from([0, 1]), heard=st.booleans())
    def judge(self, who, heard):
        watcher = self.watchers[who]
        for row in watcher.rows:
            self.judge_one(watcher, row, heard=heard)
        watcher.rows = []

    def judge_one(self, watcher, row, *, heard):
        sight = self.sight(watcher, row, heard=heard)
        verdict = judge(row, sight, now=self.world.now, boot_deadline_s=BOOT_DEADLINE_S)
        again = judge(verdict.machine, sight, now=self.world.now, boot_deadline_s=BOOT_DEADLINE_S)
        assert again.machine == verdict.machine, "twice is once"
        assert again.act in {"", "forget"}
        if verdict.changed and not self.write(row, verdict.machine):
            return
        if verdict.act == "forget" and self.rows.get(row.amphora_id):
            assert self.rows[row.amphora_id].phase in {"UNWANTED", "DELETING"}
            del self.rows[row.amphora_id]
        if verdict.act in {"create", "delete"}:
            watcher.acts.append((verdict.machine, verdict.act))

    @rule(who=st.sampled_from([0, 1]), fault=st.sampled_from(MAYBE), delay_s=st.floats(1, 40), dies=st.booleans())
    def perform(self, who, fault, delay_s, dies):
        watcher = self.watchers[who]
        if not watcher.acts:
            return
        machine, act = watcher.acts.pop(0)
        if self.world.now - machine.asked_at > ASK_WITHIN_S:
            return
        if fault:
            self.world.faults.append(fault)
        self.world.delay_s = delay_s
        answer = self.ask(machine, act)
        if dies:
            self.watchers[who] = Watcher()
            return
        self.write(machine, asked(machine, answer, self.world.now))

    def ask(self, machine, act):
        if act == "delete":
            return self.world.delete(machine.name)
        return self.world.create(body_of(CLUSTER_ROW, machine, "seed", installation=SITE, nodes=("n1",)))

    @rule(
        who=st.sampled_from([0, 1]),
        looks=st.permutations([*NAMES, "rows"]),
        moves=st.lists(st.sampled_from(["", "", "jobs", "time", "unwant"]), min_size=5, max_size=5),
        fault=st.sampled_from(MAYBE),
        delay_s=st.floats(1, 40),
        dies=st.booleans(),
    )
    def turn(self, who, looks, moves, fault, delay_s, dies):
        """As a watcher does it, the cluster going on between its looks; one of its answers may be lost."""
        for what, move in zip(looks, moves, strict=True):
            self.look(who, what)
            self.move(move)
        self.judge(who, heard=False)
        while self.watchers[who].acts:
            self.perform(who, fault, delay_s, dies and bool(fault))
            fault = ""

    def move(self, move):
        if move == "unwant":
            self.unwant(0)
        for _ in range(2 if move == "jobs" else 0):
            for job_id in self.world.unended():
                self.world.step(job_id)
        if move:
            self.world.pass_time(1.0)

    # what happens in the cluster

    @rule(seconds=st.sampled_from([0.2, 1.0, 3.0, 20.0, 70.0, 300.0]))
    def time_passes(self, seconds):
        self.world.pass_time(seconds)

    @rule(number=st.integers(0, 3), how=st.sampled_from(["step", "step", "step", "fails", "fails and leaves"]))
    def job_goes_on(self, number, how):
        job_id = pick(self.world.unended(), number)
        if job_id is None:
            return
        if how == "step":
            self.world.step(job_id)
        else:
            self.world.fail(job_id, left=how != "fails")

    @rule(agents=st.booleans())
    def all_goes_well(self, agents):
        self.world.settle()
        for number in range(len(self.rows) if agents else 0):
            self.agent_speaks(number)

    @rule(number=st.integers(0, 3), how=st.sampled_from(["cancel", "archive", "forget"]))
    def operator_has_jobs(self, number, how):
        if (job_id := pick(list(self.world.tasks), number)) is not None:
            getattr(self.world, how)(job_id)

    @rule(number=st.integers(0, 5), status=st.sampled_from(["ERROR_down", "ERROR_nodedown", "USER_down", "", "gone"]))
    def instance_is_struck(self, number, status):
        name = pick([key for key, one in self.world.things.items() if one.status == "running"], number)
        if name is None:
            return
        if status == "gone":
            del self.world.things[name]
        else:
            self.world.things[name].status = status

    @rule(refusal=st.sampled_from([None, *REFUSALS]))
    def cluster_refuses(self, refusal):
        self.world.refusal = refusal

    @rule(number=st.integers(0, 5))
    def agent_speaks(self, number):
        running = [row for row in self.rows.values() if row.phase in {"CREATING", "BOOTING"} and self.runs(row)]
        if row := pick(running, number):
            nothing = {"reason": None, "remedy": None, "hopeless": False, "deadline_at": None, "tries": 0}
            changed = replace(row, phase="READY", host_id=f"h-{row.amphora_id}", changed_at=self.world.now, **nothing)
            self.write(row, changed)

    # what must hold

    def removed(self, name):
        row = next((row for row in self.rows.values() if row.name == name), None)
        assert row is None or row.phase in {"WANTED", "UNWANTED", "DELETING"}, f"{row} was wanted"

    @invariant()
    def each_has_one(self):
        tags = [tag for one in self.world.things.values() for tag in one.instance.tags if tag.startswith(f"{OURS}:a")]
        assert len(tags) == len(set(tags))

    @invariant()
    def nobody_is_forgotten(self):
        """Nothing comes later than is waited for, so nothing is ever there of which no row knows."""
        assert self.no_strays()

    @invariant()
    def who_waits_says_why(self):
        for row in self.rows.values():
            assert row.reason or not row.tries
            assert row.reason is None or row.remedy is not None

    def teardown(self):
        if self.world.refusal:
            self.converge(lambda: self.unwanted_are_gone() and all(map(self.ready_or_why, self.wishes)))
            self.world.refusal = None
        self.converge(lambda: self.unwanted_are_gone() and all(map(self.ready, self.wishes)))
        assert set(self.rows) == self.wishes

    def converge(self, done):
        for _ in range(TURNS_MAX):
            if done() and not self.world.late:
                return
            self.calm_turn()
        raise AssertionError(f"never: {self.rows} {self.world.things} {self.world.late}")

    def calm_turn(self):
        self.world.pass_time(2.0)
        for one in self.world.things.values():
            one.status = one.status or "running"  # nothing was known of it for a while
        for job_id in self.world.unended():
            self.world.step(job_id)
        for number in range(len(self.rows)):
            self.agent_speaks(number)
        self.turn(0, [*NAMES, "rows"], [""] * 5, "", 1.0, dies=False)
        self.nobody_is_forgotten()
        self.remove_orphans()
        for key in [key for key in self.wishes if self.rows[key].phase == "DEAD"]:
            self.give_up(key)
            self.want()

    def remove_orphans(self):
        at, instances = self.watchers[0].seen["config"]
        rows = list(self.rows.values())
        found = align(rows, instances, installation=SITE, config_at=at, orphans=self.watchers[0].orphans)
        self.watchers[0].orphans = dict(found.orphans)
        for name in found.remove:
            self.world.delete(name)

    def unwanted_are_gone(self):
        return set(self.rows) == self.wishes

    def ready(self, key):
        return self.rows[key].phase == "READY" and self.runs(self.rows[key])

    def ready_or_why(self, key):
        return self.ready(key) or bool(self.rows[key].reason)

    def no_strays(self):
        return set(self.world.things) <= {row.name for row in self.rows.values()}

    def runs(self, row):
        return row.name in self.world.things and self.world.things[row.name].status == "running"

    # inside

    def write(self, before, after):
        """As store.ganeti.machines.change does."""
        now = self.rows.get(before.amphora_id)
        if now is None or step(now) != step(before):
            return False
        self.rows[before.amphora_id] = after
        return True

    def sight(self, watcher, row, *, heard):
        config_at, instances = watcher.seen.get("config", (None, []))
        unfinished_at, unfinished = watcher.seen.get("unfinished", (None, []))
        live_at, lives = watcher.seen.get("live", (None, []))
        _, jobs = watcher.seen.get("jobs", (None, []))
        return Sight(
            job=next((job for job in jobs if isinstance(job, Job) and job.id == row.job_id), None),
            unfinished=unfinished,
            unfinished_at=unfinished_at,
            instance=next((one for one in instances if one.name == row.name), None),
            config_at=config_at,
            live=next((one for one in lives if one.name == row.name), None),
            live_at=live_at,
            heard_at=self.world.now if heard and row.phase == "READY" else None,
        )


def step(machine):
    return machine.phase, machine.job_id, machine.host_id, machine.asked_at


def pick(values, number):
    return values[number % len(values)] if values else None


TestLives = Lives.TestCase
TestLives.settings = settings(
    max_examples=150,
    stateful_step_count=50,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # making a failure smaller takes longer than a test may
    suppress_health_check=list(HealthCheck),
)
