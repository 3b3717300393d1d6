# SPDX-License-Identifier: Apache-2.0
"""How clusters were seen, their jobs, their passwords."""

from dataclasses import replace

from caryatid.store.ganeti import credentials, jobs, seen
from caryatid.store.ganeti.jobs import ClusterJob
from caryatid.store.ganeti.seen import Seen

NOW = 1_763_000_000.5
SEEN = Seen("c1", "ONLINE", NOW, None, NOW, NOW + 1, NOW + 2, {"software_version": "3.0.2", "nodes": [{"name": "n1"}]})
JOB = ClusterJob("c1", 7, "create", "a1", "lb1", "amphora-a1.x", "running", NOW, log=[[NOW, "* starting instance..."]])


def test_a_cluster_was_as_it_was_seen_last(database):
    with database.transaction() as tx:
        assert seen.get(tx, "c1") is None
        seen.write(tx, SEEN)
        assert seen.get(tx, "c1") == SEEN
        away = replace(SEEN, status="ERROR", reason="It does not answer.", since=NOW + 9, config_at=None)
        seen.write(tx, away)
        seen.write(tx, replace(SEEN, cluster_id="c2"))
        assert seen.get(tx, "c1") == away


def test_a_job_is_as_it_was_copied_last(database):
    with database.transaction() as tx:
        jobs.write(tx, [JOB, replace(JOB, job_id=8, act="delete", loadbalancer_id=None)])
        done = replace(JOB, status="error", error="no room", ended_at=NOW + 9, log=[[NOW, "a"], [NOW, "b"]], serial=2)
        jobs.write(tx, [done])
        jobs.write(tx, [])
        assert jobs.some(tx, "c1", [7, 9]) == {7: done}
        assert jobs.some(tx, "c2", [7]) == {}
        assert jobs.some(tx, "c1", []) == {}


def test_jobs_are_paged_from_the_newest(database):
    with database.transaction() as tx:
        jobs.write(tx, [replace(JOB, job_id=number, amphora_id=f"a{number % 2}") for number in range(1, 8)])
        jobs.write(tx, [replace(JOB, cluster_id="c2", job_id=99)])
        assert [one.job_id for one in jobs.page(tx, "c1", limit=3)] == [7, 6, 5]
        assert [one.job_id for one in jobs.page(tx, "c1", limit=3, below=5)] == [4, 3, 2]
        assert [one.job_id for one in jobs.page(tx, "c1", limit=9, amphora_id="a0")] == [6, 4, 2]


def test_old_jobs_are_forgotten(database):
    with database.transaction() as tx:
        jobs.write(tx, [replace(JOB, job_id=number, asked_at=NOW + number) for number in range(5)])
        assert jobs.purge(tx, NOW + 3) == 3
        assert [one.job_id for one in jobs.page(tx, "c1", limit=9)] == [4, 3]


def test_of_a_cluster_that_is_forgotten_nothing_is_left(database):
    with database.transaction() as tx:
        for key in ("c1", "c2"):
            seen.write(tx, replace(SEEN, cluster_id=key))
            jobs.write(tx, [replace(JOB, cluster_id=key)])
        seen.forget(tx, "c1")
        assert seen.get(tx, "c1") is None
        assert jobs.page(tx, "c1", limit=9) == []
        assert seen.get(tx, "c2")
        assert jobs.page(tx, "c2", limit=9)


def test_a_password_is_the_one_that_was_written_last(database):
    with database.transaction() as tx:
        assert credentials.read(tx, "c1") is None
        credentials.write(tx, "c1", b"\x00one")
        credentials.write(tx, "c1", b"\xfftwo")
        credentials.write(tx, "c2", b"three")
        assert credentials.read(tx, "c1") == b"\xfftwo"
        credentials.drop(tx, "c1")
        assert credentials.read(tx, "c1") is None
        assert credentials.read(tx, "c2") == b"three"
