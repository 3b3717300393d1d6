# SPDX-License-Identifier: Apache-2.0
"""Every operation of the v2 API (facts: octavia.md §2.2)."""

from dataclasses import replace
from datetime import date
from typing import Any

from starlette.responses import Response

from caryatid.api.call import Call, accepted, aside
from caryatid.api.conditions import exact
from caryatid.api.resources import (
    CHANGING,
    FIELDS,
    READING,
    REMOVING,
    SHOWING,
    WRITING,
    Resource,
    list_parameters,
    verbs,
)
from caryatid.api.routing import Body, Deprecated, Handler, Operation, Parameter
from caryatid.api.settling import Settling
from caryatid.config import Settings
from caryatid.control import operator
from caryatid.control.receipt import rule
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
from caryatid.model.kind import Kind

from . import nested, providers, statuses, versions
from .amphorae import Amphorae
from .members import Members
from .quotas import Quotas

VERSION = "/v2"
LBAAS = "/v2/lbaas"
ACTING = (400, 403, 404, 406, 409, 500, 501, 503)
ADDITIVE = Parameter("additive_only", "Members that are not named stay.", {"type": "boolean", "default": False})
OLDER_SPELLING = Deprecated(date(2026, 11, 21), "The same is at `/status`; this is its spelling of before Octavia.")
CAPABILITIES = {"name": {"type": "string"}, "description": {"type": "string"}}


def operations(settings: Settings, settling: Settling) -> list[Operation]:
    below = (LISTENER, POOL, HEALTHMONITOR, L7POLICY, L7RULE, RATELIMITPOLICY, RATELIMITRULE)
    offered = (FLAVORPROFILE, FLAVOR, AVAILABILITY_ZONE_PROFILE, AVAILABILITY_ZONE)
    return [
        *(
            Operation(
                "GET",
                path,
                versions.v2,
                "The version of these paths",
                versions.TAG,
                errors=(406,),
                open=True,
                gives=Body({"type": "string"}),
            )
            for path in (VERSION, LBAAS)
        ),
        *_loadbalancers(settling),
        *(operation for kind in below for operation in verbs(Resource(kind, settling), VERSION)),
        *(operation for kind in offered for operation in verbs(Resource(kind), VERSION)),
        _stats(LISTENER, f"{LBAAS}/listeners/{{id}}/stats", statuses.listener_statistics),
        *_members(settling),
        *map(exact, (*_quotas(Quotas(settings.quotas)), *_providers(), *_amphorae(Amphorae()))),
    ]


async def failover(call: Call) -> Response:
    call.options()
    receipt = await aside(operator.failover, call.door, call.caller, call.path["id"])
    return accepted(202, receipt)


def _loadbalancers(settling: Settling) -> list[Operation]:
    path = f"{LBAAS}/loadbalancers"
    title = LOADBALANCER.title
    tree = Body("StatusTree", "statuses")
    listed, created, *others = verbs(Resource(LOADBALANCER, settling), VERSION)
    created = replace(created, handler=nested.create, summary="Create a load balancer, and what its body nests")
    return [
        listed,
        created,
        *others,
        _stats(LOADBALANCER, f"{path}/{{id}}/stats", statuses.loadbalancer_statistics),
        *(
            Operation("GET", f"{path}/{{id}}/{name}", statuses.status, "Status tree", title, LOADBALANCER, gives=tree,
                      query=(FIELDS,), errors=SHOWING, rule=rule(LOADBALANCER, "get_status"), deprecated=deprecated)
            for name, deprecated in (("status", None), ("statuses", OLDER_SPELLING))
        ),
        _act("PUT", f"{path}/{{id}}/failover", failover, "Replace its amphorae", LOADBALANCER),
    ]  # fmt: skip


def _members(settling: Settling) -> list[Operation]:
    members = Members(settling)
    path = f"{VERSION}{MEMBER.path}"
    batch = Body("MemberCreate", MEMBER.plural, many=True)
    return [
        *verbs(members, VERSION),
        Operation("PUT", path, members.replace, "Replace all members of a pool", MEMBER.title, MEMBER, success=202,
                  takes=batch, query=(ADDITIVE,), errors=WRITING, job=True, rule=rule(MEMBER, "put")),
    ]  # fmt: skip


