# SPDX-License-Identifier: Apache-2.0
"""All members of a pool at once (facts: octavia.md §2.8)."""

from starlette.responses import Response

from caryatid.api.call import Call, accepted, aside, boolean
from caryatid.api.resources import Resource
from caryatid.api.settling import Settling
from caryatid.control.members import replace_members
from caryatid.errors import NotFound
from caryatid.model import MEMBER, POOL

from .compat import create_body, unwrap
from .errors import ParentNotFound


class Members(Resource):
    def __init__(self, settling: Settling) -> None:
        super().__init__(MEMBER, settling)

    async def replace(self, call: Call) -> Response:
        """The pool has the members of the body, and only these unless `additive_only`."""
        members = unwrap(MEMBER, call.body, MEMBER.plural)
        additive = boolean("additive_only", call.options("additive_only").get("additive_only", "false"))
        if isinstance(members, list):
            members = [create_body(MEMBER, member) for member in members]
        pool_id = call.path["pool_id"]
        try:
            receipt = await aside(replace_members, call.door, call.caller, pool_id, members, additive=additive)
        except NotFound as missing:
            if str(missing) == str(NotFound(POOL.title, pool_id)):
                raise ParentNotFound(POOL.title, pool_id) from None
            raise
        return accepted(202, receipt)
