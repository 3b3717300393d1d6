# SPDX-License-Identifier: Apache-2.0
"""What was decided about a gslb, what it was answered with, and which votes made it so: read from the event log."""

from typing import Any, Final

from caryatid.control.door import Door
from caryatid.control.receipt import rule
from caryatid.errors import NotFound
from caryatid.model import GSLB, GSLB_MEMBER, GSLB_POOL
from caryatid.model.event import Sought, cursor_of, shown
from caryatid.model.policy import Caller, require
from caryatid.store import events, rows
from caryatid.store.gslb import trees

LIMIT: Final = 100
LIMIT_MAX: Final = 1000
PARTS: Final = (f"{GSLB_POOL.name}.status", f"{GSLB_MEMBER.name}.status", f"{GSLB_MEMBER.name}.moved")


def history(door: Door, caller: Caller, gslb_id: str, limit: int = LIMIT) -> list[dict[str, Any]]:
    """The newest events of it, and of how and where its parts were, oldest first. Raises NotFound, Forbidden."""
    with door.database.read() as tx:
        document = rows.get(tx, GSLB, gslb_id)
        if document is None:
            raise NotFound(GSLB.title, gslb_id)
        require(caller, rule(GSLB, "get_history"), document["project_id"])
        own = events.newest(tx, limit=limit, sought=Sought(resource_type=GSLB.name, resource_id=gslb_id))
        (tree,) = trees.load(tx, [gslb_id])
        parts = {*tree.pools, *(member.id for members in tree.members.values() for member in members)}
        others = events.newest(tx, limit=LIMIT_MAX, sought=Sought(PARTS))
    mine = [row for row in others if row["resource_id"] in parts]
    return [shown(row) for row in sorted([*own, *mine], key=cursor_of)[-limit:]]