def _quotas(quotas: Quotas) -> list[Operation]:
    path = f"{LBAAS}/quotas"
    one = Body("Quota", QUOTA.wrapper)
    many = Body("Quota", QUOTA.plural, many=True, links=QUOTA.links)
    shared: dict[str, Any] = {"tag": QUOTA.title, "kind": QUOTA}
    return [
        Operation("GET", path, quotas.list, "List: quotas that are not the defaults", gives=many,
                  query=list_parameters(QUOTA), errors=READING, rule=rule(QUOTA, "get_all"), **shared),
        Operation("GET", f"{path}/defaults", quotas.default, "The defaults", gives=one, query=(FIELDS,), errors=READING,
                  rule=rule(QUOTA, "get_defaults"), **shared),
        Operation("GET", f"{path}/{{project_id}}", quotas.one, "Show: quota of a project", gives=one, query=(FIELDS,),
                  errors=SHOWING, rule=rule(QUOTA, "get_one"), **shared),
        Operation("GET", f"{path}/{{project_id}}/default", quotas.default, "The defaults", gives=one, query=(FIELDS,),
                  errors=READING, rule=rule(QUOTA, "get_defaults"), **shared),
        Operation("PUT", f"{path}/{{project_id}}", quotas.set, "Change: quota of a project", success=202, gives=one,
                  takes=Body("QuotaChange", QUOTA.wrapper), errors=CHANGING, rule=rule(QUOTA, "put"),
                  job=True, **shared),
        Operation("DELETE", f"{path}/{{project_id}}", quotas.reset, "Reset a quota to the defaults", success=202,
                  errors=REMOVING, rule=rule(QUOTA, "delete"), job=True, **shared),
    ]  # fmt: skip


def _providers() -> list[Operation]:
    path = f"{LBAAS}/providers"
    shown = {"type": "object", "properties": CAPABILITIES, "additionalProperties": False}
    shared: dict[str, Any] = {"tag": "Provider", "query": (FIELDS,), "errors": READING}
    able = [
        (f"{kind}_capabilities", f"provider-{kind.replace('_', '-')}", handler)
        for kind, handler in (
            ("flavor", providers.flavor_capabilities),
            ("availability_zone", providers.zone_capabilities),
        )
    ]
    return [
        Operation("GET", path, providers.providers, "List: providers", gives=Body(shown, "providers", many=True),
                  rule=f"{providers.FAMILY}:provider:get_all", **shared),
        *(
            Operation("GET", f"{path}/{{provider}}/{name}", handler, f"What its {name.removesuffix('_capabilities')}"
                      " profiles may say", gives=Body(shown, name, many=True),
                      rule=f"{providers.FAMILY}:{guard}:get_all", **shared)
            for name, guard, handler in able
        ),
    ]  # fmt: skip


def _amphorae(amphorae: Amphorae) -> list[Operation]:
    path = f"{VERSION}{AMPHORA.path}"
    title = AMPHORA.title
    stats = Body("AmphoraStatistics", "amphora_stats", many=True)
    return [
        *verbs(amphorae, VERSION, "list get"),
        Operation("GET", f"{path}/{{id}}/stats", amphorae.statistics, "Statistics", title, AMPHORA, gives=stats,
                  query=(FIELDS,), errors=READING, rule=rule(AMPHORA, "get_stats")),
        Operation("GET", f"{path}/{{id}}/diagnostics", amphorae.diagnostics, "Ask it how it is, now", title, AMPHORA,
                  gives=Body("AmphoraDiagnostics", "diagnostics"), errors=(400, 403, 404, 406, 409, 500, 501, 503, 504),
                  rule=rule(AMPHORA, "get_diagnostics")),
        _act("PUT", f"{path}/{{id}}/failover", amphorae.failover, "Replace it", AMPHORA),
        _act("PUT", f"{path}/{{id}}/config", amphorae.configure, "Push its configuration anew", AMPHORA),
        _act("DELETE", f"{path}/{{id}}", amphorae.remove, "Remove one that is in ERROR", AMPHORA, success=204),
    ]  # fmt: skip


def _stats(kind: Kind, path: str, handler: Handler) -> Operation:
    gives = Body("Statistics", "stats")
    return Operation("GET", path, handler, "Statistics", kind.title, kind, gives=gives, query=(FIELDS,), errors=READING,
                     rule=rule(kind, "get_stats"))  # fmt: skip


def _act(method: str, path: str, handler: Handler, summary: str, kind: Kind, success: int = 202) -> Operation:
    action = "delete" if method == "DELETE" else f"{method}_{path.rpartition('/')[2]}".lower()
    return exact(Operation(method, path, handler, summary, kind.title, kind, success=success, errors=ACTING, job=True,
                           rule=rule(kind, action)))  # fmt: skip
