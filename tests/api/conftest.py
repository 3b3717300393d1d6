# SPDX-License-Identifier: Apache-2.0
"""The real application over the real store and control, with the noop world behind it; spoken to without sockets."""

import asyncio
import base64
import shutil
import time
from dataclasses import dataclass

import httpx2
import pytest

from caryatid.api.app import create_app
from caryatid.api.news import News
from caryatid.config import Settings
from caryatid.control import bootstrap, initial
from caryatid.control.accounts import Accounts
from caryatid.control.attempt import Attempt
from caryatid.control.door import Door
from caryatid.control.reconcile import attend
from caryatid.drivers.identity.local import LocalDriver
from caryatid.drivers.noop import WORLD
from caryatid.places import ADMIN_TOKEN
from caryatid.store import work
from caryatid.store.database import Database
from caryatid.store.wake import Wakeups
from tests.doors import open_door

SUBNET = initial.SUBNET_ID
LBAAS = "/v2/lbaas"
END_S = 10


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


class People:
    """An API that knows its users, and the token of its first administrator."""

    def __init__(self, api, token):
        self.api = api
        self.token = token
        self.admin = {"X-Auth-Token": token}

    def ask(self, method, path, who=None, **words):
        """`who`: headers that say who asks; without them the first administrator does."""
        headers = {**(self.admin if who is None else who), **words.pop("headers", {})}
        return self.api.request(method, path, headers=headers, **words)

    def made(self, path, who=None, **body):
        answer = self.ask("POST", f"/v1/access/{path}", who, json=body)
        assert answer.status_code == 201, answer.text
        return next(iter(answer.json().values()))

    def project(self, name):
        return self.made("projects", project={"name": name})["id"]

    def user(self, name, roles=None, password=None):
        """A user with roles by project; its id."""
        user = {"name": name, **({"password": password} if password else {})}
        user_id = self.made("users", user=user)["id"]
        for project_id, words in (roles or {}).items():
            for word in words:
                self.made("roles", role={"user_id": user_id, "project_id": project_id, "role": word})
        return user_id

    def headers(self, user_id, project_id, **more):
        """What a program shows that asks in the user's name, by a token of its own."""
        token = {"user_id": user_id, "project_id": project_id, **more}
        return {"X-Auth-Token": self.made("tokens", token=token)["secret"]}

    def until(self, status, method, path, who):
        """The answer is this, soon: other threads and processes hear of a change when it is committed."""
        deadline = time.monotonic() + 10
        while (answer := self.ask(method, path, who)).status_code != status:
            assert time.monotonic() < deadline, answer.text
        return answer


def basic(name, password):
    return {"Authorization": "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()}


def settings(folder, **more):
    noop = {"amphora_driver": "noop", "compute_driver": "noop", "network_driver": "noop"}
    return Settings(state_dir=folder, **noop, **more)


async def end(news):
    """Nobody waits any longer, and nothing reads the database."""
    news.close()
    left = asyncio.all_tasks() - {asyncio.current_task()}
    assert not left or not (await asyncio.wait(left, timeout=END_S))[1], "something does not end"


def open_api(url, chosen, identity=None):
    """`identity`: makes the identity driver out of the database."""
    WORLD.forget()
    database = Database(url)
    door = open_door(database, chosen, identity=identity and identity(database))
    initial.ensure(door)
    wakeups = Wakeups(database)
    wakeups.start()
    news = News(wakeups)
    with asyncio.Runner() as runner:
        app = create_app(door, wakeups, news)
        transport = httpx2.ASGITransport(app)
        client = httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1:9876")
        yield Api(door, wakeups, runner, client, app)
        runner.run(client.aclose())
        runner.run(end(news))
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
def guarded(tmp_path, sqlite):
    """With users of its own: whoever asks needs a token, or a name and a password."""
    shutil.copy(sqlite, tmp_path / "caryatid.db")
    yield from open_guarded(f"sqlite:///{tmp_path}/caryatid.db", settings(tmp_path, identity_driver="local"))


@pytest.fixture
def any_guarded(tmp_path, database_url):
    """The same on each database."""
    yield from open_guarded(database_url, settings(tmp_path, identity_driver="local"))


def open_guarded(url, chosen):
    for made in open_api(url, chosen, lambda database: LocalDriver(Accounts(database))):
        bootstrap.ensure(made.door.database, chosen)
        yield People(made, (chosen.state_dir / ADMIN_TOKEN).read_text().strip())


@pytest.fixture
def any_api(tmp_path, database_url):
    """On each database."""
    yield from open_api(database_url, settings(tmp_path))
