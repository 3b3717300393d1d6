# SPDX-License-Identifier: Apache-2.0
"""The real application over the real store and control, with the noop world behind it; spoken to without sockets."""

import asyncio
import shutil
from dataclasses import dataclass

import httpx2
import pytest

from caryatid.api.app import create_app
from caryatid.config import Settings
from caryatid.control import initial
from caryatid.control.attempt import Attempt
from caryatid.control.door import Door
from caryatid.control.reconcile import attend
from caryatid.drivers.noop import WORLD
from caryatid.store import work
from caryatid.store.database import Database
from caryatid.store.wake import Wakeups
from tests.doors import open_door

SUBNET = initial.SUBNET_ID
LBAAS = "/v2/lbaas"


@dataclass
class Api:
    """What tests talk to: an HTTP client of the application, and its worker's work on demand."""

    door: Door
    wakeups: Wakeups
    runner: asyncio.Runner
    client: httpx2.AsyncClient
    app: object

    def request(self, method, path, **kwargs):
        return self.runner.run(self.client.request(method, path, **kwargs))

    def get(self, path, **kwargs):
        return self.request("GET", path, **kwargs)

    def post(self, path, **kwargs):
        return self.request("POST", path, **kwargs)

    def put(self, path, **kwargs):
        return self.request("PUT", path, **kwargs)

    def delete(self, path, **kwargs):
        return self.request("DELETE", path, **kwargs)

    def create(self, path, wrapper, /, **body):
        answer = self.post(f"{LBAAS}{path}", json={wrapper: body})
        assert answer.status_code == 201, answer.text
        return answer.json()[wrapper]

    def loadbalancer(self, **body):
        return self.create("/loadbalancers", "loadbalancer", **{"vip_subnet_id": SUBNET, **body})

    def populated(self):
        """A load balancer with one of everything; ids by the names that paths give them."""
        check = {"type": "HTTP", "delay": 5, "timeout": 5, "max_retries": 2}
        member = {"address": "10.0.0.1", "protocol_port": 80}
        rule = {"type": "PATH", "compare_type": "EQUAL_TO", "value": "/x"}
        policy = {"action": "REJECT", "rules": [rule]}
        pool = {"name": "p", "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN", "members": [member]}
        pool["healthmonitor"] = check
        listener = {"protocol": "HTTP", "protocol_port": 8080, "default_pool": pool, "l7policies": [policy]}
        listener["rate_limit_policies"] = [{"action": "DENY", "rules": [{"metric": "REQUESTS", "threshold": 100}]}]
        made = self.loadbalancer(name="whole", listeners=[listener])
        policies = made["listeners"][0]["l7policies"]
        return {
            "loadbalancers": made["id"],
            "listeners": made["listeners"][0]["id"],
            "pools": made["pools"][0]["id"],
            "members": made["pools"][0]["members"][0]["id"],
            "healthmonitors": made["pools"][0]["healthmonitor"]["id"],
            "l7policies": policies[0]["id"],
            "rules": policies[0]["rules"][0]["id"],
            "ratelimitpolicies": made["listeners"][0]["rate_limit_policies"][0]["id"],
            "limits": made["listeners"][0]["rate_limit_policies"][0]["rules"][0]["id"],
        }

    def settle(self, turns_max=200):
        """All that was asked for is in effect."""
        for _ in range(turns_max):
            claim = work.claim(self.door.database, "test")
            if claim is None:
                return
            attend(self.door, Attempt(claim))
        raise AssertionError("the work does not end")


def settings(folder, **more):
    noop = {"amphora_driver": "noop", "compute_driver": "noop", "network_driver": "noop"}
    return Settings(state_dir=folder, **noop, **more)


def open_api(url, chosen):
    WORLD.forget()
    database = Database(url)
    door = open_door(database, chosen)
    initial.ensure(door)
    wakeups = Wakeups(database)
    wakeups.start()
    with asyncio.Runner() as runner:
        app = create_app(door, wakeups)
        transport = httpx2.ASGITransport(app)
        client = httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1:9876")
        yield Api(door, wakeups, runner, client, app)
        runner.run(client.aclose())
    wakeups.close()
    database.close()
    WORLD.forget()


@pytest.fixture
def api(tmp_path, sqlite):
    """On SQLite."""
    shutil.copy(sqlite, tmp_path / "caryatid.db")
    yield from open_api(f"sqlite:///{tmp_path}/caryatid.db", settings(tmp_path))


@pytest.fixture
def small_api(tmp_path, sqlite):
    """The same with limits that a test can reach."""
    shutil.copy(sqlite, tmp_path / "caryatid.db")
    chosen = settings(
        tmp_path,
        api_base_uri="https://lb.example/lb/",
        body_size_max=2000,
        nested_objects_max=5,
        members_max=3,
        quota_pool=1,
        pagination_max_limit=3,
    )
    yield from open_api(f"sqlite:///{tmp_path}/caryatid.db", chosen)


@pytest.fixture
def any_api(tmp_path, database_url):
    """On each database."""
    yield from open_api(database_url, settings(tmp_path))
