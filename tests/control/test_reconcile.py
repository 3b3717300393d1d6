# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace

import pytest
from sqlalchemy import text

from caryatid.control import writes
from caryatid.control.attempt import Attempt
from caryatid.control.door import Door
from caryatid.control.housekeeping import remove_buried
from caryatid.control.initial import SUBNET_ID
from caryatid.control.reconcile import attend
from caryatid.drivers.amphora.base import ProvisioningErrors, TimeOutException, UnavailableException
from caryatid.errors import LeaseLost
from caryatid.model import AMPHORA, LISTENER, LOADBALANCER, PORT
from caryatid.model.amphora import Stamp
from caryatid.store import hosts, jobs, rows, work


@pytest.fixture
def root(door, caller):
    return writes.create(door, caller, LOADBALANCER, {"vip_subnet_id": SUBNET_ID}).document


def listener(door, caller, root, port=80):
    body = {"loadbalancer_id": root["id"], "protocol": "HTTP", "protocol_port": port}
    return writes.create(door, caller, LISTENER, body)


def show(door, kind, document):
    with door.database.read() as tx:
        return rows.get(tx, kind, document["id"])


def with_settings(door, **changed):
    return Door(door.database, door.providers, door.settings.model_copy(update=changed), door.secrets, door.identity)


def again(door):
    with door.database.transaction() as tx:
        tx.connection.execute(text("UPDATE work SET due_at = 0, lease_until = NULL WHERE due_at IS NOT NULL"))
    return attend(door, Attempt(work.claim(door.database, "test")))


def failing(error):
    def mishap(_number, name):
        if name in ("update", "delete"):
            raise error

    return mishap


def refusing(world, ids):
    """The world refuses every configuration that has one of these objects in it."""
    real = world.trees

    class Refusing(dict):
        def __setitem__(self, key, tree):
            found = {node.listener.id for node in tree.listeners} & set(ids)
            if found:
                raise ProvisioningErrors("no", dict.fromkeys(found, "HAProxy does not take it"))
            real.__class__.__setitem__(self, key, tree)

    world.trees = Refusing(real)


def test_what_may_pass_by_itself_stays_pending_with_its_reason_on_the_job(door, caller, root, world, drain):
    drain()
    world.mishap = failing(TimeOutException("no answer in time"))
    accepted = listener(door, caller, root)
    drain()
    assert show(door, LISTENER, accepted.document)["provisioning_status"] == "PENDING_CREATE"
    with door.database.read() as tx:
        job = jobs.get(tx, accepted.job_id)
    assert (job["state"], job["reason"]) == ("retrying", "no answer in time")


def test_past_the_deadline_it_shows_error_and_becomes_active_once_it_works(door, caller, root, world, drain):
    drain()
    impatient = with_settings(door, provisioning_deadline_s=1e-9)
    world.mishap = failing(UnavailableException("host away"))
    accepted = listener(impatient, caller, root)
    again(impatient)
    assert show(door, LISTENER, accepted.document)["provisioning_status"] == "ERROR"
    again(impatient)
    assert show(door, LISTENER, accepted.document)["provisioning_status"] == "ERROR", "not back to PENDING"
    world.mishap = lambda _number, _name: None
    again(impatient)
    assert show(door, LISTENER, accepted.document)["provisioning_status"] == "ACTIVE"


def test_only_the_culprit_is_in_error_and_all_else_advances(door, caller, root, world, drain):
    good = listener(door, caller, root, 80).document
    drain()
    bad = listener(door, caller, root, 81)
    refusing(world, [bad.document["id"]])
    other = listener(door, caller, root, 82).document
    drain()
    assert show(door, LISTENER, bad.document)["provisioning_status"] == "ERROR"
    for fine in (good, other):
        assert show(door, LISTENER, fine)["provisioning_status"] == "ACTIVE"
    assert show(door, LOADBALANCER, root)["provisioning_status"] == "ACTIVE"
    (tree,) = world.trees.values()
    assert {node.listener.id for node in tree.listeners} == {good["id"], other["id"]}
    with door.database.read() as tx:
        job = jobs.get(tx, bad.job_id)
    assert (job["state"], job["reason"]) == ("failed", "HAProxy does not take it")


