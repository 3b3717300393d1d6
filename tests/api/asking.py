# SPDX-License-Identifier: Apache-2.0
"""How each operation is asked so that it does what it is for, and so that it answers each status that it says."""

import asyncio
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import uuid4

import httpx2

from caryatid.api.app import create_app
from caryatid.control import initial
from caryatid.control.door import PROVIDER
from caryatid.drivers.amphora.base import NotFoundError, TimeOutException
from caryatid.drivers.noop import EVERYTHING, NoopAmphoraDriver
from caryatid.errors import Busy, Unauthorized
from caryatid.model import AMPHORA, DELIVERY, HOST
from caryatid.model.policy import Caller, Identified
from caryatid.store import clock, hosts, observations, rows
from caryatid.store.database import Database
from caryatid.store.gslb import enrolled
from caryatid.store.gslb.enrolled import Enrolled
from caryatid.store.hosts import Credential
from caryatid.store.observations import Counters
from tests.doors import open_door

NOWHERE = "99999999-9999-4999-8999-999999999999"
SUBNET = initial.SUBNET_ID
NONE: frozenset[str] = frozenset()
AT = "2026-11-21T00:00:00.000000"
V2 = "/v2/lbaas"
GSLB = "/gslb/v1"
AMPHORAE = "/v2/octavia/amphorae"
CLUSTER = {
    "rapi_url": "https://cluster.example:5080",
    "rapi_user": "caryatid",
    "rapi_password": "correct horse battery staple",
    "nics": [{"network": "lb-mgmt", "uplink": "physnet1"}],
}


@dataclass
class Asked:
    """A request."""

    method: str
    path: str
    json: Any = None
    content: Any = None
    headers: dict[str, str] = field(default_factory=dict)


class Powerless:
    """Knows everybody, who may do nothing."""

    def identify(self, shown):
        return Identified(Caller(user_id="u", project_id="default"))


class Away(Database):
    """Whatever is asked of it ends in an error."""

    def __init__(self, like, error):
        self.dialect, self.url, self.path, self.doorbell = like.dialect, like.url, like.path, None
        self.error = error

    @contextmanager
    def transaction(self):
        raise self.error
        yield

    read = transaction

    def version(self):
        raise self.error


class Unable(NoopAmphoraDriver):
    """Can do as little as there is."""

    capabilities = replace(
        EVERYTHING,
        listener_protocols=NONE,
        pool_protocols=NONE,
        algorithms=NONE,
        monitor_types=NONE,
        topologies=NONE,
        l7_protocols=NONE,
        rate_limit_protocols=NONE,
        rate_limit_actions=NONE,
        rate_limit_metrics=NONE,
        datagram_families_apart=True,
    )


    def get_diagnostics(self, amphora):
        raise NotImplementedError


class Late(NoopAmphoraDriver):
    def get_diagnostics(self, amphora):
        raise TimeOutException("it is late")


class Other(NoopAmphoraDriver):
    def get_diagnostics(self, amphora):
        raise NotFoundError("there is no such amphora here")


class Failing:
    """Cannot say who asks."""

    def __init__(self, error):
        self.error = error

    def identify(self, shown):
        raise self.error


