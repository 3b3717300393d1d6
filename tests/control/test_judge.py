# SPDX-License-Identifier: Apache-2.0
"""Hosts that die, on a real database: what is written of them, and what becomes due. Time is the test's."""

import json
from dataclasses import dataclass, field, replace

import pytest

from bench.waiting import until
from caryatid.control import verdicts
from caryatid.control.inquiry import Inquiry
from caryatid.control.judge import LEASE_S, Judge, Moment, own_fault
from caryatid.control.sightings import Sightings
from caryatid.errors import Forbidden
from caryatid.model import AMPHORA, HOST
from caryatid.model.amphora import Amphora
from caryatid.model.event import BEGINNING
from caryatid.model.host import Host
from caryatid.model.policy import Caller
from caryatid.plan.silence import STALE_S
from caryatid.store import events, hosts, leases, observations, rows
from caryatid.store.tables import WORK

AT = "2026-11-21T11:23:00"
WALL = 1_800_000_000.0
TURN_S = 0.25


@dataclass
class Town:
    """Hosts `h0`, `h1`, …, and a judge who hears them."""

    door: object
    size: int = 3
    holder: str = "one"
    now: float = 1000.0
    dead: set[str] = field(default_factory=set)
    cut: bool = False
    pulse: bool = True
    heard: dict[str, float] = field(default_factory=dict)
    sightings: Sightings = field(default_factory=Sightings)

    def __post_init__(self):
        self.asked = Inquiry(self.word, lambda _other, host: host.id not in self.dead)
        self.judge = Judge(self.door.database, self.heard, self.sightings, self.asked, self.holder)

    def word(self, host):
        return "silent" if host.id in self.dead else "answers"

    @property
    def hosts(self):
        return [f"h{number}" for number in range(self.size)]

    def run(self, seconds):
        end = self.now + seconds
        while self.now < end:
            self.turn()

    def turn(self):
        self.now += TURN_S
        for host in self.hosts:
            if host not in self.dead and not self.cut and self.now % 1.0 < TURN_S:
                self.heard[host] = self.now
        self.judge.turn(Moment(self.now, WALL + self.now, self.now if self.pulse else 0.0))
        until(lambda: not self.asked._asking, "who is asked has answered")
        for host, answer in self.asked._answers.items():  # asked on the real clock
            self.asked._answers[host] = replace(answer, begun=self.now, ended=self.now)

    def said(self):
        with self.door.database.read() as tx:
            return [
                (e["action"], e["resource_id"])
                for e in events.after(tx, BEGINNING)
                if e["kind"] in ("host", "failovers")
            ]

    def due(self):
        with self.door.database.read() as tx:
            return {row.root_id: row.priority for row in tx.connection.execute(WORK.select()) if row.due_at is not None}

    def lost(self):
        with self.door.database.read() as tx:
            return sorted(observations.lost_hosts(tx))

    def frozen(self):
        with self.door.database.read() as tx:
            return leases.held(tx, verdicts.FROZEN)


def host(name):
    return Host.model_construct(id=name, created_at=AT, updated_at=AT, name=name, agent_url="https://127.0.0.1:1")


def amphora(name, on, root):
    return Amphora.model_construct(
        id=name, created_at=AT, updated_at=AT, loadbalancer_id=root, compute_id=on, status="ALLOCATED"
    )


@pytest.fixture
def town(door):
    place = Town(door)
    with door.database.transaction() as tx:
        rows.insert(tx, HOST, [host(name) for name in place.hosts])
        made = [amphora(f"a{n}", f"h{n % 3}", f"lb{n}") for n in range(6)]
        rows.insert(tx, AMPHORA, made)
    yield place
    place.judge.close()


def test_hosts_that_are_heard_are_online(town):
    town.run(5)
    with town.door.database.read() as tx:
        assert {rows.get(tx, HOST, host)["operating_status"] for host in town.hosts} == {"ONLINE"}
    assert town.said() == []


def test_load_balancers_of_a_lost_host_are_due_before_everything_else_and_the_operator_is_told(town):
    town.run(5)
    town.dead.add("h1")
    died = town.now
    while not town.lost():
        town.turn()
    assert town.now - died <= 4.0
    assert town.due() == {"lb1": verdicts.PRIORITY, "lb4": verdicts.PRIORITY}
    assert town.said() == [("silent", "h1"), ("lost", "h1")]
    town.run(30)
    assert town.said() == [("silent", "h1"), ("lost", "h1")], "once"
    town.dead.clear()
    town.run(2)
    assert town.said()[2:] == [("back", "h1")]
    assert town.lost() == []


def test_mass_silence_freezes_and_recovery_lifts_it_and_both_are_told(town):
    town.run(5)
    town.dead |= {"h0", "h1"}
    town.run(60)
    assert (town.lost(), town.due()) == ([], {})
    assert ("freeze", "failovers") in town.said()
    assert town.frozen(), "and others see it"
    town.dead.clear()
    town.run(5)
    assert town.said()[-1] == ("unfreeze", "failovers")
    assert not town.frozen()
    assert (town.lost(), town.due()) == ([], {})


