# SPDX-License-Identifier: Apache-2.0
"""The truth table of decision 2, and what is shown as operating status."""

import time

import pytest
from sqlalchemy import update

from caryatid.model import BY_NAME, HEALTHMONITOR, LISTENER, LOADBALANCER, MEMBER, POOL
from caryatid.store import observations, rows, work
from caryatid.store.filters import Query
from caryatid.store.tables import TABLES
from caryatid.store.work import Again, Done

#      row: created changed deleted failed | root: observed failed → status
CHILDREN = [
    (5, 5, None, None, 4, 0, "PENDING_CREATE"),
    (5, 5, None, None, 5, 0, "ACTIVE"),
    (5, 5, None, None, 6, 0, "ACTIVE"),
    (5, 5, None, None, 4, 5, "ERROR"),
    (5, 5, None, None, 4, 6, "ERROR"),
    (5, 6, None, None, 4, 5, "PENDING_CREATE"),
    (3, 5, None, None, 4, 0, "PENDING_UPDATE"),
    (3, 5, None, None, 4, 4, "PENDING_UPDATE"),
    (3, 5, None, None, 4, 5, "ERROR"),
    (3, 5, None, None, 5, 5, "ACTIVE"),
    (3, 5, None, 5, 5, 0, "ERROR"),
    (3, 5, None, 5, 9, 0, "ERROR"),
    (3, 6, None, 5, 5, 0, "PENDING_UPDATE"),
    (3, 6, None, 5, 6, 0, "ACTIVE"),
    (5, 5, None, 5, 4, 0, "ERROR"),
    (3, 3, 5, None, 4, 0, "PENDING_DELETE"),
    (3, 3, 5, None, 4, 4, "PENDING_DELETE"),
    (3, 3, 5, None, 4, 5, "ERROR"),
    (3, 3, 5, None, 5, 5, "PENDING_DELETE"),
    (3, 3, 5, 3, 4, 0, "PENDING_DELETE"),
]
#   root: created generation deleted observed failed → status
ROOTS = [
    (1, 1, None, 0, 0, "PENDING_CREATE"),
    (1, 3, None, 0, 0, "PENDING_CREATE"),
    (1, 1, None, 0, 1, "ERROR"),
    (1, 2, None, 0, 1, "PENDING_CREATE"),
    (1, 1, None, 1, 0, "ACTIVE"),
    (1, 2, None, 1, 0, "PENDING_UPDATE"),
    (1, 2, None, 1, 2, "ERROR"),
    (1, 3, None, 1, 2, "PENDING_UPDATE"),
    (1, 2, None, 2, 0, "ACTIVE"),
    (1, 4, 4, 3, 0, "PENDING_DELETE"),
    (1, 4, 4, 3, 4, "ERROR"),
]


@pytest.mark.parametrize("line", CHILDREN, ids=str)
def test_the_truth_table_of_what_is_below_a_root(garden, line):
    created, changed, deleted, failed, observed, root_failed, wanted = line
    root = garden.root()
    pool = garden.add(POOL, root)
    numbers = {"created_generation": created, "changed_generation": changed, "spec_generation": changed}
    _set(garden, POOL, pool, numbers | {"deleted_generation": deleted, "failed_generation": failed})
    numbers = {"observed_generation": observed, "failed_generation": root_failed, "generation": 9}
    _set(garden, LOADBALANCER, root, numbers)
    _shown_everywhere(garden, POOL, pool, wanted, listed=deleted is None)


@pytest.mark.parametrize("line", ROOTS, ids=str)
def test_the_truth_table_of_roots(garden, line):
    created, generation, deleted, observed, failed, wanted = line
    root = garden.root()
    numbers = {"created_generation": created, "generation": generation, "deleted_generation": deleted}
    _set(garden, LOADBALANCER, root, numbers | {"observed_generation": observed, "failed_generation": failed})
    _shown_everywhere(garden, LOADBALANCER, root, wanted, listed=deleted is None)


def test_updated_at_is_null_only_while_what_was_created_is_pending(garden):
    root = garden.root()
    pool = garden.add(POOL, root)
    assert garden.get(POOL, pool)["updated_at"] is None
    garden.settle(Done)
    assert garden.get(POOL, pool)["updated_at"] is not None
    garden.change(POOL, root, pool, name="x")
    assert garden.get(POOL, pool)["updated_at"] is not None


