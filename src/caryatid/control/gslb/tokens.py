# SPDX-License-Identifier: Apache-2.0
"""Tokens with which checkers enrol. The token decides which region a checker is in."""

from typing import Final
from uuid import uuid4

from caryatid.control.authority import Registry, open_registry, trust_of
from caryatid.control.door import Door
from caryatid.control.receipt import rule
from caryatid.errors import NotFound
from caryatid.model import GSLB_REGION
from caryatid.model.policy import Caller, require
from caryatid.store import events, hosts, rows
from caryatid.wire.conductor import EnrolmentToken, new_secret

LIFE_S: Final = 3600.0


def token(door: Door, caller: Caller, region_id: str) -> str:
    """One for a checker of the region, as one word, good for once within the hour. Raises Forbidden, NotFound."""
    require(caller, rule(GSLB_REGION, "post_token"), None)
    return new_token(open_registry(door.database, door.settings), region_id, by=caller).encode()


def new_token(registry: Registry, region_id: str, *, by: Caller | None = None) -> EnrolmentToken:
    """The same, `by` somebody; by ourselves: no event. Only a hash of its secret is kept. Raises NotFound."""
    made = EnrolmentToken(
        url=registry.settings.conductor_advertise or f"https://{registry.settings.conductor_listen}",
        authority=trust_of(registry).issuer,
        id=str(uuid4()),
        secret=new_secret(),
    )
    with registry.database.transaction() as tx:
        if rows.get(tx, GSLB_REGION, region_id) is None:
            raise NotFound(GSLB_REGION.title, region_id)
        hosts.open_enrolment(tx, made.id, made.secret.encode(), valid_s=LIFE_S, region_id=region_id)
        if by is not None:
            events.append(tx, "token", GSLB_REGION.name, region_id, by=by, project_id=None, root_id=None)
    return made
