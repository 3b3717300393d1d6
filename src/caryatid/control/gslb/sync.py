# SPDX-License-Identifier: Apache-2.0
"""Name servers told anew, and asked, though nothing has changed as far as we know."""

from caryatid.control.door import Door
from caryatid.control.receipt import Accepted, Wish, accepted, rule
from caryatid.errors import NotFound
from caryatid.model import GSLB
from caryatid.model.policy import Caller, require
from caryatid.store import rows, work
from caryatid.store.gslb import state

from .gslbs import lock


def sync(door: Door, caller: Caller, gslb_id: str) -> Accepted:
    """All that is known of the gslb's members is looked at, and all that follows is published, under a new generation;
    the job ends when name servers answer so. Raises NotFound, Conflict, Forbidden."""
    with door.database.transaction() as tx:
        place = rows.place(tx, GSLB, gslb_id)
        if place is None:
            raise NotFound(GSLB.title, gslb_id)
        require(caller, rule(GSLB, "post_sync"), place.project_id)
        lock(tx, gslb_id)
        generation = work.ask(tx, gslb_id, kind=GSLB)
        state.advance(tx, [gslb_id])
        wish = Wish("sync", GSLB.name, gslb_id, gslb_id, place.project_id, generation, root_kind=GSLB)
        return accepted(tx, caller, wish, rows.get(tx, GSLB, gslb_id))
