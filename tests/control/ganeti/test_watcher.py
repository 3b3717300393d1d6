# SPDX-License-Identifier: Apache-2.0
"""What who watches a cluster makes of wishes, and of what happens there."""

from dataclasses import replace
from random import Random
from uuid import uuid4

import pytest
from sqlalchemy import text

from bench.waiting import pause, until
from caryatid.control import writes
from caryatid.control.ganeti import watcher
from caryatid.model import CLUSTER, HOST
from caryatid.plan.ganeti import judging
from caryatid.store import rows
from tests.control.ganeti.cluster import LivingWorld, Unreliable
from tests.control.ganeti.watching import ADMIN, Watched


@pytest.fixture
def site(database, tmp_path):
    return Watched(database, tmp_path, disk_template="plain", boot_deadline_s=60)


@pytest.fixture
def world():
    return LivingWorld()


@pytest.fixture
def watched(site, world):
    with site.watcher(lambda *_, **__: world):
        yield site


def test_a_machine_that_is_wanted_is_made_and_boots(watched, world):
    key = watched.want()
    machine = watched.until(key, "BOOTING")
    assert list(world.things) == [machine.name]
    assert machine.node == "node1.example.test"
    assert machine.deadline_at > machine.changed_at
    (job,) = watched.jobs(key)
    assert (job.act, job.status, job.name) == ("create", "success", machine.name)


def test_what_is_told_of_it_has_no_secret_in_it(watched, world):
    key = watched.want()
    watched.until(key, "BOOTING")
    (task,) = world.tasks.values()
    seed = task.body["osparams_secret"]["seed"]
    assert len(seed) > 100
    assert seed not in repr(watched.machine(key)) + repr(watched.jobs(key)) + repr(watched.seen())


def test_its_root_is_looked_at_when_it_is_further(watched):
    root = str(uuid4())
    key = watched.want(root)
    watched.until(key, "BOOTING")
    assert root in watched.due()


def test_a_machine_that_is_not_wanted_any_more_is_removed_with_its_host(watched, world):
    key = watched.want()
    watched.until(key, "BOOTING")
    host_id = watched.enrol(key)
    watched.until(key, "READY")
    watched.unwant(key)
    watched.until_gone(key)
    assert not world.things
    with watched.database.read() as tx:
        assert rows.get(tx, HOST, host_id) is None
    assert {job.act for job in watched.jobs(key)} == {"create", "delete"}


def test_one_that_was_never_made_is_forgotten_without_a_job(site, world):
    key = site.want()
    site.unwant(key)
    with site.watcher(lambda *_, **__: world):
        site.until_gone(key)
    assert not world.tasks


def test_a_crash_is_believed_when_it_was_seen_twice(watched, world):
    root = str(uuid4())
    key = watched.want(root)
    machine = watched.until(key, "BOOTING")
    watched.enrol(key)
    watched.until(key, "READY")
    until(lambda: watched.machine(key).status == "running", "it was seen running")
    world.crash(machine.name)
    dead = watched.until(key, "DEAD")
    assert dead.reason
    assert dead.remedy
    assert key in watched.lost()
    with watched.database.read() as tx:
        told = tx.connection.execute(text("SELECT action FROM event WHERE resource_id = :key"), {"key": key}).scalars()
        assert "lost" in list(told)


def test_an_instance_that_somebody_removed_is_missed(watched, world):
    key = watched.want()
    machine = watched.until(key, "BOOTING")
    watched.enrol(key)
    with world.lock:
        del world.things[machine.name]
    assert watched.until(key, "DEAD").status == ""
    watched.unwant(key)
    watched.until_gone(key)


def test_a_machine_whose_agent_does_not_come_is_given_up(database, tmp_path, world):
    site = Watched(database, tmp_path, boot_deadline_s=5)
    with site.watcher(lambda *_, **__: world):
        key = site.want()
        site.until(key, "BOOTING")
        assert "boot deadline" in site.until(key, "DEAD").reason
        assert key in site.lost()


def test_a_queue_that_takes_nothing_is_told_of_and_tried_again(watched, world):
    until(lambda: watched.seen().config_at, "the cluster was looked at")
    with world.lock:
        world.drained = True
    key = watched.want()
    until(lambda: watched.machine(key).reason, "it is told why nothing is made")
    assert "undrain" in watched.machine(key).remedy
    until(lambda: watched.seen().seen["drained"], "it is told of the cluster")
    with world.lock:
        world.drained = False
    machine = watched.until(key, "BOOTING")
    assert machine.reason is None
    until(lambda: not watched.seen().seen["drained"], "it is told of the cluster no more")


def test_a_full_cluster_is_told_of_and_room_is_found_later(watched, world):
    with world.lock:
        full = [type(node)(node.name, "default", free_memory_mib=100, free_disk_mib=1 << 20) for node in world.there]
        roomy, world.there = world.there, full
    key = watched.want()
    until(lambda: watched.machine(key).reason, "it is told why nothing is made")
    assert watched.machine(key).phase == "WANTED"
    assert watched.machine(key).remedy
    assert not world.tasks
    with world.lock:
        world.there = roomy
    watched.until(key, "BOOTING")


