# SPDX-License-Identifier: Apache-2.0
"""Every status that an operation is documented to answer, it answers; what it answered stands in the reference."""

import json
import shutil
from uuid import uuid4

import pytest
from structlog.testing import capture_logs

from caryatid.api.app import operations
from caryatid.api.conditions import conditions
from caryatid.config import Settings
from caryatid.model import AMPHORA
from caryatid.model.cluster import Machine, MachineWish
from caryatid.model.policy import RULES
from caryatid.store import rows
from caryatid.store.ganeti import machines
from tests.api.asking import (
    AMPHORAE,
    CLUSTER,
    GSLB,
    NOWHERE,
    SUBNET,
    V2,
    Asked,
    World,
    asked,
    bodies,
    everything,
    filled,
    fresh,
    prepared,
    stalled,
)
from tests.api.conftest import open_api, settings
from tests.api.recording import EXAMPLES, alike, example, path_of, shape

BY_PLACE = {(one.method, one.path): one for one in operations(Settings(), None)}
ELSEWHERE = ("/identity/", "/network/")
"""Other services' paths, which answer in their shapes: their own tests ask for what they answer."""
PLACES = sorted(place for place in BY_PLACE if not place[1].startswith(ELSEWHERE))
UNASKED = {
    ("GET", "/v1/secrets/{id}/payload"): {200: "never: a payload cannot be read"},
}
"""Statuses that no request gets, and why they are said all the same."""
UNRECORDED = {"/openapi.json", "/docs", "/metrics"}
MUCH = 3 << 20
UNGUARDED = {"/projects/{id}"}
"""Answered to whoever is known."""


@pytest.fixture(scope="module")
def world(tmp_path_factory, sqlite):
    folder = tmp_path_factory.mktemp("documented")
    shutil.copy(sqlite, folder / "caryatid.db")
    for api in open_api(f"sqlite:///{folder}/caryatid.db", settings(folder)):
        made = World(api)
        made.ids = everything(made)
        yield made
        made.close()


@pytest.mark.parametrize(("method", "path"), PLACES)
def test_every_status_that_is_documented_is_answered(method, path, world, monkeypatch, pytestconfig):
    operation = BY_PLACE[method, path]
    monkeypatch.setattr("caryatid.api.app.BODY_DEADLINE_S", 0.05)
    answers = {}
    for code in (*conditions(operation), operation.success):
        if code in UNASKED.get((method, path), {}):
            continue
        changes = code == 409 or (code == operation.success and method != "GET")
        ids = fresh(world, path) if changes else world.ids
        with capture_logs():  # a 500 is logged with all that there is to know, which takes its time
            answers[code] = provoked(world, operation, code, ids)
        assert answers[code].status_code == code, (code, answers[code].status_code, answers[code].text)
    if path not in UNRECORDED:
        recorded(operation, answers, rewrite=pytestconfig.getoption("--update-golden"))


def recorded(operation, answers, *, rewrite):
    """The reference shows an example like this."""
    success = answers.pop(operation.success, None)
    if success is None:
        return
    now = example(success, answers)
    file = path_of(operation)
    if rewrite:
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps(now, indent=2, ensure_ascii=False) + "\n")
    kept = json.loads(file.read_text())
    assert alike(shape(kept["answer"]), shape(now["answer"])), f"{file.name} is old: pytest --update-golden"
    assert kept["refusals"].keys() == now["refusals"].keys(), f"{file.name} is old: pytest --update-golden"


def provoked(world, operation, code, ids):
    """The answer to a request that should get this status."""
    if code == operation.success:
        prepared(world, operation, ids)
        return world.send(asked(operation, ids))
    return PROVOKE[code](world, operation, ids)


def bad_request(world, operation, ids):
    request = asked(operation, ids)
    if operation.takes is None:
        request.path += "&nonsense=1" if "?" in request.path else "?nonsense=1"
    elif operation.takes.is_json:
        request.json = {"nonsense": 1}
    else:
        request.headers = {"Content-Type": "image/png"}
    return world.send(request)


