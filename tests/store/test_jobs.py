# SPDX-License-Identifier: Apache-2.0
import pytest
from sqlalchemy import text

from caryatid.errors import Refused
from caryatid.model import JOB
from caryatid.store import jobs, work
from caryatid.store.filters import Query
from caryatid.store.work import Again, Done


@pytest.fixture
def open_job(garden):
    def act(root, generation, **values):
        given = {"action": "update", "kind": "loadbalancer", "resource_id": root, "project_id": "p1"} | values
        with garden.database.transaction() as tx:
            return jobs.open(tx, root_id=root, generation=generation, **given)

    return act


def get(garden, job_id):
    with garden.database.read() as tx:
        return jobs.get(tx, job_id)


def attempt(garden, generation, *lines):
    held = garden.claim()
    with garden.database.transaction() as tx:
        jobs.begin_attempt(tx, held, generation)
    jobs.write_lines(garden.database, held, [(0.0, line) for line in lines])
    return held


def settle(garden, held, outcome):
    with garden.database.transaction() as tx:
        work.settle(tx, held, outcome)


def test_a_job_is_queued_then_running_then_retrying_then_succeeded(garden, open_job):
    root = garden.root()
    receipt = open_job(root, 1)
    assert get(garden, receipt)["state"] == "queued"
    held = attempt(garden, 1)
    assert get(garden, receipt)["state"] == "running"
    settle(garden, held, Again("no host", 1, after_s=0))
    found = get(garden, receipt)
    assert (found["state"], found["reason"], found["attempts"]) == ("retrying", "no host", 1)
    settle(garden, attempt(garden, 1), Done(1))
    found = get(garden, receipt)
    assert (found["state"], found["reason"], found["attempts"]) == ("succeeded", None, 2)
    assert found["created_at"] <= found["started_at"] <= found["ended_at"]
    assert set(found) == set(JOB.attributes)


def test_a_job_shows_the_lines_of_the_attempts_that_covered_it(garden, open_job):
    root = garden.root()
    first = open_job(root, 1)
    settle(garden, attempt(garden, 1, "one", "two"), Done(1))
    with garden.database.transaction() as tx:
        work.ask(tx, root)
    second = open_job(root, 2)
    settle(garden, attempt(garden, 2, "three"), Again("away", 2, after_s=0))
    settle(garden, attempt(garden, 2, "four"), Done(2))
    lines = [(line["attempt"], line["text"]) for line in get(garden, first)["log"]]
    assert lines == [(1, "one"), (1, "two")]
    lines = [(line["attempt"], line["text"]) for line in get(garden, second)["log"]]
    assert lines == [(1, "three"), (2, "four")]
    assert get(garden, second)["log"][0]["at"] == "1970-01-01T00:00:00.000000"


def test_an_attempts_log_has_an_end(garden, open_job):
    receipt = open_job(garden.root(), 1)
    held = attempt(garden, 1, "x" * 10_000)
    for _ in range(3):
        jobs.write_lines(garden.database, held, [(0.0, "again")] * 400)
    log = get(garden, receipt)["log"]
    assert len(log) == jobs.LINES_MAX
    assert len(log[0]["text"]) == jobs.LINE_LENGTH_MAX


def test_jobs_are_listed_by_what_they_are_about(garden, open_job):
    roots = [garden.root(), garden.root()]
    receipts = [open_job(root, 1, project_id=f"p{n}") for n, root in enumerate(roots)]
    settle(garden, attempt(garden, 1), Done(1))
    with garden.database.read() as tx:
        assert [job["id"] for job in jobs.page(tx, Query())] == receipts
        assert [job["id"] for job in jobs.page(tx, Query(project_id="p1"))] == receipts[1:]
        assert [job["id"] for job in jobs.page(tx, Query(filters={"loadbalancer_id": roots[0]}))] == receipts[:1]
        assert [job["id"] for job in jobs.page(tx, Query(filters={"state": "queued"}))] == receipts[1:]
        assert [job["id"] for job in jobs.page(tx, Query(limit=1, marker=receipts[0]))] == receipts[1:]
        assert all(set(job) == set(JOB.attributes) for job in jobs.page(tx, Query()))
        with pytest.raises(Refused):
            jobs.page(tx, Query(filters={"log": "x"}))


@pytest.mark.parametrize("key", ["\x00", "nothing", "\ud800"])
def test_an_unknown_job_is_none(garden, key):
    assert get(garden, key) is None


def test_old_history_is_forgotten_but_not_what_is_open(garden, open_job):
    roots = [garden.root(), garden.root()]
    receipts = [open_job(root, 1) for root in roots]
    settle(garden, attempt(garden, 1), Done(1))
    with garden.database.transaction() as tx:
        assert jobs.purge(tx, "2000-01-01T00:00:00.000000") == 0
        assert jobs.purge(tx, "2999-01-01T00:00:00.000000") == 1
    assert get(garden, receipts[0]) is None
    assert get(garden, receipts[1]) is not None


def test_an_attempt_that_never_ended_is_forgotten_in_its_turn(garden):
    garden.root()
    attempt(garden, 1)  # and the worker is killed
    with garden.database.transaction() as tx:
        jobs.purge(tx, "2000-01-01T00:00:00.000000")
        assert tx.connection.execute(text("SELECT count(*) FROM attempt")).scalar() == 1
        jobs.purge(tx, "2999-01-01T00:00:00.000000")
        assert tx.connection.execute(text("SELECT count(*) FROM attempt")).scalar() == 0
