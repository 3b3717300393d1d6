# SPDX-License-Identifier: Apache-2.0
"""Every operation of the v2 API (facts: octavia.md §2.2)."""

from dataclasses import replace
from typing import Any

from starlette.responses import Response

from caryatid.api.call import Call, accepted, answer, aside
from caryatid.api.resources import FIELDS, READING, REMOVING, WRITING, Resource, list_parameters, verbs
from caryatid.api.routing import Body, Handler, Operation, Parameter
from caryatid.config import Settings
from caryatid.control import operator
from caryatid.model import (
    AMPHORA,
    AVAILABILITY_ZONE,
    AVAILABILITY_ZONE_PROFILE,
    FLAVOR,
    FLAVORPROFILE,
    HEALTHMONITOR,
    L7POLICY,
    L7RULE,
    LISTENER,
    LOADBALANCER,
    MEMBER,
    POOL,
    QUOTA,
    RATELIMITPOLICY,
    RATELIMITRULE,
)

from . import nested, providers, statuses
from .amphorae import Amphorae
from .members import Members
from .quotas import Quotas

VERSION = "/v2"
LBAAS = "/v2/lbaas"
ACTING = (400, 403, 404, 406, 409, 500, 501, 503)
ADDITIVE = Parameter("additive_only", "Members that are not named stay.", {"type": "boolean", "default": False})
CAPABILITIES = {"name": {"type": "string"}, "description": {"type": "string"}}


def operations(settings: Settings) -> list[Operation]:
    below = (LISTENER, POOL, HEALTHMONITOR, L7POLICY, L7RULE, RATELIMITPOLICY, RATELIMITRULE)
    offered = (FLAVORPROFILE, FLAVOR, AVAILABILITY_ZONE_PROFILE, AVAILABILITY_ZONE)
    return [
        Operation("GET", VERSION, version, "The version", "Versions", gives=Body({"type": "string"}), errors=(406,)),
        Operation("GET", LBAAS, version, "The version", "Versions", gives=Body({"type": "string"}), errors=(406,)),
        *_loadbalancers(),
        *(operation for kind in (*below, *offered) for operation in verbs(Resource(kind), VERSION)),
        _stats("Listener", f"{LBAAS}/listeners/{{id}}/stats", statuses.listener_statistics),
        *_members(),
        *_quotas(Quotas(settings.quotas)),
        *_providers(),
        *_amphorae(Amphorae()),
    ]


async def version(_call: Call) -> Response:
    return answer(200, "v2")


async def failover(call: Call) -> Response:
    call.options()
    receipt = await aside(operator.failover, call.door, call.caller, call.path["id"])
    return accepted(202, receipt)


def _loadbalancers() -> list[Operation]:
    path = f"{LBAAS}/loadbalancers"
    title = LOADBALANCER.title
    tree = Body("StatusTree", "statuses")
    listed, created, *others = verbs(Resource(LOADBALANCER), VERSION)
    created = replace(created, handler=nested.create, summary="Create a load balancer, and what its body nests")
    return [
        listed,
        created,
        *others,
        _stats(title, f"{path}/{{id}}/stats", statuses.loadbalancer_statistics),
        *(
            Operation("GET", f"{path}/{{id}}/{name}", statuses.status, "Status tree", title, LOADBALANCER, gives=tree,
                      query=(FIELDS,), errors=READING)
            for name in ("status", "statuses")
        ),
        _act("PUT", f"{path}/{{id}}/failover", failover, "Replace its amphorae", title),
    ]  # fmt: skip


def _members() -> list[Operation]:
    members = Members()
    path = f"{VERSION}{MEMBER.path}"
    batch = Body("MemberCreate", MEMBER.plural, many=True)
    return [
        *verbs(members, VERSION),
        Operation("PUT", path, members.replace, "Replace all members of a pool", MEMBER.title, MEMBER, success=202,
                  takes=batch, query=(ADDITIVE,), errors=WRITING, job=True),
    ]  # fmt: skip


def _quotas(quotas: Quotas) -> list[Operation]:
    path = f"{LBAAS}/quotas"
    one = Body("Quota", QUOTA.wrapper)
    many = Body("Quota", QUOTA.plural, many=True, links=QUOTA.links)
    shared: dict[str, Any] = {"tag": QUOTA.title, "kind": QUOTA}
    return [
        Operation("GET", path, quotas.list, "List: quotas that are not the defaults", gives=many,
                  query=list_parameters(QUOTA), errors=READING, **shared),
        Operation("GET", f"{path}/defaults", quotas.default, "The defaults", gives=one, query=(FIELDS,), errors=READING,
                  **shared),
        Operation("GET", f"{path}/{{project_id}}", quotas.one, "Show: quota of a project", gives=one, query=(FIELDS,),
                  errors=READING, **shared),
        Operation("GET", f"{path}/{{project_id}}/default", quotas.default, "The defaults", gives=one, query=(FIELDS,),
                  errors=READING, **shared),
        Operation("PUT", f"{path}/{{project_id}}", quotas.set, "Change: quota of a project", success=202, gives=one,
                  takes=Body("QuotaChange", QUOTA.wrapper), errors=WRITING, **shared),
        Operation("DELETE", f"{path}/{{project_id}}", quotas.reset, "Reset a quota to the defaults", success=202,
                  errors=REMOVING, **shared),
    ]  # fmt: skip


def _providers() -> list[Operation]:
    path = f"{LBAAS}/providers"
    shown = {"type": "object", "properties": CAPABILITIES, "additionalProperties": False}
    shared: dict[str, Any] = {"tag": "Provider", "query": (FIELDS,), "errors": READING}
    able = [
        (f"{kind}_capabilities", handler)
        for kind, handler in (
            ("flavor", providers.flavor_capabilities),
            ("availability_zone", providers.zone_capabilities),
        )
    ]
    return [
        Operation("GET", path, providers.providers, "List: providers", gives=Body(shown, "providers", many=True),
                  **shared),
        *(
            Operation("GET", f"{path}/{{provider}}/{name}", handler, f"What its {name.removesuffix('_capabilities')}"
                      " profiles may say", gives=Body(shown, name, many=True), **shared)
            for name, handler in able
        ),
    ]  # fmt: skip


def _amphorae(amphorae: Amphorae) -> list[Operation]:
    path = f"{VERSION}{AMPHORA.path}"
    title = AMPHORA.title
    stats = Body("AmphoraStatistics", "amphora_stats", many=True)
    return [
        *verbs(amphorae, VERSION, "list get"),
        Operation("GET", f"{path}/{{id}}/stats", amphorae.statistics, "Statistics", title, AMPHORA, gives=stats,
                  query=(FIELDS,), errors=READING),
        _act("PUT", f"{path}/{{id}}/failover", amphorae.failover, "Replace it", title),
        _act("PUT", f"{path}/{{id}}/config", amphorae.configure, "Push its configuration anew", title),
        _act("DELETE", f"{path}/{{id}}", amphorae.remove, "Remove one that is in ERROR", title, success=204),
    ]  # fmt: skip


def _stats(title: str, path: str, handler: Handler) -> Operation:
    gives = Body("Statistics", "stats")
    return Operation("GET", path, handler, "Statistics", title, gives=gives, query=(FIELDS,), errors=READING)


def _act(method: str, path: str, handler: Handler, summary: str, title: str, success: int = 202) -> Operation:
    return Operation(method, path, handler, summary, title, success=success, errors=ACTING, job=True)