def not_found(world, operation, ids):
    request = asked(operation, ids)
    if operation.names:
        request.path = filled(operation.path, {**dict.fromkeys(ids, NOWHERE), "quotas": "no project"})
        return world.send(request)
    (wrapper, body), *_ = request.json.items() if isinstance(request.json, dict) else (("", {}),)
    if operation.path == "/v1/containers":
        reference = f"http://127.0.0.1:9876/v1/secrets/{NOWHERE}"
        request.json["secret_refs"] = [{"name": "key", "secret_ref": reference}]
    else:
        name = next(name for name in ("loadbalancer_id", "listener_id", "pool_id") if name in body)
        request.json = {wrapper: {**body, name: NOWHERE}}
    return world.send(request)


def late(world, operation, ids):
    request = asked(operation, ids)
    return world.send(Asked(request.method, request.path, content=stalled(), headers=request.headers))


def too_much(world, operation, ids):
    request = asked(operation, ids)
    return world.send(Asked(request.method, request.path, content=b" " * MUCH, headers=request.headers))


def no_json(world, operation, ids):
    request = asked(operation, ids)
    return world.send(Asked(request.method, request.path, content=b"<x/>", headers={"Content-Type": "text/xml"}))


def other_answer(world, operation, ids):
    request = asked(operation, ids)
    request.headers = {**request.headers, "Accept": "image/png"}
    return world.send(request)


def through(door):
    def ask(world, operation, ids):
        return world.send(asked(operation, ids), door)

    return ask


def by(name):
    """The database ends in an error; where nothing is asked of it, what says who asks does."""

    def ask(world, operation, ids):
        answer = world.send(asked(operation, ids), name)
        if answer.status_code < 400 and not operation.open:
            return world.send(asked(operation, ids), f"{name} identity")
        return answer

    return ask


def conflict(world, operation, ids):
    """What is in the way: something made for it, or that the load balancer is being deleted."""
    special = CONFLICTS.get((operation.method, operation.path))
    if special is not None:
        return world.send(special(world, operation, ids))
    if operation.path.endswith("/diagnostics"):
        return world.send(asked(operation, ids), "other")
    if operation.repeatable and operation.kind is not None and operation.kind.root is None:
        return with_used_key(world, operation, ids)
    world.api.delete(f"{V2}/loadbalancers/{ids['loadbalancers']}?cascade=true")
    answer = world.send(asked(operation, ids))
    world.api.settle()
    return answer


def with_used_key(world, operation, ids):
    """The key of another request."""
    request = asked(operation, ids)
    request.headers["Idempotency-Key"] = "used"
    world.send(Asked("POST", "/v1/networks", {"network": {}}, headers=request.headers))
    return world.send(request)


def unsupported(world, operation, ids):
    special = UNSUPPORTED.get((operation.method, operation.path))
    request = asked(operation, ids)
    return world.send(special(world, request, ids) if special else request, "unable")


def not_modified(world, operation, ids):
    request = asked(operation, ids)
    request.headers["If-None-Match"] = world.send(request).headers["etag"]
    return world.send(request)


def stale(world, operation, ids):
    request = asked(operation, ids)
    request.headers["If-Match"] = '"0.0"'
    return world.send(request)


def gone(world, operation, ids):
    return world.send(Asked("GET", f"{operation.path}?after=1.1.00000000"))


def forbidden(world, operation, ids):
    request = asked(operation, ids)
    if (operation.method, operation.path) in OWN:  # everybody may see what is theirs
        request.path += f"&{OWN[operation.method, operation.path]}={ids['users']}"
    return world.send(request, "powerless")


OWN = {("GET", f"/v1/access/{what}"): name for what, name in
       (("users", "id"), ("roles", "user_id"), ("tokens", "user_id"))}  # fmt: skip
