# SPDX-License-Identifier: Apache-2.0
import itertools
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import update

from caryatid.errors import LeaseLost
from caryatid.model import LISTENER, LOADBALANCER, POOL
from caryatid.model.event import BEGINNING
from caryatid.store import events, jobs, rows, work
from caryatid.store.tables import WORK
from caryatid.store.work import Again, Done, Failed


def expire(garden):
    with garden.database.transaction() as tx:
        tx.connection.execute(update(WORK).values(lease_until=0.0))


def job(garden, root, generation, resource_id=None):
    with garden.database.transaction() as tx:
        return jobs.open(
            tx,
            action="update",
            kind="loadbalancer",
            resource_id=resource_id or root,
            root_id=root,
            project_id="p1",
            generation=generation,
        )


def state(garden, job_id):
    with garden.database.read() as tx:
        return jobs.get(tx, job_id)


def test_what_is_asked_for_is_due_at_once_and_claimed_by_one(garden):
    assert work.next_due(garden.database) is None
    assert work.claim(garden.database, "w") is None
    root = garden.root()
    assert work.next_due(garden.database) == 0
    assert garden.claim().root_id == root
    assert work.claim(garden.database, "other") is None
    assert 0 < work.next_due(garden.database) <= work.LEASE_S


def test_many_workers_never_have_the_same_root(garden):
    roots = {garden.root() for _ in range(20)}

    def drain(worker):
        found = []
        while (held := work.claim(garden.database, str(worker))) is not None:
            found.append(held.root_id)
        return found

    with ThreadPoolExecutor(6) as pool:
        claimed = [root for found in pool.map(drain, range(6)) for root in found]
    assert sorted(claimed) == sorted(roots)


def test_the_urgent_go_first_then_the_oldest(garden):
    first, second, third = garden.root(), garden.root(), garden.root()
    with garden.database.transaction() as tx:
        rows.lock_root(tx, third)
        work.ask(tx, third, priority=80)
    assert [garden.claim().root_id for _ in range(3)] == [third, first, second]


def test_changes_coalesce_into_one_attempt(garden):
    root = garden.root()
    pools = [garden.add(POOL, root) for _ in range(5)]
    receipts = [job(garden, root, generation) for generation in range(1, 7)]
    garden.settle(Done)
    assert work.claim(garden.database, "w") is None
    assert {garden.status(POOL, pool) for pool in pools} == {"ACTIVE"}
    assert {state(garden, receipt)["state"] for receipt in receipts} == {"succeeded"}


def test_what_is_asked_for_during_an_attempt_is_due_after_it(garden):
    root = garden.root()
    held = garden.claim()
    pool = garden.add(POOL, root)
    with garden.database.transaction() as tx:
        work.settle(tx, held, Done(1))
    assert garden.status(LOADBALANCER, root) == "PENDING_UPDATE"
    assert garden.status(POOL, pool) == "PENDING_CREATE"
    garden.settle(Done)
    assert garden.status(POOL, pool) == "ACTIVE"


@pytest.mark.parametrize("outcome", [Done(1), Again("later", 1), Failed("never", 1)], ids=lambda o: type(o).__name__)
def test_a_worker_that_lost_its_lease_writes_nothing(garden, outcome):
    root = garden.root()
    late = garden.claim()
    expire(garden)
    held = garden.claim()
    assert held.fence > late.fence
    assert not work.renew(garden.database, late)
    assert work.renew(garden.database, held)
    with garden.database.transaction() as tx:
        assert work.still_mine(tx, held)
        assert not work.still_mine(tx, late)
    with pytest.raises(LeaseLost), garden.database.transaction() as tx:
        work.settle(tx, late, outcome)
    assert garden.status(LOADBALANCER, root) == "PENDING_CREATE"
    with garden.database.transaction() as tx:
        work.settle(tx, held, Done(1))
    assert garden.status(LOADBALANCER, root) == "ACTIVE"
    assert not work.renew(garden.database, held)


def test_a_dead_workers_root_is_claimed_by_another(garden):
    root = garden.root()
    garden.claim()
    expire(garden)
    assert garden.claim().root_id == root


def test_it_is_tried_again_after_growing_pauses_up_to_a_minute(garden):
    garden.root()
    pauses = []
    for _ in range(12):
        garden.settle(lambda generation: Again("away", generation))
        pauses.append(work.next_due(garden.database))
        with garden.database.transaction() as tx:
            tx.connection.execute(update(WORK).values(due_at=0.0))
    assert pauses[0] <= 0.5
    assert all(before < after for before, after in itertools.pairwise(pauses[:7]))
    assert 40 < pauses[-1] <= 60


