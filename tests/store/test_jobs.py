# SPDX-License-Identifier: Apache-2.0
import pytest
from sqlalchemy import text

from caryatid.errors import Refused
from caryatid.model import JOB, LOADBALANCER, MEMBER, POOL
from caryatid.store import attempts, jobs, migrate, work
from caryatid.store.database import Database
from caryatid.store.filters import Query
from caryatid.store.work import Again, Done, Failed


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
        attempts.begin(tx, held, generation)
    attempts.write(garden.database, held, said(*lines))
    return held


def said(*lines):
    return attempts.Said([(0.0, line) for line in lines], 0, 0)


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
        attempts.write(garden.database, held, said(*["again"] * 400))
    log = get(garden, receipt)["log"]
    assert len(log) == attempts.LINES_MAX
    assert len(log[0]["text"]) == attempts.LINE_LENGTH_MAX


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


def test_what_ended_long_ago_is_archived_and_then_forgotten_but_not_what_is_open(garden, open_job):
    roots = [garden.root(), garden.root()]
    receipts = [open_job(root, 1) for root in roots]
    settle(garden, attempt(garden, 1, "one"), Done(1))
    before = get(garden, receipts[0])
    with garden.database.transaction() as tx:
        assert jobs.archive(tx, "2000-01-01T00:00:00.000000", 10) == 0
        assert jobs.archive(tx, "2999-01-01T00:00:00.000000", 10) == 1
        attempts.purge(tx, "2999-01-01T00:00:00.000000")
    assert get(garden, receipts[0]) == {**before, "archived": True, "log": []}
    assert get(garden, receipts[1])["archived"] is False
    with garden.database.transaction() as tx:
        assert [job["id"] for job in jobs.page(tx, Query())] == receipts[1:]
        assert [job["id"] for job in jobs.page(tx, Query(), archived=True)] == receipts[:1]
        assert jobs.purge_archive(tx, "2000-01-01T00:00:00.000000") == 0
        assert jobs.purge_archive(tx, "2999-01-01T00:00:00.000000") == 1
    assert get(garden, receipts[0]) is None


def test_no_more_jobs_are_archived_at_once_than_asked_for(garden, open_job):
    for _ in range(3):
        open_job(garden.root(), 1)
        settle(garden, attempt(garden, 1), Done(1))
    with garden.database.transaction() as tx:
        assert [jobs.archive(tx, "2999-01-01T00:00:00.000000", 2) for _ in range(2)] == [2, 1]


def test_a_job_is_superseded_when_what_it_is_about_was_deleted_later(garden, open_job):
    found = garden.whole()
    root = found["loadbalancer"]
    settle(garden, attempt(garden, 9), Done(9))
    changed = garden.change(MEMBER, root, found["member"], weight=7)
    update = open_job(root, changed, kind="member", resource_id=found["member"])
    other = open_job(root, garden.touch(POOL, root, found["pool"]), kind="pool", resource_id=found["pool"])
    gone = garden.delete(MEMBER, root, found["member"])
    delete = open_job(root, gone, kind="member", resource_id=found["member"], action="delete")
    settle(garden, attempt(garden, gone), Done(gone))
    assert [get(garden, job)["state"] for job in (update, other, delete)] == ["superseded", "succeeded", "succeeded"]
    assert get(garden, update)["reason"] == f"A later change deleted member {found['member']}."


def test_a_job_is_not_superseded_by_a_delete_that_is_not_in_effect(garden, open_job):
    found = garden.whole()
    root = found["loadbalancer"]
    changed = garden.change(MEMBER, root, found["member"], weight=7)
    update = open_job(root, changed, kind="member", resource_id=found["member"])
    held = attempt(garden, changed)
    garden.delete(MEMBER, root, found["member"])
    settle(garden, held, Done(changed))
    assert get(garden, update)["state"] == "succeeded"


def test_jobs_that_were_pending_when_their_load_balancer_went_are_superseded(garden, open_job):
    root = garden.root()
    created = open_job(root, 1, action="create")
    failover = open_job(root, 1, kind="amphora", resource_id="a1", action="failover")
    gone = garden.delete(LOADBALANCER, root, root)
    deleted = open_job(root, gone, action="delete")
    settle(garden, attempt(garden, gone), Done(gone))
    states = [get(garden, job)["state"] for job in (created, failover, deleted)]
    assert states == ["superseded", "superseded", "succeeded"]


