# SPDX-License-Identifier: Apache-2.0
from concurrent.futures import ThreadPoolExecutor

from caryatid.store import leases


def test_a_duty_is_one_holders_until_it_runs_out_or_is_given_back(database):
    assert leases.acquire(database, "silence", "a", 60)
    assert leases.acquire(database, "silence", "a", 60)
    assert not leases.acquire(database, "silence", "b", 60)
    assert leases.acquire(database, "other", "b", 60)
    leases.release(database, "silence", "b")
    assert not leases.acquire(database, "silence", "b", 60)
    leases.release(database, "silence", "a")
    assert leases.acquire(database, "silence", "b", -1)
    assert leases.acquire(database, "silence", "a", 60)


def test_of_many_that_want_a_duty_one_has_it(database):
    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(lambda n: leases.acquire(database, "duty", str(n), 60), range(16))) == 1