def test_the_operator_may_lift_the_guard(town, caller):
    town.run(5)
    town.dead |= {"h0", "h1"}
    town.run(20)
    verdicts.lift(town.door, caller)
    town.run(10)
    assert town.lost() == ["h0", "h1"]
    assert sorted(town.due()) == ["lb0", "lb1", "lb3", "lb4"]
    with pytest.raises(Forbidden):
        verdicts.lift(town.door, Caller("somebody", "p2", request_id="req-2"))


def test_another_process_takes_over_and_judges_nobody_before_it_has_heard_for_a_whole_interval(town):
    town.run(5)
    town.dead.add("h0")
    town.run(6)
    other = Town(town.door, holder="two", now=town.now, dead={"h0", "h2"})
    other.run(1)
    assert town.lost() == ["h0"]
    town.run(0.5)  # its lease is good: the other one waits
    other.run(LEASE_S + STALE_S - 3)
    assert other.lost() == ["h0"]
    other.judge.close()
    assert other.said().count(("lost", "h0")) == 1


@pytest.mark.parametrize(
    ("later", "why"),
    [
        (Moment(12.0, WALL + 2.0, 12.0), "the judge was late"),
        (Moment(10.2, WALL + 3600.0, 10.2), "the clock jumped"),
        (Moment(10.2, WALL + 0.2, 8.0), "reports are read late"),
        (Moment(10.2, WALL + 0.2, 10.0), ""),
    ],
)
def test_a_fault_of_ours_is_known_as_such(later, why):
    assert own_fault(Moment(10.0, WALL, 10.0), later) == why


def test_while_reports_are_read_late_nobody_is_lost(town):
    town.run(5)
    town.dead |= {"h0"}
    town.pulse = False
    town.run(30)
    assert town.lost() == []
    town.pulse = True
    well = town.now
    while not town.lost():
        town.turn()
    assert town.now - well >= STALE_S


def test_while_the_database_is_away_nobody_is_lost_nor_before_a_whole_interval_after_it(town):
    town.run(5)
    town.dead |= {"h0"}
    working = town.judge._database
    town.judge._database = None  # any use of it fails
    town.run(20)
    town.judge._database = working
    well = town.now
    while not town.lost():
        town.turn()
    assert town.now - well >= STALE_S


def message(amphora_id, root, **more):
    return {"amphora_id": amphora_id, "loadbalancer_id": root, "generation": 3, "running": False, **more}


def test_an_amphora_that_its_host_cannot_start_again_is_lost_until_it_runs(town):
    town.run(5)
    for _ in range(3):
        town.sightings.note("h2", message("a2", "lb2", failed=True))
        town.run(2)
    assert town.due() == {"lb2": verdicts.PRIORITY}
    with town.door.database.read() as tx:
        assert observations.lost_amphorae(tx, "lb2") == {"a2"}
        assert [e["action"] for e in events.after(tx, BEGINNING) if e["resource_id"] == "a2"] == ["lost"]
    town.sightings.note("h2", message("a2", "lb2") | {"running": True})
    town.run(2)
    with town.door.database.read() as tx:
        assert observations.lost_amphorae(tx, "lb2") == frozenset()


def test_an_amphora_that_has_lost_its_keys_is_configured_anew_and_not_held_to_be_lost(town):
    town.run(5)
    for _ in range(3):
        town.sightings.note("h2", message("a2", "lb2", wanting=True))
        town.sightings.note("h1", message("a1", "lb1", wanting=True) | {"running": True})
        town.sightings.note("h1", message("a2", "lb2", wanting=True))
        town.run(2)
    assert town.due() == {"lb1": verdicts.PRIORITY, "lb2": verdicts.PRIORITY}
    assert not town.sightings.wanting
    with town.door.database.read() as tx:
        assert observations.lost_amphorae(tx) == frozenset()


def test_an_amphora_that_is_not_its_hosts_is_told_of_once_and_left_to_the_audit(town):
    town.run(2)
    key = ("h0", "a-gone")
    for number in range(3):
        town.sightings.note_stranger("h0", message("a-gone", "lb-gone"))
        town.sightings.note_stranger("h0", message("a1", "lb1"))
        for known in (key, ("h0", "a1")):
            first, last, seen = town.sightings._strangers[known]
            town.sightings._strangers[known] = (first - 11 * (number > 0), last, seen)
        town.run(1)
    with town.door.database.read() as tx:
        assert not hosts.tombstones(tx)
        told = [e["resource_id"] for e in events.after(tx, BEGINNING) if e["action"] == "stranger"]
    assert sorted(told) == ["a-gone", "a1"]


def test_revoked_hosts_are_not_judged_and_do_not_count(town):
    with town.door.database.transaction() as tx:
        rows.change(tx, HOST, host("h0").model_copy(update={"duty": "REVOKED", "enabled": False}), at=AT)
    town.run(5)
    town.dead |= {"h0", "h1"}
    town.run(6)
    assert town.lost() == ["h1"]
    assert json.dumps(town.said()).count("h0") == 0


def test_a_host_that_has_never_spoken_is_not_judged(town):
    town.dead.add("h2")
    town.run(20)
    assert (town.lost(), town.said()) == ([], [])
