# SPDX-License-Identifier: Apache-2.0
"""Projects, users, roles and tokens. Administrators see all; others themselves, and the project in whose name they
ask."""

from dataclasses import replace
from typing import Any

from caryatid.errors import Forbidden
from caryatid.model import PROJECT, ROLE, TOKEN, USER
from caryatid.model.policy import Caller, allowed, require
from caryatid.store import rows
from caryatid.store.database import Database

from .call import Call
from .conditions import exact
from .octavia.lists import Page, parse
from .resources import Documents, Resource, verbs
from .routing import Operation

VERSION = "/v1"
OWN = {PROJECT.name: "id", USER.name: "id", ROLE.name: "user_id", TOKEN.name: "user_id"}
"""The attribute that says whose a row is: a user, and for a project itself."""
SECRET = (USER, TOKEN)
"""Kinds whose creation takes or gives a secret."""


class Access(Resource):
    """A kind of those who may ask."""

    def page(self, call: Call) -> Page:
        """All that the query lets through, for administrators; for others of that what is their own."""
        page = self.meant(call)
        caller = call.caller
        if allowed(caller, self._global, None):
            return page
        attribute, own = OWN[self.kind.name], self._own(caller)
        if own is None or page.query.filters.get(attribute, own) != own:
            raise Forbidden("Policy does not allow this request to be performed.")
        filters = {**page.query.filters, attribute: own}
        return replace(page, query=replace(page.query, filters=filters))

    def meant(self, call: Call) -> Page:
        """The page that the query means."""
        return parse(call, self.kind)

    def document(self, database: Database, caller: Caller, key: str, parent_id: str | None) -> dict[str, Any]:
        with database.read() as tx:
            document = rows.get(tx, self.kind, key)
            if document is None:
                raise self._missing(tx, key, parent_id)
        whose = document[OWN[self.kind.name]]
        if self.kind is PROJECT:
            require(caller, self._get_one, whose)
        else:
            require(caller, self._get_one, None, whose)
        return document

    def _page(self, database: Database, caller: Caller, page: Page) -> Documents:
        require(caller, self._get_all, None, caller.user_id)
        with database.read() as tx:
            return rows.page(tx, self.kind, page.query)

    def _own(self, caller: Caller) -> str | None:
        return caller.project_id if self.kind is PROJECT else caller.user_id


def operations() -> list[Operation]:
    changed = [operation for kind in (PROJECT, USER) for operation in verbs(Access(kind), VERSION)]
    fixed = [each for kind in (ROLE, TOKEN) for each in verbs(Access(kind), VERSION, "list create get delete")]
    return [exact(replace(each, once=each.kind in SECRET)) for each in (*changed, *fixed)]
