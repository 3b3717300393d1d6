# SPDX-License-Identifier: Apache-2.0
"""The region that this installation is in."""

from contextlib import suppress
from uuid import uuid4

from caryatid.control.door import Door
from caryatid.control.receipt import moment
from caryatid.model import GSLB_REGION
from caryatid.store import hosts, rows
from caryatid.store.database import Tx


def ensure(door: Door) -> str | None:
    """Its id; it is made once. None: an operator has deleted it, and it is not brought back."""
    name = door.settings.gslb_region
    made = f"region {name}"
    with door.database.read() as tx:
        known, was_made = _known(tx, name), hosts.setting(tx, made) is not None
    if known is not None or was_made:
        return known
    with suppress(rows.Duplicate), door.database.transaction() as tx:  # another process was first
        hosts.keep_setting(tx, made, b"")
        at = moment()
        given = {"id": str(uuid4()), "created_at": at, "updated_at": at}
        rows.insert(tx, GSLB_REGION, [GSLB_REGION.new({"name": name, "description": "Here."}, given)])
    with door.database.read() as tx:
        return _known(tx, name)


def _known(tx: Tx, name: str) -> str | None:
    return next((str(document["id"]) for document in rows.find(tx, GSLB_REGION, name=name)), None)