PROVOKE = {
    304: not_modified,
    400: bad_request,
    401: through("unknown"),
    403: forbidden,
    404: not_found,
    406: other_answer,
    408: late,
    409: conflict,
    410: gone,
    412: stale,
    413: too_much,
    415: no_json,
    500: by("broken"),
    501: unsupported,
    503: by("busy"),
    504: through("late"),
}


def taken_address(world, operation, ids):
    taken = world.api.get(f"{V2}/loadbalancers/{ids['loadbalancers']}").json()["loadbalancer"]["vip_address"]
    return Asked("POST", operation.path, {"loadbalancer": {"vip_subnet_id": SUBNET, "vip_address": taken}})


def again(world, operation, ids):
    """The same name twice."""
    body = bodies(ids)[operation.method, operation.path]
    world.send(Asked("POST", operation.path, body))
    return Asked("POST", operation.path, body)


def of_used(operation_path, body=None):
    def ask(world, operation, ids):
        collection = operation_path.split("/")[-2]
        path = filled(operation_path, {**ids, collection: ids[f"used {collection}"]})
        return Asked(operation.method, path, body)

    return ask


def with_load_balancer(attribute, collection):
    def ask(world, operation, ids):
        world.api.loadbalancer(**{attribute: ids[collection]})
        return Asked("DELETE", filled(operation.path, ids))

    return ask


def same_name(collection, wrapper, profiles):
    def ask(world, operation, ids):
        body = bodies(ids)["POST", f"{V2}/{collection}"][wrapper]
        world.api.post(f"{V2}/{collection}", json={wrapper: body})
        return Asked("PUT", filled(operation.path, ids), {wrapper: {"name": body["name"]}})

    return ask


def taken_port(world, operation, ids):
    port = world.api.get(f"/v1/ports/{ids['ports']}").json()["port"]
    return Asked("POST", operation.path, {"port": {"subnet_id": port["subnet_id"], "ip_address": port["ip_address"]}})


def vip_port(world, operation, ids):
    root = world.api.get(f"{V2}/loadbalancers/{ids['loadbalancers']}").json()["loadbalancer"]
    return Asked("DELETE", f"/v1/ports/{root['vip_port_id']}")


def healthy(world, operation, ids):
    return Asked("DELETE", filled(operation.path, ids))


def revoked(world, operation, ids):
    world.api.put(f"/v1/hosts/{ids['hosts']}/revoke")
    return Asked("PUT", filled(operation.path, ids))


def of_believed(world, operation, ids):
    return asked(operation, ids)


def full_host(world, operation, ids):
    with world.api.door.database.transaction() as tx:
        row = AMPHORA.load({**rows.get(tx, AMPHORA, ids["amphorae"]), "compute_id": ids["hosts"]})
        rows.change(tx, AMPHORA, row, at="2026-11-21T00:00:00.000000")
    return Asked("DELETE", filled(operation.path, ids))


def taken_cluster(world, operation, ids):
    other = world.made("/v1/clusters", cluster={"name": f"other {uuid4()}", **CLUSTER})["name"]
    return Asked("PUT", filled(operation.path, ids), {"cluster": {"name": other}})


def with_machine(world, operation, ids):
    key = str(uuid4())
    with world.api.door.database.transaction() as tx:
        machines.add(tx, Machine(key, None, ids["clusters"], f"amphora-{key}", MachineWish(), "WANTED", 1.0))
    return Asked("DELETE", filled(operation.path, ids))


def its_load_balancer(world, operation, ids):
    world.api.loadbalancer(project_id=ids["projects"])
    return asked(operation, ids)


def taken_name(collection, wrapper):
    def ask(world, operation, ids):
        other = world.made(f"/v1/access/{collection}", **{wrapper: {"name": f"other {uuid4()}"}})
        return Asked("PUT", filled(operation.path, ids), {wrapper: {"name": other["name"]}})

    return ask