class World:
    """One installation with one of everything, and doors to it through which something is wrong."""

    def __init__(self, api):
        self.api = api
        self.ids: dict[str, str] = {}
        """What is there for those who change nothing."""
        door, settings = api.door, api.door.settings
        unable = open_door(door.database, settings.model_copy(update={"secrets_driver": "barbican"}), Unable())
        self.doors = {
            "unknown": replace(door, identity=Failing(Unauthorized("Nobody known is asking."))),
            "powerless": replace(door, identity=Powerless()),
            "broken": replace(door, database=Away(door.database, RuntimeError("the disk is gone"))),
            "busy": replace(door, database=Away(door.database, Busy("The database is busy. Try again."))),
            "unable": unable,
            "late": open_door(door.database, settings, Late()),
            "other": open_door(door.database, settings, Other()),
            "broken identity": replace(door, identity=Failing(RuntimeError("the disk is gone"))),
            "busy identity": replace(door, identity=Failing(Busy("The identity service is away. Try again."))),
        }
        self.clients = {name: self._client(one) for name, one in self.doors.items()}
        self.clients[""] = api.client

    def _client(self, door):
        app = create_app(door, self.api.wakeups)
        transport = httpx2.ASGITransport(app, raise_app_exceptions=False)
        return httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1:9876")

    def send(self, asked, door=""):
        words = {"json": asked.json} if asked.json is not None else {"content": asked.content}
        request = self.clients[door].request(asked.method, asked.path, headers=asked.headers, **words)
        return self.api.runner.run(request)

    def made(self, path, **body):
        """What a POST answers, without its envelope."""
        answer = self.api.post(path, json=body)
        assert answer.status_code in {200, 201, 202}, (path, answer.text)
        return next(iter(answer.json().values()))

    def close(self):
        for name, client in self.clients.items():
            if name:
                self.api.runner.run(client.aclose())


def everything(world):
    """Ids of what is there; see `balanced` and `names`."""
    return {**balanced(world), **names(world)}


def balanced(world):
    """Ids of what is there, by the collection in which a path names it; whatever is made of something stands alone."""
    api = world.api
    ids = api.populated()
    ids |= _offered(world) | _networks(world) | _kept(world) | _people(world) | _told(world, ids)
    api.put(f"{V2}/quotas/default", json={"quota": {"loadbalancer": 100000}})
    listener = {"loadbalancer_id": ids["loadbalancers"], "protocol": "TERMINATED_HTTPS", "protocol_port": 8443}
    world.made(f"{V2}/listeners", listener={**listener, "default_tls_container_ref": "noop:a"})
    api.settle()
    found = api.get(f"{AMPHORAE}?loadbalancer_id={ids['loadbalancers']}&limit=1").json()["amphorae"]
    ids["amphorae"] = found[0]["id"]
    ids["certificates"] = _first(api, "/v1/certificates", "certificates")
    ids["jobs"] = api.get("/v1/jobs?limit=1&resource_type=loadbalancer").json()["jobs"][0]["id"]  # a project's
    ids["hosts"] = _host(api)
    ids["clusters"] = world.made("/v1/clusters", cluster={"name": f"west {uuid4()}", **CLUSTER})["id"]
    with api.door.database.transaction() as tx:
        counted = Counters(ids["listeners"], ids["amphorae"], ids["loadbalancers"], "e", bytes_in=1000, bytes_out=9000)
        observations.write_statistics(tx, [counted])
    return {**ids, "providers": PROVIDER, "quotas": "default"}


def fresh(world, path):
    """The same, what an operation of this path changes made anew."""
    return {**world.ids, **(names(world) if path.startswith(GSLB) else balanced(world))}


def _first(api, path, plural):
    return api.get(f"{path}?limit=1").json()[plural][0]["id"]


def _offered(world):
    flavor_data, zone_data = '{"haproxy_threads": 2}', "{}"
    profile = {"name": "fast", "provider_name": PROVIDER}
    profiles = [world.made(f"{V2}/flavorprofiles", flavorprofile={**profile, "flavor_data": flavor_data})["id"]
                for _ in range(2)]  # fmt: skip
    zones = [world.made(f"{V2}/availabilityzoneprofiles",
                        availability_zone_profile={**profile, "availability_zone_data": zone_data})["id"]
             for _ in range(2)]  # fmt: skip
    flavor = {"name": f"fast-{profiles[0]}", "flavor_profile_id": profiles[0]}
    zone = {"name": f"east-{zones[0]}", "availability_zone_profile_id": zones[0]}
    return {
        "flavorprofiles": profiles[1],
        "flavors": world.made(f"{V2}/flavors", flavor=flavor)["id"],
        "availabilityzoneprofiles": zones[1],
        "availabilityzones": world.made(f"{V2}/availabilityzones", availability_zone=zone)["name"],
        "used flavorprofiles": profiles[0],
        "used availabilityzoneprofiles": zones[0],
    }


