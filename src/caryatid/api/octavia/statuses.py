# SPDX-License-Identifier: Apache-2.0
"""How it goes: the status tree of a load balancer, and what went through it (facts: octavia.md §2.5)."""

from typing import Any

import orjson
from starlette.responses import Response

from caryatid.api.call import Call, answer
from caryatid.api.etags import age, digest, unless_known
from caryatid.control.receipt import rule
from caryatid.errors import NotFound
from caryatid.model import HEALTHMONITOR, L7POLICY, LISTENER, LOADBALANCER, MEMBER, POOL
from caryatid.model.kind import Kind
from caryatid.model.policy import Caller, require
from caryatid.store import observations, rows
from caryatid.store.database import Database, Tx
from caryatid.store.filters import Query

from .compat import Document, pick

COMMON = ("id", "name", "operating_status", "provisioning_status")


async def status(call: Call) -> Response:
    """The load balancer, its listeners, the pools that they send to, their monitors and members."""
    fields = call.fields()
    tree, heard_at = await call.read(_status, call.door.database, call.caller, call.path["id"])
    content = orjson.dumps({"statuses": pick(tree, fields)})
    return unless_known(call.scope, f'"{digest(content)}"', content, age(heard_at))


async def loadbalancer_statistics(call: Call) -> Response:
    fields = call.fields()
    stats = await call.read(_statistics, call.door.database, call.caller, LOADBALANCER, call.path["id"])
    return answer(200, {"stats": pick(stats, fields)})


async def listener_statistics(call: Call) -> Response:
    fields = call.fields()
    stats = await call.read(_statistics, call.door.database, call.caller, LISTENER, call.path["id"])
    return answer(200, {"stats": pick(stats, fields)})


def _status(database: Database, caller: Caller, key: str) -> tuple[dict[str, Any], float | None]:
    """The tree, and when those who see how it is were heard of."""
    with database.read() as tx:
        seen = rows.seen(tx, LOADBALANCER, key)
        if seen is None:
            raise NotFound(LOADBALANCER.title, key)
        document, heard_at = seen
        require(caller, rule(LOADBALANCER, "get_status"), document["project_id"])
        found = _below(tx, document)
    return tree(document, found), heard_at


def _below(tx: Tx, loadbalancer: Document) -> dict[str, list[dict[str, Any]]]:
    """The documents below a load balancer, by kind. Of what is known not to be there, nothing is asked."""
    query = Query(filters={"loadbalancer_id": loadbalancer["id"]})
    found: dict[str, list[dict[str, Any]]] = {
        kind.name: rows.page(tx, kind, query) if loadbalancer[kind.plural] else [] for kind in (LISTENER, POOL)
    }
    pools = found[POOL.name]
    wanted = {
        MEMBER: any(pool["members"] for pool in pools),
        HEALTHMONITOR: any(pool["healthmonitor_id"] for pool in pools),
        L7POLICY: any(listener["l7policies"] for listener in found[LISTENER.name]),
    }
    return found | {kind.name: rows.page(tx, kind, query) if there else [] for kind, there in wanted.items()}


def tree(loadbalancer: Document, found: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """The status tree out of the documents of a load balancer, by kind."""
    members: dict[str, list[dict[str, Any]]] = {}
    for member in found[MEMBER.name]:
        shown = {**_brief(member), "address": member["address"], "protocol_port": member["protocol_port"]}
        members.setdefault(member["pool_id"], []).append(shown)
    checks = found[HEALTHMONITOR.name]
    monitors = {monitor["pool_id"]: {**_brief(monitor), "type": monitor["type"]} for monitor in checks}
    pools = {pool["id"]: _pool(pool, members, monitors) for pool in found[POOL.name]}
    policies = found[L7POLICY.name]
    listeners = []
    for listener in found[LISTENER.name]:
        redirects = (policy["redirect_pool_id"] for policy in policies if policy["listener_id"] == listener["id"])
        reached = dict.fromkeys((listener["default_pool_id"], *redirects))
        listeners.append({**_brief(listener), "pools": [pools[key] for key in reached if key in pools]})
    return {"loadbalancer": {**_brief(loadbalancer), "listeners": listeners}}


def _brief(document: Document) -> dict[str, Any]:
    return {name: document[name] for name in COMMON}


def _pool(
    pool: Document, members: dict[str, list[dict[str, Any]]], monitors: dict[str, dict[str, Any]]
) -> dict[str, Any]:
    shown = {**_brief(pool), "members": members.get(pool["id"], [])}
    if pool["id"] in monitors:
        shown["health_monitor"] = monitors[pool["id"]]
    return shown


def _statistics(database: Database, caller: Caller, kind: Kind, key: str) -> dict[str, int]:
    with database.read() as tx:
        place = rows.place(tx, kind, key)
        if place is None:
            raise NotFound(kind.title, key)
        require(caller, rule(kind, "get_stats"), place.project_id)
        if kind is LISTENER:
            return observations.statistics(tx, listener_id=key)
        return observations.statistics(tx, loadbalancer_id=key)
