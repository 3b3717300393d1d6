# SPDX-License-Identifier: Apache-2.0
"""Jobs are taken back before they begin, or not at all."""

import time

import pytest
from sqlalchemy import text

from caryatid.control import jobs, operator, writes
from caryatid.control.attempt import Attempt
from caryatid.control.housekeeping import forget_history
from caryatid.control.reconcile import attend
from caryatid.errors import Conflict, Forbidden, NotFound
from caryatid.model import AMPHORA, LISTENER, LOADBALANCER
from caryatid.model.policy import Caller
from caryatid.store import clock, rows, work
from caryatid.store import jobs as store

SUBNET = "00000000-0000-4000-8000-000000000002"


@pytest.fixture
def loadbalancer_id(door, caller, drain):
    key = writes.create(door, caller, LOADBALANCER, {"vip_subnet_id": SUBNET}).document["id"]
    drain()
    return key


def amphorae(door, loadbalancer_id):
    with door.database.read() as tx:
        found = rows.find(tx, AMPHORA, loadbalancer_id=loadbalancer_id)
    return {document["id"]: document["status"] for document in found}


def job(door, key):
    with door.database.read() as tx:
        return store.get(tx, key)


def test_a_failover_that_has_not_begun_is_taken_back(door, caller, drain, loadbalancer_id):
    before = amphorae(door, loadbalancer_id)
    job_id = operator.failover(door, caller, loadbalancer_id).job_id
    assert set(amphorae(door, loadbalancer_id).values()) == {"PENDING_DELETE"}
    ended = jobs.cancel(door, caller, job_id)
    assert (ended["state"], ended["reason"]) == ("cancelled", "Cancelled by tester.")
    assert amphorae(door, loadbalancer_id) == before
    drain()
    assert amphorae(door, loadbalancer_id) == before
    assert job(door, job_id)["state"] == "cancelled"


def test_a_failover_that_was_taken_back_leaves_another_s_amphorae_leaving(door, caller, drain, loadbalancer_id):
    (amphora_id,) = before = amphorae(door, loadbalancer_id)
    first = operator.failover(door, caller, loadbalancer_id).job_id
    second = operator.failover_amphora(door, caller, amphora_id).job_id
    jobs.cancel(door, caller, first)
    assert amphorae(door, loadbalancer_id) == {amphora_id: "PENDING_DELETE"}
    jobs.cancel(door, caller, second)
    assert amphorae(door, loadbalancer_id) == before


def test_the_other_failover_is_carried_out(door, caller, drain, loadbalancer_id):
    (amphora_id,) = amphorae(door, loadbalancer_id)
    first = operator.failover(door, caller, loadbalancer_id).job_id
    second = operator.failover_amphora(door, caller, amphora_id).job_id
    jobs.cancel(door, caller, first)
    drain()
    assert amphora_id not in amphorae(door, loadbalancer_id)
    assert job(door, second)["state"] == "succeeded"


def test_what_has_begun_is_carried_on(door, caller, world, loadbalancer_id):
    job_id = operator.failover(door, caller, loadbalancer_id).job_id
    claim = work.claim(door.database, "test")
    with pytest.raises(Conflict, match="has begun"):
        jobs.cancel(door, caller, job_id)
    attend(door, Attempt(claim))
    with pytest.raises(Conflict, match=r"cannot be cancelled|has ended"):
        jobs.cancel(door, caller, job_id)


def test_a_wish_is_changed_back_instead(door, caller, drain, loadbalancer_id):
    body = {"loadbalancer_id": loadbalancer_id, "protocol": "HTTP", "protocol_port": 80}
    job_id = writes.create(door, caller, LISTENER, body).job_id
    with pytest.raises(Conflict, match="Change it back instead"):
        jobs.cancel(door, caller, job_id)
    drain()
    with pytest.raises(Conflict, match="has ended: it is succeeded"):
        jobs.cancel(door, caller, job_id)


def test_whoever_may_not_fail_over_may_not_take_it_back(door, caller, loadbalancer_id):
    job_id = operator.failover(door, caller, loadbalancer_id).job_id
    with pytest.raises(Forbidden):
        jobs.cancel(door, Caller("u", "p1", frozenset({"member"})), job_id)
    with pytest.raises(NotFound):
        jobs.cancel(door, caller, "nothing")


def test_history_is_archived_and_forgotten_in_its_time(door, caller, drain, loadbalancer_id):
    job_id = operator.failover(door, caller, loadbalancer_id).job_id
    drain()
    forget_history(door)
    assert job(door, job_id)["archived"] is False

    def age(table, days):
        these = {"at": clock.text(time.time() - days * 86_400), "id": job_id}
        with door.database.transaction() as tx:
            tx.connection.execute(text(f"UPDATE {table} SET created_at = :at, ended_at = :at WHERE id = :id"), these)

    age("job", door.settings.event_retention_days + 1)
    forget_history(door)
    assert job(door, job_id)["archived"] is True
    age("job_archive", door.settings.job_archive_days - 1)
    forget_history(door)
    assert job(door, job_id) is not None
    age("job_archive", door.settings.job_archive_days + 1)
    forget_history(door)
    assert job(door, job_id) is None