def test_a_member_that_nobody_checks_has_no_monitor(garden):
    ids = garden.whole()
    assert garden.get(MEMBER, ids["member"])["operating_status"] == "OFFLINE"
    garden.delete(HEALTHMONITOR, ids["loadbalancer"], ids["healthmonitor"])
    assert garden.get(MEMBER, ids["member"])["operating_status"] == "NO_MONITOR"


@pytest.mark.parametrize("name", ["l7policy", "l7rule", "ratelimitpolicy", "ratelimitrule"])
def test_l7_objects_are_online_when_in_effect(garden, name):
    ids = garden.whole()
    assert garden.get(BY_NAME[name], ids[name])["operating_status"] == "OFFLINE"
    garden.settle(Done)
    assert garden.get(BY_NAME[name], ids[name])["operating_status"] == "ONLINE"


def test_what_is_observed_is_shown_unless_it_is_disabled(garden):
    ids = garden.whole()
    names = ("loadbalancer", "listener", "pool", "member")
    seen = [(name, ids[name], ids["loadbalancer"], "ONLINE") for name in names]
    with garden.database.transaction() as tx:
        observations.write(tx, seen, time.time())
    for name in (*names, "healthmonitor"):  # a health monitor is as its pool is
        kind = BY_NAME[name]
        assert garden.get(kind, ids[name])["operating_status"] == "ONLINE"
        garden.change(kind, ids["loadbalancer"], ids[name], admin_state_up=False)
        assert garden.get(kind, ids[name])["operating_status"] == "OFFLINE"


def test_a_culprit_is_in_error_and_all_else_advances(garden):
    ids = garden.whole()
    garden.settle(Done)
    root = ids["loadbalancer"]
    garden.change(LISTENER, root, ids["listener"], name="bad")
    garden.change(POOL, root, ids["pool"], name="good")
    garden.settle(lambda generation: Done(generation, {ids["listener"]: "it cannot be"}))
    assert garden.status(LISTENER, ids["listener"]) == "ERROR"
    assert garden.status(POOL, ids["pool"]) == "ACTIVE"
    assert garden.status(LOADBALANCER, root) == "ACTIVE"
    garden.change(LISTENER, root, ids["listener"], name="better")
    assert garden.status(LISTENER, ids["listener"]) == "PENDING_UPDATE"
    garden.settle(Done)
    assert garden.status(LISTENER, ids["listener"]) == "ACTIVE"


def test_a_change_made_during_an_attempt_is_not_refused_with_it(garden):
    ids = garden.whole()
    root, listener = ids["loadbalancer"], ids["listener"]
    garden.settle(Done)
    tried = garden.change(LISTENER, root, listener, name="bad")
    held = garden.claim()
    garden.change(LISTENER, root, listener, name="better")
    with garden.database.transaction() as tx:
        rows.lock_root(tx, root)


        work.settle(tx, held, Done(tried, {listener: "bad"}))
    assert garden.status(LISTENER, listener) == "PENDING_UPDATE"


def test_error_does_not_turn_back_to_pending_while_it_is_retried(garden):
    root = garden.root()
    garden.settle(lambda generation: Again("no host", generation, after_s=0), provisioning_deadline_s=-1)
    assert garden.status(LOADBALANCER, root) == "ERROR"
    garden.settle(lambda generation: Again("no host", generation, after_s=0))
    assert garden.status(LOADBALANCER, root) == "ERROR"
    garden.settle(Done)
    assert garden.status(LOADBALANCER, root) == "ACTIVE"


def _set(garden, kind, key, values):
    table = TABLES[kind.name]
    with garden.database.transaction() as tx:
        tx.connection.execute(update(table).where(table.c.id == key).values(values))


def _shown_everywhere(garden, kind, key, wanted, *, listed):
    assert garden.status(kind, key) == wanted
    with garden.database.read() as tx:
        filtered = rows.page(tx, kind, Query(filters={"provisioning_status": wanted}))
        assert [document["id"] for document in filtered] == [key]
        assert rows.page(tx, kind, Query(filters={"provisioning_status": wanted.lower()})) == []
        ordered = rows.page(tx, kind, Query(sort=[("provisioning_status", "desc")]))
        assert ordered[0]["provisioning_status"] == wanted
        assert [d["provisioning_status"] for d in rows.find(tx, kind, id=key)] == ([wanted] if listed else [])
