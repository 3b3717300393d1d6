# SPDX-License-Identifier: Apache-2.0
"""A request that comes again under its Idempotency-Key is given what it was given the first time.

What was given is kept in the transaction of the wish (`receipt.accepted`): there is no moment in which the one is
committed and the other is not. What was refused is not kept, and may be tried again.
"""

from collections.abc import Callable

from caryatid.errors import CaryatidError, Conflict
from caryatid.model.policy import Caller
from caryatid.store import idempotency
from caryatid.store.database import Database

from .receipt import Accepted

KEPT_HOURS = 24


def once(database: Database, caller: Caller, act: Callable[[], Accepted]) -> Accepted:
    """What `act` gives, or gave under the same key. Raises Conflict if the key was used for something else."""
    known = _known(database, caller)
    if known is not None:
        return known
    try:
        return act()
    except CaryatidError:
        known = _known(database, caller)  # of two at once, the other was quicker
        if known is None:
            raise
        return known


def _known(database: Database, caller: Caller) -> Accepted | None:
    with database.read() as tx:
        given = idempotency.find(tx, caller)
    if given is None or caller.once is None:
        return None
    if given.fingerprint != caller.once.fingerprint:
        raise Conflict(f"The Idempotency-Key {caller.once.key} was used for another request; use a new one.")
    return Accepted(given.document, given.job_id)