def last_administrator(world, operation, ids):
    known = world.api.get("/v1/access/roles?role=admin").json()["roles"]
    if not known:
        admin = {"user_id": ids["users"], "project_id": ids["projects"], "role": "admin"}
        known = [world.made("/v1/access/roles", role=admin)]
    return asked(operation, {**ids, "roles": known[0]["id"], "users": known[0]["user_id"]})


def going(world, operation, ids):
    world.api.delete(f"{GSLB}/gslbs/{ids['gslb gslbs']}")
    return asked(operation, ids)


def of_used_part(world, operation, ids):
    collection = f"gslb {operation.path.split('/')[-2]}"
    return Asked(operation.method, filled(operation.path, {**ids, collection: ids[f"used {collection}"]}))


def taken_place(world, operation, ids):
    path = filled(operation.path.removesuffix("/{id}"), ids)
    taken = {"address": "192.0.2.9", "port": 80}
    world.made(path, pool_member=taken)
    return Asked(operation.method, filled(operation.path, ids), {"pool_member": taken})


GSLB_MEMBERS = f"{GSLB}/pools/{{pool_id}}/pool_members"
PROFILE, ZONE_PROFILE = f"{V2}/flavorprofiles/{{id}}", f"{V2}/availabilityzoneprofiles/{{id}}"
CONFLICTS = {
    ("POST", f"{GSLB}/gslbs"): again,
    ("PUT", f"{GSLB}/gslbs/{{id}}"): going,
    ("DELETE", f"{GSLB}/gslbs/{{id}}"): going,
    ("POST", f"{GSLB}/gslbs/{{id}}/sync"): going,
    ("POST", GSLB_MEMBERS): taken_place,
    ("PUT", f"{GSLB_MEMBERS}/{{id}}"): taken_place,
    ("POST", f"{GSLB}/zones"): again,
    ("POST", f"{GSLB}/regions"): again,
    **{("DELETE", f"{GSLB}/{what}/{{id}}"): of_used_part
       for what in ("pools", "monitors", "geomaps", "regions", "backends", "zones")},
    ("POST", f"{V2}/loadbalancers"): taken_address,
    ("POST", "/v1/access/users"): again,
    ("PUT", "/v1/access/users/{id}"): taken_name("users", "user"),
    ("PUT", "/v1/access/projects/{id}"): taken_name("projects", "project"),
    ("DELETE", "/v1/access/projects/{id}"): its_load_balancer,
    ("DELETE", "/v1/access/roles/{id}"): last_administrator,
    ("DELETE", "/v1/access/users/{id}"): last_administrator,
    ("POST", f"{V2}/flavors"): again,
    ("POST", f"{V2}/availabilityzones"): again,
    ("PUT", f"{V2}/flavors/{{id}}"): same_name("flavors", "flavor", "flavorprofiles"),
    ("PUT", PROFILE): of_used(PROFILE, {"flavorprofile": {"flavor_data": "{}"}}),
    ("DELETE", PROFILE): of_used(PROFILE),
    ("PUT", ZONE_PROFILE): of_used(
        ZONE_PROFILE, {"availability_zone_profile": {"availability_zone_data": '{"compute_zone": "z"}'}}
    ),
    ("DELETE", ZONE_PROFILE): of_used(ZONE_PROFILE),
    ("DELETE", f"{V2}/flavors/{{id}}"): with_load_balancer("flavor_id", "flavors"),
    ("DELETE", f"{V2}/availabilityzones/{{id}}"): with_load_balancer("availability_zone", "availabilityzones"),
    ("DELETE", "/v1/networks/{id}"): of_used("/v1/networks/{id}"),
    ("DELETE", "/v1/subnets/{id}"): of_used("/v1/subnets/{id}"),
    ("POST", "/v1/ports"): taken_port,
    ("DELETE", "/v1/ports/{id}"): vip_port,
    ("DELETE", f"{AMPHORAE}/{{id}}"): healthy,
    ("POST", "/v1/clusters"): again,
    ("PUT", "/v1/clusters/{id}"): taken_cluster,
    ("DELETE", "/v1/clusters/{id}"): with_machine,
    ("PUT", "/v1/hosts/{id}/drain"): revoked,
    ("PUT", "/v1/hosts/{id}/enable"): revoked,
    ("PUT", "/v1/hosts/{id}/evacuate"): revoked,
    ("DELETE", "/v1/hosts/{id}"): full_host,
    ("DELETE", f"{GSLB}/checkers/{{id}}"): of_believed,
}


