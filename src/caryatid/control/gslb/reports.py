# SPDX-License-Identifier: Apache-2.0
"""How load balancers of other regions are, as these say."""

from caryatid.store.database import Database
from caryatid.store.gslb import loadbalancers
from caryatid.store.gslb.loadbalancers import Told
from caryatid.wire.checks import Heard, LoadBalancers

from .waking import wake_users_of_loadbalancers


def take(database: Database, region_id: str, said: LoadBalancers) -> Heard:
    """They are so, and who is concerned by what is otherwise than before is looked at."""
    told = {one.id: Told(one.id, one.addresses, one.operating_status, one.good_s) for one in said.loadbalancers}
    with database.transaction() as tx:
        changed = loadbalancers.report(tx, region_id, told.values())
        wake_users_of_loadbalancers(tx, changed)
    return Heard()
