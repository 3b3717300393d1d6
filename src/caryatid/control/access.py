# SPDX-License-Identifier: Apache-2.0
"""Projects, users, roles and tokens: made, changed, deleted. Every process forgets at once whom it believed."""

import secrets
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, cast
from uuid import uuid4

from caryatid.drivers.identity.passwords import hashed
from caryatid.errors import Conflict, Fault, Forbidden, NotFound, Refused
from caryatid.model.access import (
    PASSWORD_MAX,
    PREFIX,
    PROJECT,
    ROLE,
    TOKEN,
    USER,
    Project,
    Role,
    Token,
    User,
    digest,
    with_implied,
)
from caryatid.model.event import called, changed
from caryatid.model.kind import Kind
from caryatid.model.policy import Caller, allowed, require
from caryatid.model.resource import Row
from caryatid.store import access, rows, wake
from caryatid.store.database import Tx

from .door import Door
from .precondition import Precondition, require_unchanged
from .receipt import Accepted, Wish, accepted, moment, rule

CHANNEL: Final = "access"
SECRET_BYTES: Final = 32
LAST = "Nobody could do everything any more: somebody else has to be an administrator first."


def create(door: Door, caller: Caller, kind: Kind, body: Any) -> Accepted:
    """The row exists. Raises Refused, Forbidden, Conflict where its name is taken."""
    return CREATE[kind.name](door, caller, body)


def change(
    door: Door, caller: Caller, kind: Kind, key: str, body: Any, precondition: Precondition | None = None
) -> Accepted:
    """The project or user is as `body` says. Raises Conflict if nobody were an administrator any more."""
    _require_change(door, caller, kind, key, body)
    password = body.get("password") if isinstance(body, Mapping) else None
    kept = hashed(password) if isinstance(password, str) and len(password) <= PASSWORD_MAX else None
    with door.database.transaction() as tx:
        document = _held(tx, kind, key)
        require_unchanged(kind, document, precondition)
        administered = access.administrators(tx) > 0
        row = kind.change(document, body)
        faults = list(_missing(tx, "default_project_id", PROJECT, getattr(row, "default_project_id", None)))
        if faults:
            raise Refused(faults)
        _written(kind, lambda: rows.change(tx, kind, row, at=moment()))
        if isinstance(row, User) and "password" in body:
            access.write_password(tx, key, kept)
            access.forget_sessions(tx, key)
        _refuse_last(tx, administered=administered)
        detail = {**changed(kind, document, vars(row)), **({"password": "changed"} if "password" in body else {})}
        return _told(tx, caller, "update", kind, document, detail)


def delete(door: Door, caller: Caller, kind: Kind, key: str, precondition: Precondition | None = None) -> Accepted:
    """The row is no more, nor what it lets in. Raises Conflict for a project that has something, and the last
    administrator."""
    with door.database.transaction() as tx:
        document = _held(tx, kind, key)
        _require(caller, "delete", kind, document)
        require_unchanged(kind, document, precondition)
        administered = access.administrators(tx) > 0
        if kind is PROJECT:
            if held := list(access.held(tx, key)):
                raise Conflict(f"Project {document['name']} still has: {', '.join(held)}.")
            access.forget_project(tx, key)
        if kind is USER:
            access.forget_user(tx, key)
        rows.delete(tx, kind, [key])
        if kind is ROLE and document["project_id"] not in access.places(tx, document["user_id"]):
            access.forget_tokens(tx, document["user_id"], document["project_id"])
        _refuse_last(tx, administered=administered)
        wake.notify(tx, CHANNEL)
        wish = Wish("delete", kind.name, key, None, document.get("project_id"), detail=_called(kind, document))
        return accepted(tx, caller, wish)


def issue(tx: Tx, wanted: Mapping[str, Any], user_id: str, *, expires_at: str | None, session: bool = False) -> Token:
    """A new token of the user's, whose `secret` is nowhere else. `wanted` is the body that asks for it."""
    text = PREFIX + secrets.token_urlsafe(SECRET_BYTES)
    given = {**_given(), "user_id": user_id, "expires_at": expires_at, "session": session, "digest": digest(text)}
    row = cast(Token, TOKEN.new(wanted, given))
    rows.insert(tx, TOKEN, [row])
    row.secret = text
    return row