def _networks(world):
    networks = [world.made("/v1/networks", network={"name": "blue"})["id"] for _ in range(2)]
    subnet = {"name": "blue", "network_id": networks[0], "cidr": "127.99.0.0/24", "attachment": "loopback"}
    subnets = [world.made("/v1/subnets", subnet=subnet)["id"] for _ in range(2)]
    port = world.made("/v1/ports", port={"subnet_id": subnets[0]})["id"]
    return {"networks": networks[1], "subnets": subnets[1], "ports": port, "used networks": networks[0],
            "used subnets": subnets[0]}  # fmt: skip


def _kept(world):
    secret = {"name": "key", "payload": "x", "payload_content_type": "text/plain"}
    reference = world.api.post("/v1/secrets", json=secret).json()["secret_ref"]
    container = {"name": "c", "type": "generic", "secret_refs": [{"name": "key", "secret_ref": reference}]}
    made = world.api.post("/v1/containers", json=container).json()["container_ref"]
    return {"secrets": reference.rpartition("/")[2], "containers": made.rpartition("/")[2]}


def _people(world):
    """Somebody who may do something in a project."""
    project = world.made("/v1/access/projects", project={"name": f"shop {uuid4()}"})["id"]
    user = world.made("/v1/access/users", user={"name": f"alice {uuid4()}"})["id"]
    role = world.made("/v1/access/roles", role={"user_id": user, "project_id": project, "role": "member"})["id"]
    token = world.made("/v1/access/tokens", token={"user_id": user, "project_id": project})["id"]
    return {"projects": project, "users": user, "roles": role, "tokens": token}


def _told(world, ids):
    wish = {"name": "ours", "project_id": ids["loadbalancers"], "callback_url": "https://hooks.example/caryatid"}
    made = world.made("/v1/subscriptions", subscription=wish)["id"]
    dead = str(uuid4())
    about = {"event_id": "1.1", "event_type": "loadbalancer.create", "state": "dead", "attempts": 9, "status": 500}
    row = DELIVERY.model(id=dead, project_id="default", subscription_id=made, created_at=AT, since=AT, **about)
    with world.api.door.database.transaction() as tx:
        rows.insert(tx, DELIVERY, [row])
    return {"subscriptions": made, "deliveries": dead}


def names(world):
    """A name and what it is made of, and one of each that nobody uses."""
    mark = uuid4().hex[:8]
    region = {"enabled": False, "latitude": 52.5, "longitude": 13.4}
    regions = [world.made(f"{GSLB}/regions", region={**region, "name": f"{name}-{mark}"})["id"] for name in "ab"]
    backends = [world.made(f"{GSLB}/backends", backend={"name": "dns", "driver": "noop"})["id"] for _ in "ab"]
    zones = [world.made(f"{GSLB}/zones", zone={"name": f"{n}{mark}.test", "backend_id": backends[0]}) for n in "ab"]
    check = {"name": "alive", "type": "http", "regions": [regions[0]], "parameters": {"path": "/alive"}}
    monitors = [world.made(f"{GSLB}/monitors", monitor=check)["id"] for _ in "ab"]
    pool = {"name": "east", "region_id": regions[0], "monitors": [{"monitor_id": monitors[0]}]}
    pools = [world.made(f"{GSLB}/pools", pool=pool)["id"] for _ in "ab"]
    members = [world.made(f"{GSLB}/pools/{key}/pool_members", pool_member={"address": "192.0.2.1", "port": 80})["id"]
               for key in pools]  # fmt: skip
    told = _passive(world, mark)
    rules = [{"countries": ["DE"], "pool_ids": [pools[0]]}]
    geomaps = [world.made(f"{GSLB}/geomaps", geomap={"name": "europe", "rules": rules})["id"] for _ in "ab"]
    name = {"fqdn": f"www.{zones[0]['name']}", "steering_policy": "geo", "geomap_id": geomaps[0]}
    gslb = world.made(f"{GSLB}/gslbs", gslb={**name, "pools": [{"pool_id": pools[0]}]})["id"]
    found = {"pools": pools, "monitors": monitors, "geomaps": geomaps, "regions": regions, "backends": backends}
    found["zones"] = [zone["id"] for zone in zones]
    told["gslb checkers"] = _checker(world, regions[0])
    free = {f"gslb {what}": keys[1] for what, keys in found.items()}
    used = {f"used gslb {what}": keys[0] for what, keys in found.items()}
    named = {"zone": zones[0]["name"], "mark": mark}
    return {**free, **used, **told, **named, "gslb gslbs": gslb, "gslb pool_members": members[1]}


