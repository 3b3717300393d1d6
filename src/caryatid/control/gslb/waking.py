# SPDX-License-Identifier: Apache-2.0
"""Whom a change of what is known concerns: the gslbs that use it are looked at, at once."""

from collections.abc import Collection, Iterable

from caryatid.model import GSLB, GSLB_POOL
from caryatid.store import work
from caryatid.store.database import Tx
from caryatid.store.gslb import uses, votes


def wake_users(tx: Tx, member_ids: Collection[str]) -> int:
    """Those that use any of these members; how many they are."""
    return wake_users_of_pools(tx, set(votes.known_pools(tx, sorted(member_ids)).values()))


def wake_users_of_pools(tx: Tx, pool_ids: Collection[str]) -> int:
    found = uses.users(tx, GSLB_POOL.name, sorted(pool_ids)) if pool_ids else []
    work.wake_roots(tx, found, kind=GSLB)
    return len(found)


def wake_users_of_loadbalancers(tx: Tx, loadbalancer_ids: Iterable[str]) -> int:
    """Those that use a member which is one of these."""
    ids = sorted(set(loadbalancer_ids))
    found = uses.users_of_loadbalancers(tx, ids) if ids else []
    work.wake_roots(tx, found, kind=GSLB)
    return len(found)