def test_a_cluster_that_is_away_changes_nothing_and_goes_on_when_it_is_back(watched, world):
    here = [watched.want() for _ in range(2)]
    for key in here:
        watched.until(key, "BOOTING")
        watched.enrol(key)
    world.away = True
    until(lambda: watched.seen().status == "ERROR", "it is said to be away")
    more = watched.want(cluster="west")
    assert "ganeti-rapi" in watched.seen().reason
    assert [watched.machine(key).phase for key in here] == ["READY", "READY"]
    assert watched.machine(more).phase == "WANTED"
    world.away = False
    watched.until(more, "BOOTING")
    until(lambda: watched.seen().status == "ONLINE", "it is said to be back")
    assert watched.seen().reason is None
    assert len(world.things) == len(world.tasks) == 3


@pytest.mark.parametrize("fault", ["ambiguous", "unreachable"])
def test_an_answer_that_is_lost_makes_no_second_machine(watched, world, fault):
    until(lambda: watched.seen().config_at, "the cluster was looked at")
    with world.lock:
        world.post_faults = [fault]
    key = watched.want()
    watched.until(key, "BOOTING")
    assert len(world.things) == 1


def test_who_comes_after_somebody_that_died_takes_up_what_was_asked_for(site, world):
    """It died after the request, and before it wrote down the job."""
    world.held = True
    key = site.want()
    with site.watcher(lambda *_, **__: world):
        site.until(key, "CREATING")
        until(lambda: world.tasks, "it is asked for")
    site.forget_job(key)
    world.held = False
    with site.watcher(lambda *_, **__: world):
        site.until(key, "BOOTING")
    assert len(world.tasks) == 1


def test_two_who_watch_at_once_make_one_machine_of_each(site, world):
    with site.watcher(lambda *_, **__: world), site.watcher(lambda *_, **__: world):
        keys = [site.want() for _ in range(8)]
        for key in keys:
            site.until(key, "BOOTING")
        assert len(world.things) == 8
        assert world.count("create") == 8
        for key in keys:
            site.unwant(key)
        for key in keys:
            site.until_gone(key)
    assert not world.things


def test_many_wishes_at_once_do_not_crowd_the_cluster(site, world):
    keys = [site.want() for _ in range(50)]
    with site.watcher(lambda *_, **__: world):
        for key in keys:
            site.until(key, "BOOTING")
    assert world.count("create") == 50
    assert world.most_under_way <= 4


def test_a_password_that_is_mended_is_used_at_once(site, world):
    made = []

    def connect(*given, **_):
        made.append(given)
        world.away = given[2] != "the right one"
        return world

    with site.watcher(connect):
        until(lambda: site.seen().status == "ERROR", "it does not answer")
        writes.change(site.door, ADMIN, CLUSTER, site.cluster_id, {"rapi_password": "the right one"})
        site.ring()
        until(lambda: site.seen().status == "ONLINE", "it answers")
    assert [given[2] for given in made] == ["correct horse", "the right one"]


def test_an_instance_that_nobody_knows_is_shown_and_one_of_others_left_alone(watched, world):
    key = watched.want()
    machine = watched.until(key, "BOOTING")
    with world.lock:
        thing = world.things[machine.name]
        ours = thing.instance.tags[1]
        for name, tags in (("stray", ("caryatid", ours)), ("theirs", ("caryatid", "caryatid:other"))):
            instance = replace(thing.instance, name=name, tags=tags)
            world.things[name] = replace(thing, instance=instance)
    until(lambda: watched.seen().seen["orphans"], "it is shown")
    assert [one["name"] for one in watched.seen().seen["orphans"]] == ["stray"]
    assert watched.seen().seen["foreign"] == ["theirs"]
    assert set(world.things) == {machine.name, "stray", "theirs"}


@pytest.mark.parametrize("seed", range(3))
def test_whatever_goes_wrong_each_machine_is_made_once_and_removed(site, world, seed, monkeypatch):
    """Requests are refused, answers lost, and who watches dies, again and again. What is lost is given up sooner than
    from a real cluster."""
    monkeypatch.setattr(judging, "LATE_S", 3.0)
    monkeypatch.setattr(judging, "LINGER_S", 6.0)
    monkeypatch.setattr(watcher, "ASK_WITHIN_S", 1.0)
    chance = Random(seed)

    def connect(*_, **__):
        return Unreliable(world, chance)

    with site.watcher(connect):
        keys = [site.want() for _ in range(6)]
    for _ in range(5):
        with site.watcher(connect):
            pause(chance.random() / 2)
    with site.watcher(connect), site.watcher(connect):
        for key in keys:
            site.until(key, "BOOTING", 90)
        assert sorted(world.things) == sorted(one.name for one in site.every())
        for key in keys[:3]:
            site.unwant(key)
        for key in keys[:3]:
            site.until_gone(key, 90)
        assert sorted(world.things) == sorted(one.name for one in site.every())