def _passive(world, mark):
    """A monitor that is told, with a member in a pool that uses it."""
    region = world.made(f"{GSLB}/regions", region={"name": f"t-{mark}"})["id"]
    monitor = world.made(f"{GSLB}/monitors", monitor={"type": "passive", "regions": [region]})["id"]
    pool = world.made(f"{GSLB}/pools", pool={"name": "told", "monitors": [{"monitor_id": monitor}]})["id"]
    member = world.made(f"{GSLB}/pools/{pool}/pool_members", pool_member={"address": "192.0.2.4"})["id"]
    return {"told regions": region, "told monitors": monitor, "told members": member}


def _checker(world, region):
    """A checker that has enrolled."""
    key = str(uuid4())
    with world.api.door.database.transaction() as tx:
        ends_at = clock.now(tx) + 86_400
        enrolled.keep(tx, Enrolled(key, region, "vantage1", "1.0", None, (), ends_at, seen_at=AT))
    return key


def _host(api):
    key = f"77777777-7777-4777-8777-{len(api.get('/v1/hosts').json()['hosts']):012}"
    host = HOST.model(id=key, created_at=AT, name="h1", agent_url="https://h1.example:9443", capacity=10)
    with api.door.database.transaction() as tx:
        rows.insert(tx, HOST, [host])
        hosts.write_credential(tx, Credential(key, b"", "00"))
    return key


