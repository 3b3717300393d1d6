# SPDX-License-Identifier: Apache-2.0
"""Who carries load balancers out, and what flavors and zones may ask of them (facts: octavia.md §2.12)."""

from starlette.responses import Response

from caryatid.api.call import Call, answer
from caryatid.model.policy import require
from caryatid.model.resource import Document

from .compat import pick

FAMILY = "os_load-balancer_api"


async def providers(call: Call) -> Response:
    fields = call.fields()
    require(call.caller, f"{FAMILY}:provider:get_all", None)
    known = ({"name": one.name, "description": one.description} for one in call.door.providers.values())
    return answer(200, {"providers": [pick(one, fields) for one in known]})


async def flavor_capabilities(call: Call) -> Response:
    require(call.caller, f"{FAMILY}:provider-flavor:get_all", None)
    able = call.door.provider(call.path["provider"]).capabilities
    return _capabilities(call, "flavor_capabilities", able.flavor_data)


async def zone_capabilities(call: Call) -> Response:
    require(call.caller, f"{FAMILY}:provider-availability-zone:get_all", None)
    able = call.door.provider(call.path["provider"]).capabilities
    return _capabilities(call, "availability_zone_capabilities", able.zone_data)


def _capabilities(call: Call, wrapper: str, schema: type[Document]) -> Response:
    fields = call.fields()
    keys = ((name, " ".join((info.description or "").split())) for name, info in schema.model_fields.items())
    known = ({"name": name, "description": description} for name, description in keys)
    return answer(200, {wrapper: [pick(one, fields) for one in known]})
