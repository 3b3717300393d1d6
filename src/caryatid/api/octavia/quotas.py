# SPDX-License-Identifier: Apache-2.0
"""Quotas at their paths: by project, with the operator's defaults (facts: octavia.md §2.11)."""

from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter, ValidationError
from starlette.responses import Response

from caryatid.api.call import Call, accepted, answer, aside
from caryatid.api.etags import precondition
from caryatid.api.resources import Resource
from caryatid.control import operator
from caryatid.control.receipt import rule
from caryatid.errors import NotFound
from caryatid.model import QUOTA
from caryatid.model.policy import Caller, require
from caryatid.model.types import ProjectId
from caryatid.store import rows
from caryatid.store.database import Database

from .compat import change_body, pick, shower, unwrap

DEFAULTS = "defaults"
"""The project of the defaults themselves."""
SHOW = shower(QUOTA)
LIMITS = tuple(QUOTA.changeable)
PROJECT: TypeAdapter[str] = TypeAdapter(ProjectId)


def _project(text: str) -> str:
    """A project that may exist; which ones do is not ours to know. Raises NotFound for what is no id of a project."""
    try:
        return PROJECT.validate_python(text)
    except ValidationError:
        raise NotFound(QUOTA.title, text) from None


class Quotas(Resource):
    """Limits of projects, where null is never shown: a limit is a number."""

    def __init__(self, defaults: Mapping[str, int]) -> None:
        super().__init__(QUOTA)
        self.defaults = defaults
        self.show = self.show_listed = self.limits

    def limits(self, document: Mapping[str, Any]) -> dict[str, Any]:
        """What is shown of a project's quota, the operator's defaults filled in."""
        own = {name: document.get(name) for name in LIMITS}
        filled = {name: self.defaults[name] if value is None else value for name, value in own.items()}
        return SHOW({**document, **filled})

    async def one(self, call: Call) -> Response:
        fields = call.fields()
        project_id = _project(call.path["project_id"])
        document = await call.read(self._own, call.door.database, call.caller, project_id)
        return self.single(call, document, None, fields)

    async def default(self, call: Call) -> Response:
        fields = call.fields()
        project_id = _project(call.path.get("project_id", DEFAULTS))
        require(call.caller, rule(QUOTA, "get_defaults"), call.path.get("project_id"))
        return answer(200, {QUOTA.wrapper: pick(self.limits({"project_id": project_id}), fields)})

    async def set(self, call: Call) -> Response:
        body = change_body(QUOTA, unwrap(QUOTA, call.body))
        call.options()
        project_id, only_if = call.path["project_id"], precondition(call.scope)
        receipt = await aside(operator.set_quota, call.door, call.caller, project_id, body, only_if)
        return accepted(202, receipt, {QUOTA.wrapper: self.limits(receipt.document or {})})

    async def reset(self, call: Call) -> Response:
        call.options()
        project_id, only_if = call.path["project_id"], precondition(call.scope)
        receipt = await aside(operator.reset_quota, call.door, call.caller, project_id, only_if)
        return accepted(202, receipt)

    def _own(self, database: Database, caller: Caller, project_id: str) -> dict[str, Any]:
        """The project's quota; of one that has none of its own, the defaults."""
        require(caller, rule(QUOTA, "get_one"), project_id)
        with database.read() as tx:
            return rows.get(tx, QUOTA, project_id) or {"project_id": project_id}
