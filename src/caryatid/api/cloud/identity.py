# SPDX-License-Identifier: Apache-2.0
"""Keystone's API, as far as clients of clouds need it: they log in, learn where the services are, and look up projects,
users and the one domain. Who may ask is changed at `/v1/access`.

It is there with the identity driver `local` alone: where a Keystone says who asks, clients go to that.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from starlette.responses import Response

from caryatid.api.access import Access
from caryatid.api.call import Call, answer
from caryatid.api.conditions import exact
from caryatid.api.octavia.compat import pick
from caryatid.api.octavia.lists import Page, links, parse
from caryatid.api.resources import READING, Documents, list_parameters
from caryatid.api.routing import Body, Operation, Parameter
from caryatid.control.receipt import rule
from caryatid.errors import NotFound
from caryatid.model.access import PROJECT, ROLES, USER
from caryatid.model.kind import Kind
from caryatid.model.policy import Caller, require
from caryatid.store import access, rows
from caryatid.store.database import Database

from . import shapes, tokens
from .shapes import BASE, DOMAIN, LOGIN, VERSION, Shape

TAG = "Identity (as Keystone)"
ANY = {"type": "object"}
ISSUING = (400, 401, 403, 406, 408, 413, 415, 429, 500, 503)
ASKED = (400, 403, 404, 406, 500, 503)
LOOKING = (400, 406)
NOCATALOG = Parameter("nocatalog", "The answer has no catalog.")
LATE = Parameter("allow_expired", "Means nothing here: what has expired is gone.")
FIXED = {"domain_id": DOMAIN["id"], "parent_id": DOMAIN["id"], "is_domain": "false"}
"""What is the same of all, and can be asked for."""
NAMED = Parameter("name", "Only the one of this name.")
OF_DOMAIN = Parameter("domain_id", "Only those of this domain.")


class Listed(Access):
    """Projects or users, as Keystone shows them."""

    def __init__(self, kind: Kind, shape: Callable[[Mapping[str, Any], str], Shape]) -> None:
        super().__init__(kind)
        self._shape = shape

    def meant(self, call: Call) -> Page:
        fixed = [pair for pair in call.pairs if pair[0] in FIXED]
        page = parse(call, self.kind, pairs=[pair for pair in call.pairs if pair[0] not in FIXED])
        if all(FIXED[name] == value.lower() for name, value in fixed):
            return page
        return replace(page, query=replace(page.query, filters={**page.query.filters, "name": []}))

    def listed(self, call: Call, page: Page, documents: Documents) -> Response:
        documents, more = page.cut(documents)
        shown = [pick(self._shape(document, call.base_url), page.fields) for document in documents]
        found = {link["rel"]: link["href"] for link in links(call, page, documents, more=more)}
        return _many(call, self.kind.plural, shown, **found)

    async def get(self, call: Call) -> Response:
        call.options()
        document, _ = await self._found(call)
        return answer(200, {self.kind.wrapper: self._shape(document, call.base_url)})


def _many(call: Call, name: str, shown: list[Shape], **found: str) -> Response:
    here = f"{call.base_url}{call.scope['path']}"
    return answer(200, {name: shown, "links": {"self": here, "next": None, "previous": None, **found}})


async def versions(call: Call) -> Response:
    call.options()
    return answer(200, {"versions": {"values": [shapes.version(call.base_url)]}})


async def version(call: Call) -> Response:
    call.options()
    return answer(200, {"version": shapes.version(call.base_url)})


async def catalog(call: Call) -> Response:
    call.options()
    return _many(call, "catalog", shapes.catalog(call.base_url))


async def own_projects(call: Call) -> Response:
    """Those in which the caller has a role."""
    call.options()
    found = await call.read(_projects, call.door.database, call.caller.user_id)
    return _many(call, "projects", [shapes.project(one, call.base_url) for one in found])


async def projects_of(call: Call) -> Response:
    call.options()
    user_id = call.path["user_id"]
    await call.read(_require_user, call.door.database, call.caller, user_id)
    found = await call.read(_projects, call.door.database, user_id)
    return _many(call, "projects", [shapes.project(one, call.base_url) for one in found])


def _require_user(database: Database, caller: Caller, user_id: str) -> None:
    require(caller, rule(USER, "get_one"), None, user_id)
    with database.read() as tx:
        if rows.get(tx, USER, user_id) is None:
            raise NotFound(USER.title, user_id)


def _projects(database: Database, user_id: str) -> Documents:
    with database.read() as tx:
        found = [rows.get(tx, PROJECT, key) for key in access.places(tx, user_id)]
    return [one for one in found if one is not None]


async def domains(call: Call) -> Response:
    options = call.options("name", "enabled")
    named = options.get("name", DOMAIN["name"]).lower() == DOMAIN["id"]
    enabled = options.get("enabled", "true").lower() == "true"
    return _many(call, "domains", [shapes.domain(call.base_url)] if named and enabled else [])


async def domain(call: Call) -> Response:
    call.options()
    if call.path["id"] != DOMAIN["id"]:
        raise NotFound("Domain", call.path["id"])
    return answer(200, {"domain": shapes.domain(call.base_url)})


async def roles(call: Call) -> Response:
    options = call.options("name", "domain_id")
    none = options.get("domain_id", "null") not in {"null", ""}
    found = [] if none else [name for name in ROLES if options.get("name", name) == name]
    return _many(call, "roles", [shapes.role(name, call.base_url) for name in found])


async def role(call: Call) -> Response:
    call.options()
    if call.path["id"] not in ROLES:
        raise NotFound("Role", call.path["id"])
    return answer(200, {"role": shapes.role(call.path["id"], call.base_url)})


def operations() -> list[Operation]:
    open_: dict[str, Any] = {"errors": LOOKING, "open": True, "gives": Body(ANY)}
    looking: dict[str, Any] = {"tag": TAG, "errors": LOOKING}
    domain_path, role_path = f"{VERSION}/domains", f"{VERSION}/roles"
    many = {name: Body(ANY, name, many=True) for name in ("projects", "domains", "roles")}
    return [
        Operation("GET", BASE, versions, "The versions", TAG, **open_),
        Operation("GET", VERSION, version, "The version", TAG, **open_),
        *_tokens(),
        Operation("GET", f"{VERSION}/auth/catalog", catalog, "Where services are", gives=Body(ANY), **looking),
        Operation("GET", f"{VERSION}/auth/projects", own_projects, "List: projects in which one has a role", TAG,
                  gives=many["projects"], errors=(*LOOKING, 500, 503)),
        Operation("GET", f"{VERSION}/users/{{user_id}}/projects", projects_of, "List: projects of a user", TAG,
                  gives=many["projects"], errors=READING, rule=rule(USER, "get_one")),
        *(one for kind, shape in ((PROJECT, shapes.project), (USER, shapes.user)) for one in _read(kind, shape)),
        Operation("GET", domain_path, domains, "List: domains", gives=many["domains"], query=(NAMED,), **looking),
        Operation("GET", f"{domain_path}/{{id}}", domain, "Show: a domain", TAG, gives=Body(ANY, "domain"),
                  errors=(*LOOKING, 404)),
        Operation("GET", role_path, roles, "List: roles", gives=many["roles"], query=(NAMED, OF_DOMAIN), **looking),
        Operation("GET", f"{role_path}/{{id}}", role, "Show: a role", TAG, gives=Body(ANY, "role"),
                  errors=(*LOOKING, 404)),
    ]  # fmt: skip


def _tokens() -> list[Operation]:
    path = f"{VERSION}/auth/tokens"
    token = Body(ANY, "token")
    return [
        Operation("POST", path, tokens.issue, "Log in", TAG, success=201, takes=Body(LOGIN, "auth"), gives=token,
                  query=(NOCATALOG,), errors=ISSUING, open=True),
        Operation("GET", path, tokens.show, "Whose a token is (X-Subject-Token)", TAG, gives=token,
                  query=(NOCATALOG, LATE), errors=ASKED),
        Operation("HEAD", path, tokens.show, "Whether a token is good", TAG, query=(NOCATALOG, LATE), errors=ASKED),
        Operation("DELETE", path, tokens.revoke, "Log out", TAG, success=204, errors=(*ASKED, 409)),
    ]  # fmt: skip


def _read(kind: Kind, shape: Callable[[Mapping[str, Any], str], Shape]) -> list[Operation]:
    resource, title = Listed(kind, shape), kind.title.lower()
    path = f"{VERSION}/{kind.plural}"
    fixed = tuple(Parameter(name, f"Only those of which it is `{value}`: all.") for name, value in FIXED.items())
    shared: dict[str, Any] = {"tag": TAG, "kind": kind}
    return [
        exact(Operation("GET", path, resource.list, f"List: {title}, as Keystone", errors=READING,
                        gives=Body(ANY, kind.plural, many=True), rule=rule(kind, "get_all"),
                        query=(*list_parameters(kind), *fixed), **shared)),
        exact(Operation("GET", f"{path}/{{id}}", resource.get, f"Show: {title}, as Keystone", errors=READING,
                        gives=Body(ANY, kind.wrapper), rule=rule(kind, "get_one"), **shared)),
    ]  # fmt: skip