def test_what_would_help_is_shown_with_what_stands_in_the_way(garden, open_job):
    receipt = open_job(garden.root(), 1)
    settle(garden, attempt(garden, 1), Again("no host", 1, after_s=0, remedy="Enrol one."))
    assert (get(garden, receipt)["reason"], get(garden, receipt)["remedy"]) == ("no host", "Enrol one.")
    settle(garden, attempt(garden, 1), Failed("refused", 1, remedy="Change it."))
    found = get(garden, receipt)
    assert (found["state"], found["reason"], found["remedy"]) == ("failed", "refused", "Change it.")


def test_progress_is_that_of_the_latest_attempt(garden, open_job):
    receipt = open_job(garden.root(), 1)
    assert get(garden, receipt)["progress"] == {"done": 0, "known": 0}
    held = attempt(garden, 1)
    attempts.write(garden.database, held, attempts.Said([(0.0, "x")], 2, 5))
    assert get(garden, receipt)["progress"] == {"done": 2, "known": 5}
    settle(garden, held, Again("away", 1, after_s=0))
    attempt(garden, 1)
    assert get(garden, receipt)["progress"] == {"done": 0, "known": 0}


def test_a_serial_rises_with_all_that_is_new_and_never_falls(garden, open_job):
    receipt = open_job(garden.root(), 1)
    serials = [get(garden, receipt)["serial"]]

    def rose():
        serials.append(get(garden, receipt)["serial"])
        assert serials[-1] > serials[-2]

    held = attempt(garden, 1, "one")
    rose()
    attempts.write(garden.database, held, said("two"))
    rose()
    settle(garden, held, Again("away", 1, after_s=0))
    rose()
    held = attempt(garden, 1)
    rose()
    settle(garden, held, Done(1))
    rose()
    attempt_after_it = get(garden, receipt)["serial"]
    with garden.database.transaction() as tx:
        jobs.archive(tx, "2999-01-01T00:00:00.000000", 10)
    assert get(garden, receipt)["serial"] == attempt_after_it


def test_an_attempt_that_was_lost_ends_when_the_next_begins(garden, open_job):
    root = garden.root()
    receipt = open_job(root, 1)
    attempt(garden, 1)  # and the worker is killed
    with garden.database.transaction() as tx:
        tx.connection.execute(text("UPDATE work SET lease_until = 0"))
    attempt(garden, 1)
    with garden.database.read() as tx:
        open_ones = tx.connection.execute(text("SELECT count(*) FROM attempt WHERE ended_at IS NULL")).scalar()
    assert open_ones == 1
    assert get(garden, receipt)["attempts"] == 2


def test_jobs_of_before_0009_show_the_attempts_that_covered_them(empty_url):
    migrate.upgrade(empty_url, "0008")
    database = Database(empty_url)
    with database.transaction() as tx:
        for statement in OLD:
            tx.connection.exec_driver_sql(statement)
    database.close()
    migrate.upgrade(empty_url)
    database = Database(empty_url)
    with database.read() as tx:
        found = {key: jobs.get(tx, key) for key in ("j1", "j2", "j3")}
    database.close()
    assert {key: (job["state"], job["attempts"]) for key, job in found.items()} == {
        "j1": ("succeeded", 1),
        "j2": ("queued", 1),
        "j3": ("failed", 2),
    }


OLD = (
    """INSERT INTO attempt (root_id, fence, generation, started_at, log) VALUES ('lb', 1, 5, 't2', '[]'),
      ('lb', 2, 6, 't4', '[]'), ('other', 1, 1, 't2', '[]'), ('other', 2, 1, 't4', '[]')""",
    """INSERT INTO job (id, user_id, request_id, action, resource_type, resource_id, loadbalancer_id, generation,
      created_at, ended_at, outcome) VALUES
      ('j1', 'u', 'r', 'update', 'loadbalancer', 'lb', 'lb', 5, 't1', 't3', 'succeeded'),
      ('j2', 'u', 'r', 'update', 'loadbalancer', 'lb', 'lb', 6, 't3', NULL, NULL),
      ('j3', 'u', 'r', 'create', 'loadbalancer', 'other', 'other', 1, 't1', 't5', 'failed')""",
)


def test_an_attempt_that_never_ended_is_forgotten_in_its_turn(garden):
    garden.root()
    attempt(garden, 1)  # and the worker is killed
    with garden.database.transaction() as tx:
        attempts.purge(tx, "2000-01-01T00:00:00.000000")
        assert tx.connection.execute(text("SELECT count(*) FROM attempt")).scalar() == 1
        attempts.purge(tx, "2999-01-01T00:00:00.000000")
        assert tx.connection.execute(text("SELECT count(*) FROM attempt")).scalar() == 0