def in_days(days: int) -> str:
    """The moment so many days from now."""
    at = datetime.now(UTC) + timedelta(days=days)
    return at.replace(tzinfo=None).isoformat(timespec="microseconds")


def _create_project(door: Door, caller: Caller, body: Any) -> Accepted:
    require(caller, rule(PROJECT, "post"), None)
    row = cast(Project, PROJECT.new(body, _given()))
    with door.database.transaction() as tx:
        return _inserted(tx, caller, PROJECT, row)


def _create_user(door: Door, caller: Caller, body: Any) -> Accepted:
    require(caller, rule(USER, "post"), None)
    row = cast(User, USER.new(body, _given()))
    kept = hashed(row.password) if row.password is not None else None
    with door.database.transaction() as tx:
        faults = list(_missing(tx, "default_project_id", PROJECT, row.default_project_id))
        if faults:
            raise Refused(faults)
        made = _inserted(tx, caller, USER, row)
        access.write_password(tx, row.id, kept)
        return made


def _create_role(door: Door, caller: Caller, body: Any) -> Accepted:
    row = cast(Role, ROLE.new(body, _given()))
    _require(caller, "post", ROLE, vars(row))
    with door.database.transaction() as tx:
        access.lock(tx)
        faults = [*_missing(tx, "user_id", USER, row.user_id), *_missing(tx, "project_id", PROJECT, row.project_id)]
        if faults:
            raise Refused(faults)
        return _inserted(tx, caller, ROLE, row)


def _create_token(door: Door, caller: Caller, body: Any) -> Accepted:
    """The token exists; only this answer has what it is."""
    said = body if isinstance(body, Mapping) else {}
    user_id, project_id = (said.get(name) or getattr(caller, name) for name in ("user_id", "project_id"))
    wanted = {**said, "project_id": project_id} if isinstance(body, Mapping) else body
    row = cast(Token, TOKEN.new(wanted, {**_given(), "digest": ""}))
    require(caller, rule(TOKEN, "post"), row.project_id, str(user_id))
    expires_at, faults = _expiry(door, caller, said, row)
    with door.database.transaction() as tx:
        access.lock(tx)
        faults += [*_missing(tx, "user_id", USER, user_id), *_missing(tx, "project_id", PROJECT, row.project_id)]
        if not row.project_id:
            faults.append(Fault("A token is for a project: project_id says for which.", "project_id"))
        if faults:
            raise Refused(faults)
        roles = _roles(tx, caller, row, str(user_id))
        limited = {name: value for name, value in wanted.items() if name not in {"user_id", "expires_at"}}
        made = issue(tx, {**limited, "roles": roles}, str(user_id), expires_at=expires_at)
        receipt = _told(tx, caller, "create", TOKEN, {"id": made.id, "project_id": made.project_id}, called(vars(made)))
    return Accepted({**(receipt.document or {}), "secret": made.secret}, receipt.job_id)


def _expiry(door: Door, caller: Caller, said: Mapping[str, Any], row: Token) -> tuple[str | None, list[Fault]]:
    """When a token ends, and what is wrong with that."""
    settings = door.settings
    if "expires_at" not in said:
        return in_days(min(settings.token_days, settings.token_days_max)), []
    if row.expires_at is None:
        why = "Only administrators make tokens that never expire."
        return None, [] if _administers(caller) else [Fault(why, "expires_at", 403)]
    if row.expires_at <= moment():
        return None, [Fault("The expiration of a token must be in the future.", "expires_at")]
    if row.expires_at > in_days(settings.token_days_max):
        return None, [Fault(f"A token lasts {settings.token_days_max} days at the most.", "expires_at")]
    return row.expires_at, []