def test_a_later_change_is_tried_at_once(garden):
    root = garden.root()
    garden.settle(lambda generation: Again("away", generation, after_s=50))
    assert work.next_due(garden.database) > 40
    garden.add(POOL, root)
    assert garden.claim().tries == 0


def test_all_that_waits_can_be_tried_at_once(garden):
    garden.root()
    garden.settle(lambda generation: Again("no host", generation, after_s=50))
    with garden.database.transaction() as tx:
        work.retry_all(tx)
    assert work.next_due(garden.database) == 0


def test_waking_a_root_asks_for_nothing_new(garden):
    root = garden.root()
    garden.settle(Done)
    with garden.database.transaction() as tx:
        work.wake_root(tx, root)
    assert garden.status(LOADBALANCER, root) == "ACTIVE"
    held = garden.claim()
    with garden.database.transaction() as tx:
        work.wake_root(tx, root)
        work.settle(tx, held, Done(1))
    assert work.next_due(garden.database) == 0


def test_a_passing_fault_is_pending_until_the_deadline_then_error(garden):
    root = garden.root()
    receipt = job(garden, root, 1)
    garden.settle(lambda generation: Again("no host answers", generation, after_s=0))
    assert garden.status(LOADBALANCER, root) == "PENDING_CREATE"
    assert state(garden, receipt)["state"] == "retrying"
    garden.settle(lambda generation: Again("no host answers", generation), provisioning_deadline_s=0)
    assert garden.status(LOADBALANCER, root) == "ERROR"
    assert (state(garden, receipt)["state"], state(garden, receipt)["reason"]) == ("failed", "no host answers")
    assert work.next_due(garden.database) is not None


def test_a_new_wish_after_an_error_has_a_deadline_of_its_own(garden):
    root = garden.root()
    garden.settle(lambda generation: Failed("refused", generation))
    with garden.database.transaction() as tx:
        tx.connection.execute(update(WORK).values(pending_since=time.time() - 1000))
    garden.add(POOL, root)
    garden.settle(lambda generation: Again("away", generation), provisioning_deadline_s=300)
    assert garden.status(LOADBALANCER, root) == "PENDING_CREATE"


def test_a_lasting_fault_is_error_at_once_and_active_once_it_works(garden):
    root = garden.root()
    listener = garden.add(LISTENER, root)
    receipt = job(garden, root, 2)
    garden.settle(lambda generation: Failed("the secret cannot be read", generation))
    assert garden.status(LISTENER, listener) == "ERROR"
    assert state(garden, receipt)["reason"] == "the secret cannot be read"
    with garden.database.transaction() as tx:
        tx.connection.execute(update(WORK).values(due_at=0.0))
    garden.settle(Done)
    assert garden.status(LISTENER, listener) == "ACTIVE"
    assert state(garden, receipt)["state"] == "failed"


def test_a_failing_repair_of_what_is_in_effect_shows_no_error(garden):
    root = garden.root()
    garden.settle(Done)
    with garden.database.transaction() as tx:
        work.wake_root(tx, root)
    garden.settle(lambda generation: Failed("host away", generation))
    assert garden.status(LOADBALANCER, root) == "ACTIVE"


def test_the_culprits_job_fails_and_the_others_succeed(garden):
    root = garden.root()
    bad, good = garden.add(POOL, root), garden.add(POOL, root)
    receipts = [job(garden, root, 3, bad), job(garden, root, 3, good)]
    garden.settle(lambda generation: Done(generation, {bad: "no such cookie"}))
    first, second = (state(garden, receipt) for receipt in receipts)
    assert (first["state"], first["reason"]) == ("failed", "no such cookie")
    assert (second["state"], second["reason"]) == ("succeeded", None)


def test_each_ended_job_is_an_event(garden):
    root = garden.root()
    receipt = job(garden, root, 1)
    garden.settle(Done)
    with garden.database.read() as tx:
        event = events.after(tx, BEGINNING)[-1]
        assert events.after(tx, events.last(tx)) == []
        assert events.after(tx, BEGINNING, project_id="p2") == []
    assert (event["action"], event["resource_id"], event["job_id"]) == ("update.end", root, receipt)
    assert event["user_id"] == "system:worker"


def test_a_root_that_is_gone_leaves_no_work(garden):
    root = garden.root()
    receipt = job(garden, root, 2)
    garden.delete(LOADBALANCER, root, root)
    garden.settle(Done)
    assert garden.get(LOADBALANCER, root) is None
    assert work.next_due(garden.database) is None
    assert state(garden, receipt)["state"] == "succeeded"
