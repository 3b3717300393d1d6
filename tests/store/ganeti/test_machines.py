# SPDX-License-Identifier: Apache-2.0
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from caryatid.model.cluster import Machine, MachineWish
from caryatid.store.ganeti import machines

NOW = 1_763_000_000.123456
WISH = MachineWish("c", vcpus=2, memory_mib=1024, apart=True)


def machine(number=1, **given):
    key = f"a{number}"
    return replace(Machine(key, "lb1", "c1", f"amphora-{key}.x", WISH, "WANTED", NOW), **given)


@pytest.fixture
def known(database):
    """A machine that has everything."""
    one = machine(
        host_id="h1",
        phase="READY",
        job_id=1 << 40,
        asked_at=NOW,
        node="n1",
        address="192.0.2.9",
        status="running",
        seen_at=NOW + 1,
        source="live",
        reason="r",
        remedy="m",
        hopeless=True,
        tries=3,
        next_at=NOW + 2,
        deadline_at=NOW + 3,
    )
    with database.transaction() as tx:
        assert machines.add(tx, one)
    return one


def test_what_is_kept_comes_back_as_it_was(database, known):
    with database.read() as tx:
        assert machines.get(tx, "a1") == known
        assert machines.of_cluster(tx, "c1") == [known]
        assert machines.of_host(tx, "h1") == known
        assert machines.of_loadbalancers(tx, ["lb1", "lb2"]) == [known]
        assert machines.of_amphorae(tx, ["a1", "a2"]) == [known]
        assert machines.of_cluster(tx, "c2") == []
        assert machines.get(tx, "a2") is None
        assert machines.of_host(tx, "h2") is None
        assert machines.of_amphorae(tx, []) == []


def test_an_amphora_has_one_machine(database, known):
    with database.transaction() as tx:
        assert not machines.add(tx, machine(cluster_id="c2"))
    with database.read() as tx:
        assert machines.get(tx, "a1") == known


def test_of_many_that_wish_for_an_amphoras_machine_one_is_first(database):
    def wish(number):
        with database.transaction() as tx:
            return machines.add(tx, machine(node=f"n{number}"))

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(wish, range(16))) == 1


@pytest.mark.parametrize(
    "meanwhile", [{"phase": "UNWANTED"}, {"job_id": 8}, {"job_id": None}, {"host_id": None}, {"asked_at": NOW + 9}]
)
def test_nobody_undoes_anothers_step(database, known, meanwhile):
    with database.transaction() as tx:
        assert machines.change(tx, [(known, replace(known, **meanwhile))])
    with database.transaction() as tx:
        assert machines.change(tx, [(known, replace(known, phase="DEAD"))]) == []
    with database.read() as tx:
        assert machines.get(tx, "a1") == replace(known, **meanwhile)


def test_what_was_seen_meanwhile_hinders_nobody(database, known):
    with database.transaction() as tx:
        machines.change(tx, [(known, replace(known, status="ERROR_down", seen_at=NOW + 9))])
        dead = replace(known, phase="DEAD", changed_at=NOW + 10, reason=None, job_id=None)
        assert machines.change(tx, [(known, dead)]) == [dead]
    with database.read() as tx:
        assert machines.get(tx, "a1") == dead


def test_many_are_changed_at_once_and_those_that_moved_are_left_out(database):
    before = [machine(number) for number in range(30)]
    with database.transaction() as tx:
        for one in before:
            machines.add(tx, one)
        machines.change(tx, [(before[7], replace(before[7], phase="UNWANTED"))])
    after = [replace(one, phase="CREATING", node=f"n-{one.amphora_id}", asked_at=NOW) for one in before]
    with database.transaction() as tx:
        done = machines.change(tx, list(zip(before, after, strict=True)))
        gone = machine(99)
        assert machines.change(tx, [(gone, replace(gone, phase="DEAD"))]) == []
        assert machines.change(tx, []) == []
    assert {one.amphora_id for one in done} == {one.amphora_id for one in before} - {"a7"}
    with database.read() as tx:
        assert {one.amphora_id: one.node for one in machines.of_cluster(tx, "c1")} == {
            one.amphora_id: None if one.amphora_id == "a7" else f"n-{one.amphora_id}" for one in before
        }


def test_of_many_that_take_the_same_step_one_does(database):
    one = machine()
    with database.transaction() as tx:
        machines.add(tx, one)

    def step(number):
        with database.transaction() as tx:
            return len(machines.change(tx, [(one, replace(one, phase="CREATING", asked_at=NOW + number))]))

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(step, range(16))) == 1


def test_whose_it_is_and_what_was_wished_stays(database, known):
    with database.transaction() as tx:
        machines.change(tx, [(known, replace(known, loadbalancer_id="lb9", wish=MachineWish(), name="x"))])
    with database.read() as tx:
        assert machines.get(tx, "a1") == known


def test_a_spare_becomes_a_load_balancers(database):
    with database.transaction() as tx:
        machines.add(tx, machine(loadbalancer_id=None))
        machines.taken(tx, "a1", "lb7")
        assert [one.amphora_id for one in machines.of_loadbalancers(tx, ["lb7"])] == ["a1"]


def test_those_that_are_gone_are_forgotten(database, known):
    with database.transaction() as tx:
        machines.add(tx, machine(2))
        machines.remove(tx, ["a1", "a3"])
    with database.read() as tx:
        assert [one.amphora_id for one in machines.of_cluster(tx, "c1")] == ["a2"]
