# SPDX-License-Identifier: Apache-2.0
"""Logging in as at Keystone: `POST /identity/v3/auth/tokens` by a password, a token, or an application credential,
which is a token of ours: its id and its secret."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from starlette.responses import Response

from caryatid.api.call import Call, answer, aside
from caryatid.control import sessions
from caryatid.control.door import Door
from caryatid.control.receipt import rule
from caryatid.errors import Fault, NotFound, Refused, Unauthorized
from caryatid.model.access import PREFIX, TOKEN, USER
from caryatid.model.policy import Caller, Shown, require
from caryatid.store import access, rows

from .shapes import DOMAIN, called, catalog

SUBJECT = "X-Subject-Token"
DOMAINS = frozenset({"", "default"})


@dataclass(frozen=True)
class Wish:
    """What a body asks for."""

    method: str
    user: str = ""
    """Its name."""
    user_id: str = ""
    secret: str = ""
    """A password, or a token."""
    credential: str = ""
    """Id or name of an application credential."""
    project: str = ""
    """Id or name; empty: that of the token, or the user's own."""


async def issue(call: Call) -> Response:
    call.options("nocatalog")
    wish = _read(call.body)
    client = call.scope.get("client")
    token, caller = await aside(_logged_in, call.door, wish, client[0] if client else "")
    return await _told(call, 201, token, caller, wish.method)


async def show(call: Call) -> Response:
    call.options("nocatalog", "allow_expired")
    token, caller = await _subject(call, "get_one")
    return await _told(call, 200, token, caller, "token")


async def revoke(call: Call) -> Response:
    call.options()
    _, caller = await _subject(call, "delete")
    await aside(sessions.end, call.door, caller)
    return answer(204)


async def _told(call: Call, status: int, token: str, caller: Caller, method: str) -> Response:
    found = await call.read(_session, call.door, caller)
    shown: dict[str, Any] = {
        "methods": [method],
        "user": {**called(found.user), "domain": DOMAIN, "password_expires_at": None},
        "project": {**called(found.project), "domain": DOMAIN},
        "is_domain": False,
        "roles": [{"id": role, "name": role} for role in sorted(found.roles)],
        "audit_ids": [caller.token_id],
        "issued_at": f"{found.issued_at}Z",
        "expires_at": f"{found.expires_at}Z",
    }
    if not any(name == "nocatalog" for name, _ in call.pairs):
        shown["catalog"] = catalog(call.base_url)
    return answer(status, {"token": shown}, {SUBJECT: token, "Cache-Control": "no-store"})


def _session(door: Door, caller: Caller) -> sessions.Session:
    with door.database.read() as tx:
        return sessions.session(tx, caller)


async def _subject(call: Call, action: str) -> tuple[str, Caller]:
    """The token that is meant, and who shows it. Raises Forbidden if the policy does not allow the caller to do this to
    that user's tokens."""
    said = next((value for name, value in call.scope["headers"] if name == b"x-subject-token"), b"").decode("latin-1")
    if not said:
        raise Refused([Fault(f"The header {SUBJECT} says which token is meant.", SUBJECT)])
    try:
        caller = (await aside(call.door.identity.identify, Shown(token=said))).caller
    except Unauthorized:
        raise NotFound(TOKEN.title, "that is meant") from None
    require(call.caller, rule(TOKEN, action), None, caller.user_id)
    return said, caller


def _logged_in(door: Door, wish: Wish, address: str) -> tuple[str, Caller]:
    """A token, and who shows it. Raises Unauthorized, Forbidden, TooMany, Busy."""
    project = _project(door, wish.project)
    if wish.method == "password" and not wish.secret.startswith(PREFIX):
        shown = Shown(user=_name(door, wish), password=wish.secret, project_id=project, address=address)
        return sessions.begin(door, door.identity.identify(shown).caller)
    caller = door.identity.identify(Shown(token=wish.secret, address=address)).caller
    if wish.method == "application_credential":
        _require_named(door, wish, caller)
    if project and project != caller.project_id:
        return sessions.begin(door, replace(caller, project_id=project))
    return wish.secret, caller


def _project(door: Door, project: str) -> str:
    """The id of a project. Raises Unauthorized."""
    if not project:
        return ""
    with door.database.read() as tx:
        found = access.project(tx, project)
    if found is None:
        raise Unauthorized("The project is not known, or disabled.")
    return found.id


def _name(door: Door, wish: Wish) -> str:
    """What the user logs in as; of an id that nobody has: something that nobody is called."""
    if wish.user:
        return wish.user
    with door.database.read() as tx:
        user = rows.get(tx, USER, wish.user_id)
    return str(user["name"]) if user else f":{wish.user_id}"


def _require_named(door: Door, wish: Wish, caller: Caller) -> None:
    with door.database.read() as tx:
        token = rows.get(tx, TOKEN, caller.token_id)
        user = rows.get(tx, USER, caller.user_id)
    owners = {user["id"], user["name"]} if user else set()
    if token is None or token["session"] or wish.credential not in {token["id"], token["name"]}:
        raise Unauthorized("There is no such application credential.")
    if wish.credential != token["id"] and not {wish.user, wish.user_id} & owners:
        raise Unauthorized("The application credential is not this user's.")


def _read(body: Any) -> Wish:
    """Raises Refused for what cannot be read, Unauthorized for what is not done here."""
    auth = _inner(_inner({"the body": body}, "the body"), "auth")
    identity = _inner(auth, "identity")
    methods = identity.get("methods")
    if methods not in [[name] for name in METHODS]:
        raise Unauthorized(f"One method is taken, of: {', '.join(METHODS)}.")
    (method,) = methods
    return METHODS[method](_inner(identity, method), _scoped(auth.get("scope")))


def _password(said: Mapping[str, Any], project: str) -> Wish:
    user = _inner(said, "user")
    _require_domain(user)
    name, key = _text(user, "name"), _text(user, "id")
    return Wish("password", name, key, _text(user, "password"), project=project)


def _token(said: Mapping[str, Any], project: str) -> Wish:
    return Wish("token", secret=_text(said, "id"), project=project)


def _credential(said: Mapping[str, Any], project: str) -> Wish:
    user = _inner(said, "user") if "user" in said else {}
    _require_domain(user)
    named = _text(said, "id") or _text(said, "name")
    user_name, user_id = _text(user, "name"), _text(user, "id")
    return Wish("application_credential", user_name, user_id, _text(said, "secret"), named, project)


def _scoped(scope: Any) -> str:
    """The project that is asked for; empty: none is named."""
    if scope is None or scope == "unscoped":
        return ""
    project = _inner({"scope": scope}, "scope").get("project")
    if not isinstance(project, Mapping):
        raise Unauthorized("A scope is a project here.")
    _require_domain(project)
    return _text(project, "id") or _text(project, "name")


def _require_domain(said: Mapping[str, Any]) -> None:
    domain = _inner(said, "domain") if "domain" in said else {}
    if _text(domain, "id") not in DOMAINS or _text(domain, "name").lower() not in DOMAINS:
        raise Unauthorized("There is one domain: default.")


def _inner(said: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = said.get(name)
    if not isinstance(found, Mapping):
        raise Refused([Fault(f"{name} must be an object.", name)])
    return found


def _text(said: Mapping[str, Any], name: str) -> str:
    found = said.get(name) or ""
    if not isinstance(found, str):
        raise Refused([Fault(f"{name} must be text.", name)])
    return found


METHODS = {"password": _password, "token": _token, "application_credential": _credential}