def other_family(world, request, ids):
    pool = {"loadbalancer_id": ids["loadbalancers"], "protocol": "UDP", "lb_algorithm": "ROUND_ROBIN"}
    made = world.made(f"{V2}/pools", pool=pool)["id"]
    member = {"address": "fd00::1", "protocol_port": 53}
    body = {"members": [member]} if request.method == "PUT" else {"member": member}
    return Asked(request.method, f"{V2}/pools/{made}/members", body)


def topology(world, request, ids):
    data = '{"loadbalancer_topology": "SINGLE"}'
    request.json = {"flavorprofile": {**request.json["flavorprofile"], "flavor_data": data}}
    return request


def attachment(world, request, ids):
    request.json = {"subnet": {**request.json["subnet"], "attachment": "bgp"}}
    return request


MEMBERS = f"{V2}/pools/{{pool_id}}/members"
def plain_servers(method, collection, wrapper, **wish):
    """What is wished of a name in a zone of servers that know sets of records alone."""

    def ask(world, request, ids):
        name = f"x{uuid4().hex[:8]}.test"
        backend = world.made(f"{GSLB}/backends", backend={"driver": "rfc2136", "server": "192.0.2.53"})["id"]
        world.made(f"{GSLB}/zones", zone={"name": name, "backend_id": backend})
        pool = world.made(f"{GSLB}/pools", pool={})["id"]
        body = {"fqdn": f"www.{name}", "pools": [{"pool_id": pool}]}
        if method == "POST":
            return Asked("POST", f"{GSLB}/gslbs", {"gslb": {**body, **wish}})
        gslb = world.made(f"{GSLB}/gslbs", gslb=body)["id"]
        return Asked("PUT", f"{GSLB}/{collection}/{gslb if collection == 'gslbs' else pool}", {wrapper: wish})

    return ask


UNSUPPORTED = {
    ("POST", f"{GSLB}/gslbs"): plain_servers("POST", "gslbs", "gslb", steering_policy="geo"),
    ("PUT", f"{GSLB}/gslbs/{{id}}"): plain_servers("PUT", "gslbs", "gslb", steering_policy="geo"),
    ("PUT", f"{GSLB}/pools/{{id}}"): plain_servers("PUT", "pools", "pool", member_policy="weighted"),
    ("POST", MEMBERS): other_family,
    ("PUT", MEMBERS): other_family,
    ("POST", f"{V2}/flavorprofiles"): topology,
    ("PUT", PROFILE): topology,
    ("POST", "/v1/subnets"): attachment,
}


def test_every_operation_names_the_rule_that_guards_it():
    for place in PLACES:
        operation = BY_PLACE[place]
        assert operation.open or operation.rule in RULES or operation.path in UNGUARDED, place


def test_what_is_advised_against_says_since_when(world):
    ids = everything(world)
    older = world.api.get(f"{V2}/loadbalancers/{ids['loadbalancers']}/statuses")
    assert older.headers["deprecation"] == "@1795219200"
    assert "sunset" not in older.headers
    assert "deprecation" not in world.api.get(f"{V2}/loadbalancers/{ids['loadbalancers']}/status").headers


def test_there_is_no_example_of_what_is_no_more():
    files = {path_of(BY_PLACE[place]).name for place in PLACES if place[1] not in UNRECORDED}
    assert {file.name for file in EXAMPLES.glob("*.json")} <= files
