# SPDX-License-Identifier: Apache-2.0
"""What clients of Keystone's kind log in for: a token of their own for an hour, out of a user name and a password.

Who logs in with a token has one already, and goes on with that.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from caryatid.errors import Conflict, Forbidden, NotFound
from caryatid.model.access import PROJECT, TOKEN, USER
from caryatid.model.policy import Caller
from caryatid.store import access, rows, wake
from caryatid.store.database import Tx

from .access import CHANNEL, issue
from .door import Door

SESSION_S: Final = 3600


@dataclass(frozen=True)
class Session:
    """A token, and what it stands for."""

    user: Mapping[str, Any]
    project: Mapping[str, Any]
    roles: frozenset[str]
    issued_at: str
    expires_at: str
    """Of a token that never ends: when one that is made now would."""


def begin(door: Door, caller: Caller) -> tuple[str, Caller]:
    """A new session of a user that has shown a password, or a session for another project; what its token is, and who
    shows it. Raises Forbidden."""
    with door.database.transaction() as tx:
        if caller.token_id and not _held(tx, caller)["session"]:
            raise Forbidden("The token is for another project.")
        place = access.places(tx, caller.user_id).get(caller.project_id or "")
        if place is None:
            raise Forbidden("The user has no role in the project, or there is none to choose.")
        made = issue(tx, {"project_id": place.id}, caller.user_id, expires_at=_end(), session=True)
    return str(made.secret), Caller(caller.user_id, place.id, place.roles, token_id=made.id)


def session(tx: Tx, caller: Caller) -> Session:
    """What the token stands for that the caller has shown. Raises NotFound if it has just been revoked."""
    token = _held(tx, caller)
    user, project = rows.get(tx, USER, caller.user_id), rows.get(tx, PROJECT, caller.project_id or "")
    if user is None or project is None:
        raise _gone()
    return Session(user, project, caller.roles, token["created_at"], token["expires_at"] or _end())


def end(door: Door, caller: Caller) -> None:
    """The session that the caller has shown is no more, anywhere. Raises Conflict for a token that is none."""
    with door.database.transaction() as tx:
        token = _held(tx, caller)
        if not token["session"]:
            raise Conflict(f"It was not made by logging in; it is revoked by DELETE /v1/access/tokens/{token['id']}.")
        rows.delete(tx, TOKEN, [token["id"]])
        wake.notify(tx, CHANNEL)


def _held(tx: Tx, caller: Caller) -> Mapping[str, Any]:
    token = rows.get(tx, TOKEN, caller.token_id)
    if token is None:
        raise _gone()
    return token


def _gone() -> NotFound:
    return NotFound(TOKEN.title, "that was shown")


def _end() -> str:
    at = datetime.now(UTC) + timedelta(seconds=SESSION_S)
    return at.replace(tzinfo=None).isoformat(timespec="microseconds")