def test_a_change_that_is_refused_leaves_the_last_good_form_in_effect(door, caller, root, world, drain):
    document = listener(door, caller, root).document
    drain()
    real = type(world.trees).__setitem__

    class Picky(dict):
        def __setitem__(self, key, tree):
            if any(node.listener.connection_limit == 13 for node in tree.listeners):
                raise ProvisioningErrors("no", {document["id"]: "unlucky"})
            real(self, key, tree)

    world.trees = Picky(world.trees)
    writes.change(door, caller, LISTENER, document["id"], {"connection_limit": 13})
    drain()
    assert show(door, LISTENER, document)["provisioning_status"] == "ERROR"
    assert show(door, LISTENER, document)["connection_limit"] == 13
    (tree,) = world.trees.values()
    assert tree.listeners[0].listener.connection_limit == -1
    writes.change(door, caller, LISTENER, document["id"], {"connection_limit": 14})
    drain()
    assert show(door, LISTENER, document)["provisioning_status"] == "ACTIVE"
    (tree,) = world.trees.values()
    assert tree.listeners[0].listener.connection_limit == 14


def test_a_delete_does_not_wait_for_a_host_that_does_not_return(door, caller, root, world, drain):
    drain()
    world.mishap = failing(UnavailableException("host away"))
    writes.delete(door, caller, LOADBALANCER, root["id"])
    again(door)
    assert show(door, LOADBALANCER, root)["provisioning_status"] == "PENDING_DELETE"
    again(with_settings(door, delete_deadline_s=1e-9))
    assert show(door, LOADBALANCER, root) is None
    with door.database.read() as tx:
        assert rows.count(tx, PORT, ip_address=root["vip_address"]) == 1, "the address is kept back"
        assert len(hosts.tombstones(tx)) == 1


def test_when_the_host_returns_it_removes_what_was_left_and_the_address_is_free(door, caller, root, world, drain):
    test_a_delete_does_not_wait_for_a_host_that_does_not_return(door, caller, root, world, drain)
    assert len(world.trees) == 1
    world.mishap = lambda _number, _name: None
    remove_buried(door)
    assert world.trees == {}
    with door.database.read() as tx:
        assert hosts.tombstones(tx) == []
        assert rows.count(tx, PORT) == 0


def test_a_worker_that_lost_its_lease_changes_nothing(door, caller, root, world):
    late = work.claim(door.database, "late")
    with door.database.transaction() as tx:
        tx.connection.execute(text("UPDATE work SET lease_until = 0"))
    attend(door, Attempt(work.claim(door.database, "quick")))
    before = dict(world.trees)
    with pytest.raises(LeaseLost):
        attend(door, Attempt(late))
    assert world.trees == before
    assert show(door, LOADBALANCER, root)["provisioning_status"] == "ACTIVE"


def test_after_a_restore_from_a_backup_agents_are_told_anew(door, caller, root, world, drain):
    """The numbers of an older database are lower than what agents have seen."""
    drain()
    with door.database.transaction() as tx:
        tx.connection.execute(text("UPDATE work SET fence = 1"))
    (amphora_id,) = world.stamps
    world.stamps[amphora_id] = Stamp(900, 1)
    made = listener(door, caller, root).document
    drain()
    assert show(door, LISTENER, made)["provisioning_status"] == "PENDING_CREATE"
    again(door)
    assert show(door, LISTENER, made)["provisioning_status"] == "ACTIVE"


def test_amphorae_in_error_are_replaced(door, caller, root, world, drain):
    drain()
    with door.database.transaction() as tx:
        (document,) = rows.find(tx, AMPHORA)
        broken = AMPHORA.load({**document, "status": "ERROR"})
        rows.change(tx, AMPHORA, broken, at=document["created_at"])
        work.wake_root(tx, root["id"])
    drain()
    with door.database.read() as tx:
        (fresh,) = rows.find(tx, AMPHORA)
    assert fresh["id"] != document["id"]
    assert set(world.trees) == {fresh["id"]}


def test_an_internal_fault_is_tried_again(door, caller, root, world):
    world.mishap = failing(ZeroDivisionError())
    outcome = attend(door, Attempt(work.claim(door.database, "test")))
    assert outcome == replace(outcome, reason="An internal error; see the worker's log.")
    world.mishap = lambda _number, _name: None
    again(door)
    assert show(door, LOADBALANCER, root)["provisioning_status"] == "ACTIVE"


def test_the_job_says_what_would_help_and_how_far_it_came(door, caller, root, world, drain):
    drain()
    world.mishap = failing(UnavailableException("host h1 does not answer"))
    accepted = listener(door, caller, root)
    drain()
    with door.database.read() as tx:
        job = jobs.get(tx, accepted.job_id)
    assert job["reason"] == "host h1 does not answer"
    assert "revoke it" in job["remedy"]
    assert job["progress"] == {"done": 0, "known": 1}
    world.mishap = failing(ProvisioningErrors("no", {accepted.document["id"]: "HAProxy does not take it"}))
    again(door)
    with door.database.read() as tx:
        assert jobs.get(tx, accepted.job_id)["remedy"].startswith("Change what is refused")
