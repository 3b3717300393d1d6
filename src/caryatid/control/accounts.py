# SPDX-License-Identifier: Apache-2.0
"""Users and tokens as the identity driver `local` needs them: whose is it, and what may they do."""

import math
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from caryatid.drivers.setup import Account, Holder, Membership
from caryatid.errors import Busy
from caryatid.model.access import with_implied
from caryatid.store import access, clock
from caryatid.store.database import Database

USE_NOTED_S = 3600.0
"""That a token is used is written no more often."""


@dataclass(frozen=True)
class Accounts:
    """Reads what is kept of users and tokens."""

    database: Database

    def holder(self, digest: str, now: float) -> Holder | None:
        """Whose the token is. Of its roles those count that its user still has in the project."""
        with self.database.read() as tx:
            found = access.shown(tx, digest)
            if found is None:
                return None
            until = seconds(found.expires_at) if found.expires_at else math.inf
            place = access.places(tx, found.user_id).get(found.project_id)
        roles = place.roles if place else frozenset[str]()
        roles = with_implied(roles) & frozenset(found.roles) if found.roles else roles
        if until <= now or not roles:
            return None
        if found.last_used_at is None or seconds(found.last_used_at) <= now - USE_NOTED_S:
            self._note_use(found.id, now)
        return Holder(found.id, found.user_id, found.project_id, roles, until)

    def account(self, name: str) -> Account | None:
        with self.database.read() as tx:
            found = access.login(tx, name)
            if found is None or not found.enabled:
                return None
            places = access.places(tx, found.id).values()
        known = [Membership(place.id, place.name, place.roles) for place in places]
        return Account(found.id, found.hash, found.default_project_id, known)

    def project(self, called: str) -> str | None:
        with self.database.read() as tx:
            found = access.project(tx, called)
        return found.id if found else None

    def _note_use(self, token_id: str, now: float) -> None:
        """Not worth a refusal: a database that is busy is told another time."""
        with suppress(Busy), self.database.transaction() as tx:
            access.note_use(tx, token_id, clock.text(now))


def seconds(moment: str) -> float:
    """A moment of the wire, in seconds since the epoch."""
    return datetime.fromisoformat(moment).replace(tzinfo=UTC).timestamp()
