# SPDX-License-Identifier: Apache-2.0
"""Checkers, for operators: seen, and revoked one by one. They come by enrolment (api/checks.py)."""

from dataclasses import replace
from typing import Any, Final

from starlette.responses import Response

from caryatid.control.gslb import revoking
from caryatid.control.receipt import rule
from caryatid.errors import NotFound
from caryatid.model import GSLB_CHECKER
from caryatid.model.policy import Caller, require
from caryatid.store.database import Database
from caryatid.store.gslb import enrolled

from .call import Call, accepted, aside
from .conditions import exact
from .octavia.lists import Page
from .resources import Documents, Resource, verbs
from .routing import Body, Operation

ONE: Final = f"{GSLB_CHECKER.path}/{{id}}"
ACTING: Final = (400, 403, 404, 406, 409, 500, 503)
UNFILTERED: Final = frozenset({"certificate_expiration"})
"""Attributes that lists cannot be filtered by."""


class Checkers(Resource):
    """They are no rows of a kind: who enrols is kept by its certificate's id."""

    def __init__(self) -> None:
        super().__init__(GSLB_CHECKER)

    async def revoke(self, call: Call) -> Response:
        call.options()
        receipt = await aside(revoking.revoke, call.door, call.caller, call.path["id"])
        return accepted(200, receipt, {GSLB_CHECKER.wrapper: self.show(receipt.document or {})})

    async def remove(self, call: Call) -> Response:
        call.options()
        return accepted(204, await aside(revoking.delete, call.door, call.caller, call.path["id"]))

    def document(self, database: Database, caller: Caller, key: str, parent_id: str | None) -> dict[str, Any]:  # noqa: ARG002
        require(caller, self._get_one, None)
        with database.read() as tx:
            document = enrolled.shown(tx, key)
        if document is None:
            raise NotFound(GSLB_CHECKER.title, key)
        return document

    def _page(self, database: Database, caller: Caller, page: Page) -> Documents:
        require(caller, self._get_all, None)
        with database.read() as tx:
            return enrolled.page(tx, page.query)


def operations() -> list[Operation]:
    resource = Checkers()
    many, one = verbs(resource, "", "list get")
    listing = tuple(parameter for parameter in many.query if parameter.name not in UNFILTERED)
    shared: dict[str, Any] = {"tag": GSLB_CHECKER.title, "kind": GSLB_CHECKER, "errors": ACTING, "job": True}
    shown = Body(GSLB_CHECKER.model.__name__, GSLB_CHECKER.wrapper)
    return [
        replace(many, query=listing),
        one,
        exact(Operation("PUT", f"{ONE}/revoke", resource.revoke, "Believe it no longer", gives=shown,
                        rule=rule(GSLB_CHECKER, "put_revoke"), **shared)),
        exact(Operation("DELETE", ONE, resource.remove, "List it no longer, once it is revoked", success=204,
                        rule=rule(GSLB_CHECKER, "delete"), **shared)),
    ]  # fmt: skip
