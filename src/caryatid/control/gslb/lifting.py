# SPDX-License-Identifier: Apache-2.0
"""The operator's word against the guard over removals (plan/guard.py): those that it keeps in answers are down."""

from typing import Final

from caryatid.control.door import Door
from caryatid.control.receipt import Accepted, Wish, accepted, rule
from caryatid.model import GSLB
from caryatid.model.policy import Caller, require
from caryatid.store import clock, hosts
from caryatid.store.database import Tx
from caryatid.store.gslb import state
from caryatid.store.gslb.state import KEPT

from .waking import wake_users

GUARD: Final = "gslb_guard"
"""What it is about, where events and jobs name a resource."""
LIFTED: Final = "gslb guard lifted until"
LIFTED_S: Final = 600.0


def lift(door: Door, caller: Caller) -> Accepted:
    """For ten minutes members go out of answers however few regions agree on it; those that are kept are decided about
    at once."""
    require(caller, rule(GSLB, "put_unfreeze"), None)
    with door.database.transaction() as tx:
        hosts.write_setting(tx, LIFTED, str(clock.now(tx) + LIFTED_S).encode())
        kept = [row.id for row in state.all_of(tx, state.GUARD) if row.operating_status == KEPT]
        wake_users(tx, kept)
        return accepted(tx, caller, Wish("lift", GUARD, GUARD, None, None, detail={"members": len(kept)}))


def lifted(tx: Tx) -> bool:
    """Whether an operator has said so in the last ten minutes."""
    until = hosts.setting(tx, LIFTED)
    return until is not None and float(until) > clock.now(tx)
