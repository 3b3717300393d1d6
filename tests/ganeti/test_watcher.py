# SPDX-License-Identifier: Apache-2.0
"""Who watches a cluster, and a real Ganeti: what becomes of wishes, and of what goes wrong there."""

import shutil

import pytest

from bench.waiting import until
from caryatid.store.database import Database
from tests.control.ganeti.watching import Watched
from tests.ganeti.cluster import NETWORK, PASSWORD, URL, USER

pytestmark = pytest.mark.system
MANY = 12


@pytest.fixture
def database(sqlite, tmp_path):
    shutil.copy(sqlite, tmp_path / "caryatid.db")
    opened = Database(f"sqlite:///{tmp_path}/caryatid.db")
    yield opened
    opened.close()


@pytest.fixture
def site(ganeti, database, tmp_path):
    """A controller that knows the cluster; nothing of it is left there."""
    site = Watched(
        database,
        tmp_path,
        rapi_url=URL,
        rapi_user=USER,
        rapi_password=PASSWORD,
        rapi_ca=ganeti.certificate,
        nics=[{"network": NETWORK}],
        os="noop+default",
        hypervisor="fake",
        disk_template="diskless",
        machine={"memory_mib": 128},
        boot_deadline_s=120,
    )
    yield site
    for name in ganeti.instances():
        ganeti.remove(name)


@pytest.fixture
def watched(site):
    with site.watcher():
        yield site


def ours(ganeti, *machines):
    return sorted(machine.name for machine in machines) == sorted(ganeti.instances())


def test_a_machine_is_made_watched_and_removed(watched, ganeti):
    key = watched.want()
    machine = watched.until(key, "BOOTING")
    assert ours(ganeti, machine)
    assert machine.node == "node1.gnt.test"
    until(lambda: (watched.machine(key).address or "").startswith("10.99.0."), "its address is known")
    until(lambda: watched.machine(key).status == "running", "it is seen to run")
    (job,) = watched.jobs(key)
    assert (job.act, job.status) == ("create", "success")
    assert any("adding instance" in text for _, text in job.log)
    watched.enrol(key)
    watched.unwant(key)
    watched.until_gone(key)
    assert not ganeti.instances()
    assert {(job.act, job.status) for job in watched.jobs(key)} == {("create", "success"), ("delete", "success")}


def test_a_crash_is_seen_within_seconds(watched, ganeti):
    key = watched.want()
    machine = watched.until(key, "BOOTING")
    watched.enrol(key)
    until(lambda: watched.machine(key).status == "running", "it is seen to run")
    ganeti.crash(machine.name)
    dead = watched.until(key, "DEAD")
    assert dead.status == "ERROR_down"
    assert "crashed" in dead.reason
    assert key in watched.lost()
    watched.unwant(key)
    watched.until_gone(key)


def test_an_instance_that_was_removed_behind_our_back_is_missed(watched, ganeti):
    key = watched.want()
    machine = watched.until(key, "BOOTING")
    watched.enrol(key)
    ganeti.remove(machine.name)
    assert "not there any more" in watched.until(key, "DEAD").reason
    watched.unwant(key)
    watched.until_gone(key)


def test_a_drained_queue_is_told_of_and_all_goes_on_when_it_is_undrained(watched, ganeti):
    ganeti.drain()
    try:
        key = watched.want()
        until(lambda: watched.machine(key).reason, "it is told why nothing is made")
        assert "undrain" in watched.machine(key).remedy
        assert watched.machine(key).phase == "WANTED"
        until(lambda: watched.seen().seen["drained"], "it is told of the cluster")
    finally:
        ganeti.undrain()
    watched.until(key, "BOOTING")
    assert watched.machine(key).reason is None


def test_a_machine_that_the_cluster_refuses_says_why_and_what_helps(watched, ganeti):
    key = watched.want(memory_mib=1 << 20)
    machine = until(lambda: watched.machine(key).reason and watched.machine(key), "it is told why nothing is made")
    assert machine.phase == "WANTED"
    assert machine.remedy
    assert not ganeti.instances()


def test_many_wishes_at_once_and_a_rapi_that_is_killed_meanwhile_make_one_machine_each(watched, ganeti):
    keys = [watched.want() for _ in range(MANY)]
    until(lambda: any(watched.jobs(key) for key in keys), "the first is asked for")
    ganeti.kill("rapi")
    until(lambda: watched.seen().status == "ERROR", "the cluster is said to be away")
    ganeti.daemon("start", "rapi")
    for key in keys:
        watched.until(key, "BOOTING", 120)
    assert ours(ganeti, *watched.every())
    assert watched.seen().status == "ONLINE"
    for key in keys:
        watched.unwant(key)
    for key in keys:
        watched.until_gone(key, 120)
    assert not ganeti.instances()


def test_two_who_watch_at_once_make_one_machine_each(site, ganeti):
    with site.watcher(), site.watcher():
        keys = [site.want() for _ in range(4)]
        for key in keys:
            site.until(key, "BOOTING", 120)
        assert ours(ganeti, *site.every())


def test_a_job_that_is_archived_early_is_known_all_the_same(site, ganeti):
    with site.watcher():
        key = site.want()
        job_id = until(lambda: site.machine(key).job_id, "it has a job")
    until(lambda: ganeti.rapi().job(job_id).final, "the job has ended")
    ganeti.archive(job_id)
    with site.watcher():
        assert ours(ganeti, site.until(key, "BOOTING"))


def test_who_comes_after_somebody_that_died_takes_up_what_was_asked_for(site, ganeti):
    """It died when it had asked, and before it wrote down the job."""
    with site.watcher():
        key = site.want()
        until(lambda: site.machine(key).job_id, "it has a job")
    site.forget_job(key)
    with site.watcher():
        assert ours(ganeti, site.until(key, "BOOTING"))


def test_a_master_that_is_deaf_for_a_while_makes_nothing_twice(watched, ganeti):
    until(lambda: watched.seen().config_at, "the cluster was looked at")
    ganeti.kill("luxid")
    key = watched.want()
    until(lambda: watched.seen().status == "ERROR", "the cluster is said to be away", 120)
    ganeti.daemon("start", "luxid")
    machine = watched.until(key, "BOOTING", 240)
    assert ours(ganeti, machine)
