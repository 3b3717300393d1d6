# SPDX-License-Identifier: Apache-2.0
from concurrent.futures import ThreadPoolExecutor

import pytest

from caryatid.errors import Forbidden
from caryatid.model import LOADBALANCER, MEMBER, POOL, QUOTA
from caryatid.store import quotas, rows, work
from caryatid.store.work import Done

ID = "00000000-0000-4000-8000-000000000001"


def test_fifty_at_once_against_a_quota_of_ten_give_exactly_ten(garden):
    wanted = [garden.row(LOADBALANCER) for _ in range(50)]

    def create(row):
        try:
            with garden.database.transaction() as tx:
                quotas.take(tx, "p1", {"loadbalancer": 1}, {"loadbalancer": 10})
                rows.insert(tx, LOADBALANCER, [row], root_id=row.id, generation=rows.FIRST)
                work.begin(tx, row.id)
        except Forbidden:
            return False
        return True

    with ThreadPoolExecutor(16) as pool:
        assert sum(pool.map(create, wanted)) == 10
    with garden.database.read() as tx:
        assert quotas.used(tx, "p1")["loadbalancer"] == 10


def test_every_kind_that_is_over_is_named(tx):
    wanted = {"loadbalancer": 1, "listener": 2, "pool": 3}
    with pytest.raises(Forbidden, match=r"^Quota has been met for resources: Load Balancer, Pool$"):
        quotas.take(tx, "p1", wanted, {"loadbalancer": 0, "listener": 2, "pool": 2})


def test_what_is_being_deleted_is_not_counted(garden):
    ids = garden.whole()
    with garden.database.transaction() as tx, pytest.raises(Forbidden):
        quotas.take(tx, "p1", {"member": 1}, {"member": 1})
    garden.delete(MEMBER, ids["loadbalancer"], ids["member"])
    with garden.database.transaction() as tx:
        quotas.take(tx, "p1", {"member": 1}, {"member": 1})


def test_other_projects_do_not_count(garden):
    garden.root(project_id="p2")
    with garden.database.transaction() as tx:
        quotas.take(tx, "p1", {"loadbalancer": 1}, {"loadbalancer": 1})


def test_fewer_than_before_is_always_allowed(tx):
    quotas.take(tx, "p1", {"member": -3, "pool": 0}, {"member": 0, "pool": 0})


def test_a_projects_own_limit_goes_before_the_default(garden):
    with garden.database.transaction() as tx:
        given = {"id": ID, "project_id": "p1"}
        rows.insert(tx, QUOTA, [QUOTA.new({"pool": 1, "member": -1}, given)])
        found = quotas.limits(tx, "p1", {"pool": 9, "member": 9, "listener": 9})
        assert (found["pool"], found["member"], found["listener"]) == (1, -1, 9)
        assert quotas.limits(tx, "p2", {"pool": 9}) == {"pool": 9}
    root = garden.root()
    garden.add(POOL, root)
    garden.settle(Done)
    with garden.database.transaction() as tx, pytest.raises(Forbidden):
        quotas.take(tx, "p1", {"pool": 1}, {"pool": 9})