def _roles(tx: Tx, caller: Caller, row: Token, user_id: str) -> list[str]:
    """What the token is limited to; [] is all that its user has. Raises Forbidden for more than its maker has."""
    place = access.places(tx, user_id).get(row.project_id or "")
    if place is None:
        raise Forbidden("The user has no role in the project.")
    limited = bool(caller.token_id) and not _administers(caller)
    if limited and row.project_id != caller.project_id:
        raise Forbidden("A token makes tokens for its own project only.")
    has = with_implied(place.roles)
    if limited:
        has &= with_implied(caller.roles)
    if more := sorted(set(row.roles) - has):
        raise Forbidden(f"The token would have more roles than its maker has to give: {', '.join(more)}.")
    return sorted(row.roles or (caller.roles & has if limited else ()))


def _require_change(door: Door, caller: Caller, kind: Kind, key: str, body: Any) -> None:
    """Users may change their own password, if they have shown the one there is; all else is the administrators'."""
    own = kind is USER and isinstance(body, Mapping) and body.keys() == {"password"}
    with door.database.read() as tx:
        document = rows.get(tx, kind, key)
    if document is None:
        raise NotFound(kind.title, key)
    if not own or allowed(caller, rule(kind, "put"), None, key):
        _require(caller, "put", kind, document)
        return
    require(caller, f"{rule(kind, 'put')}:password", None, key)
    if caller.token_id or body["password"] is None:
        raise Forbidden("A password is changed by who has logged in with the one there is; a token does not do.")


def _require(caller: Caller, action: str, kind: Kind, document: Mapping[str, Any]) -> None:
    """A project is its own, and so is a user."""
    project_id = document["id"] if kind is PROJECT else document.get("project_id")
    user_id = document["id"] if kind is USER else document.get("user_id")
    require(caller, rule(kind, action), project_id, user_id)


def _administers(caller: Caller) -> bool:
    return allowed(caller, rule(USER, "post"), None)


def _given() -> dict[str, Any]:
    at = moment()
    return {"id": str(uuid4()), "created_at": at, "updated_at": at}


def _held(tx: Tx, kind: Kind, key: str) -> dict[str, Any]:
    """The document; nobody else changes who may do what until this transaction ends."""
    access.lock(tx)
    document = rows.get(tx, kind, key)
    if document is None:
        raise NotFound(kind.title, key)
    return document


def _missing(tx: Tx, attribute: str, kind: Kind, key: Any) -> Iterator[Fault]:
    if isinstance(key, str) and key and rows.get(tx, kind, key) is None:
        yield Fault(f"{kind.title} {key} not found.", attribute)


def _inserted(tx: Tx, caller: Caller, kind: Kind, row: Row) -> Accepted:
    _written(kind, lambda: rows.insert(tx, kind, [row]))
    document = vars(row)
    return _told(tx, caller, "create", kind, document, _called(kind, document))


def _written(kind: Kind, write: Callable[[], None]) -> None:
    try:
        write()
    except rows.Duplicate:
        what = "The user has this role there" if kind is ROLE else f"A {kind.title.lower()} of that name is there"
        raise Conflict(f"{what} already.") from None


def _refuse_last(tx: Tx, *, administered: bool) -> None:
    if administered and not access.administrators(tx):
        raise Conflict(LAST)


def _called(kind: Kind, document: Mapping[str, Any]) -> dict[str, Any]:
    if kind is ROLE:
        return {"user_id": document["user_id"], "role": document["role"]}
    return called(document)


def _told(
    tx: Tx, caller: Caller, action: str, kind: Kind, document: Mapping[str, Any], detail: Mapping[str, Any]
) -> Accepted:
    """Everybody is told that somebody may do something else than before; a new token is nobody's yet."""
    if kind is not TOKEN:
        wake.notify(tx, CHANNEL)
    wish = Wish(action, kind.name, document["id"], None, document.get("project_id"), detail=detail)
    return accepted(tx, caller, wish, rows.get(tx, kind, document["id"]))


CREATE: dict[str, Callable[[Door, Caller, Any], Accepted]] = {
    PROJECT.name: _create_project,
    USER.name: _create_user,
    ROLE.name: _create_role,
    TOKEN.name: _create_token,
}