def bodies(ids):
    """What is sent, by method and path, where something is."""
    lb, listener, pool = ids["loadbalancers"], ids["listeners"], ids["pools"]
    member = {"name": "two", "address": "10.0.0.2", "protocol_port": 80, "weight": 5}
    rule = {"type": "HEADER", "key": "X-Who", "compare_type": "EQUAL_TO", "value": "me"}
    check = {"type": "HTTP", "delay": 5, "timeout": 5, "max_retries": 2, "url_path": "/alive"}
    profile = {"name": "fast", "provider_name": PROVIDER}
    limit = {"metric": "REQUESTS", "threshold": 10, "interval": 10}
    certificate = {"name": "c", "type": "generic", "secret_refs": []}
    posts = {
        f"{V2}/loadbalancers": {"loadbalancer": {"name": "web", "vip_subnet_id": SUBNET}},
        f"{V2}/listeners": {"listener": {"loadbalancer_id": lb, "protocol": "HTTP", "protocol_port": 8081}},
        f"{V2}/pools": {"pool": {"loadbalancer_id": lb, "protocol": "HTTP", "lb_algorithm": "LEAST_CONNECTIONS"}},
        f"{V2}/pools/{{pool_id}}/members": {"member": member},
        f"{V2}/healthmonitors": {"healthmonitor": {"pool_id": pool, **check}},
        f"{V2}/l7policies": {"l7policy": {"listener_id": listener, "action": "REJECT"}},
        f"{V2}/l7policies/{{l7policy_id}}/rules": {"rule": rule},
        f"{V2}/ratelimitpolicies": {"ratelimitpolicy": {"listener_id": listener, "action": "DENY"}},
        f"{V2}/ratelimitpolicies/{{ratelimitpolicy_id}}/rules": {"rule": limit},
        f"{V2}/flavorprofiles": {"flavorprofile": {**profile, "flavor_data": '{"haproxy_threads": 4}'}},
        f"{V2}/flavors": {"flavor": {"name": f"faster-{lb}", "flavor_profile_id": ids["flavorprofiles"]}},
        f"{V2}/availabilityzoneprofiles": {"availability_zone_profile": {**profile, "availability_zone_data": "{}"}},
        f"{V2}/availabilityzones": {
            "availability_zone": {"name": f"west-{lb}", "availability_zone_profile_id": ids["availabilityzoneprofiles"]}
        },
        "/v1/access/projects": {"project": {"name": f"shop-{lb}"}},
        "/v1/access/users": {"user": {"name": f"bob-{lb}", "password": "correct horse battery staple"}},
        "/v1/access/roles": {"role": {"user_id": ids["users"], "project_id": ids["projects"], "role": "reader"}},
        "/v1/access/tokens": {
            "token": {"name": "ci", "user_id": ids["users"], "project_id": ids["projects"], "roles": ["member"]}
        },
        "/v1/subscriptions": {
            "subscription": {"callback_url": "https://hooks.example/caryatid", "event_types": ["loadbalancer.*"]}
        },
        "/v1/subscriptions/{id}/secret": {},
        "/v1/subscriptions/{id}/replay": {"after": "0"},
        "/v1/networks": {"network": {"name": "green"}},
        "/v1/clusters": {"cluster": {"name": f"east {lb}", **CLUSTER}},
        "/v1/subnets": {"subnet": {"name": "g", "network_id": ids["networks"], "cidr": "127.98.0.0/24"}},
        "/v1/ports": {"port": {"name": "p", "subnet_id": ids["subnets"]}},
        "/v1/secrets": {"name": "key", "payload": "s3cret", "payload_content_type": "text/plain"},
        "/v1/containers": certificate,
    }
    named = {"name": "renamed"}
    posts |= {
        f"{GSLB}/gslbs": {"gslb": {"fqdn": f"a.{ids['zone']}", "pools": [{"pool_id": ids["gslb pools"]}]}},
        f"{GSLB}/pools": {"pool": {"name": "west", "monitors": [{"monitor_id": ids["gslb monitors"]}]}},
        f"{GSLB}/pools/{{pool_id}}/pool_members": {"pool_member": {"address": "192.0.2.2", "weight": 2}},
        f"{GSLB}/monitors": {"monitor": {"type": "tcp", "interval": 5, "timeout": 2, "parameters": {"port": 443}}},
        f"{GSLB}/monitors/{{id}}/test": {"test": {"address": "192.0.2.1", "port": 80}},
        f"{GSLB}/regions": {"region": {"name": f"c-{ids['mark']}", "source_cidrs": ["192.0.2.0/28"]}},
        f"{GSLB}/backends": {"backend": {"name": "more", "driver": "noop"}},
        f"{GSLB}/zones": {"zone": {"name": f"c-{ids['mark']}.test", "backend_id": ids["gslb backends"]}},
        f"{GSLB}/geomaps": {"geomap": {"rules": [{"continents": ["EU"], "pool_ids": [ids["gslb pools"]]}]}},
    }
    puts = {
        f"{GSLB}/gslbs/{{id}}": {"gslb": {"ttl": 60}},
        f"{GSLB}/pools/{{id}}": {"pool": {"minimum_healthy": "50%"}},
        f"{GSLB}/pools/{{pool_id}}/pool_members/{{id}}": {"pool_member": {"weight": 5}},
        f"{GSLB}/monitors/{{id}}": {"monitor": {"fall": 2}},
        f"{GSLB}/monitors/{{id}}/votes": {"votes": [_vote(ids)]},
        f"{GSLB}/regions/{{id}}": {"region": {"enabled": False}},
        f"{GSLB}/backends/{{id}}": {"backend": {"name_servers": [{"address": "192.0.2.53"}]}},
        f"{GSLB}/zones/{{id}}": {"zone": {"description": "ours"}},
        f"{GSLB}/geomaps/{{id}}": {"geomap": named},
        f"{V2}/loadbalancers/{{id}}": {"loadbalancer": named},
        f"{V2}/listeners/{{id}}": {"listener": {"connection_limit": 5000}},
        f"{V2}/pools/{{id}}": {"pool": {"lb_algorithm": "LEAST_CONNECTIONS"}},
        f"{V2}/pools/{{pool_id}}/members": {"members": [member]},
        f"{V2}/pools/{{pool_id}}/members/{{id}}": {"member": {"weight": 10}},
        f"{V2}/healthmonitors/{{id}}": {"healthmonitor": {"delay": 10}},
        f"{V2}/l7policies/{{id}}": {"l7policy": named},
        f"{V2}/l7policies/{{l7policy_id}}/rules/{{id}}": {"rule": {"value": "/y"}},
        f"{V2}/ratelimitpolicies/{{id}}": {"ratelimitpolicy": named},
        f"{V2}/ratelimitpolicies/{{ratelimitpolicy_id}}/rules/{{id}}": {"rule": {"threshold": 50}},
        f"{V2}/flavorprofiles/{{id}}": {"flavorprofile": named},
        f"{V2}/flavors/{{id}}": {"flavor": {"description": "the fastest"}},
        f"{V2}/availabilityzoneprofiles/{{id}}": {"availability_zone_profile": named},
        f"{V2}/availabilityzones/{{id}}": {"availability_zone": {"description": "in the east"}},
        f"{V2}/quotas/{{project_id}}": {"quota": {"loadbalancer": 100000}},
        "/v1/access/projects/{id}": {"project": {"description": "sells things"}},
        "/v1/access/users/{id}": {"user": {"description": "Alice"}},
        "/v1/subscriptions/{id}": {"subscription": {"enabled": False}},
        "/v1/networks/{id}": {"network": named},
        "/v1/subnets/{id}": {"subnet": named},
        "/v1/ports/{id}": {"port": named},
        "/v1/hosts/{id}": {"host": {"capacity": 20}},
        "/v1/clusters/{id}": {"cluster": {"enabled": False}},
    }
    return {("POST", path): body for path, body in posts.items()} | {("PUT", path): body for path, body in puts.items()}


def _vote(ids):
    return {"member_id": ids["told members"], "region_id": ids["told regions"], "vote": "DOWN", "reason": "maintenance"}


def asked(operation, ids):
    """The request that does what the operation is for; its refusals begin from there."""
    if operation.path.endswith("/votes"):
        ids = {**ids, "gslb monitors": ids["told monitors"]}
    found = Asked(operation.method, filled(operation.path, ids), bodies(ids).get((operation.method, operation.path)))
    if operation.takes is not None and not operation.takes.is_json:
        found.content, found.headers = b"s3cret", {"Content-Type": "text/plain"}
    if any(parameter.name == "limit" for parameter in operation.query):
        found.path += "?limit=1"
    if any(parameter.name == "cascade" for parameter in operation.query):
        found.path += "?cascade=true"
    return found


def filled(path, ids):
    parts = path.split("/")
    return "/".join(ids[_collection(parts, at)] if part.startswith("{") else part for at, part in enumerate(parts))


def _collection(parts, at):
    if parts[1] == "gslb":  # whose pools are others
        return f"gslb {parts[at - 1]}"
    return "limits" if parts[at - 3 : at] == ["ratelimitpolicies", "{ratelimitpolicy_id}", "rules"] else parts[at - 1]


def prepared(world, operation, ids):
    """What the operation needs to do what it is for is so."""
    place = (operation.method, operation.path)
    if place == ("DELETE", f"{AMPHORAE}/{{id}}"):
        with world.api.door.database.transaction() as tx:
            row = AMPHORA.load({**rows.get(tx, AMPHORA, ids["amphorae"]), "status": "ERROR"})
            rows.change(tx, AMPHORA, row, at=AT)
    elif place == ("POST", f"{V2}/healthmonitors"):
        world.api.delete(f"{V2}/healthmonitors/{ids['healthmonitors']}")
        world.api.settle()
    elif place == ("DELETE", f"{GSLB}/checkers/{{id}}"):
        world.api.put(f"{GSLB}/checkers/{ids['gslb checkers']}/revoke")
    elif place == ("PUT", "/v1/jobs/{id}/cancel"):
        asked_for = world.api.put(f"{V2}/loadbalancers/{ids['loadbalancers']}/failover")
        ids["jobs"] = asked_for.headers["caryatid-job"]


async def stalled():
    yield b"{"
    await asyncio.sleep(5)
