# SPDX-License-Identifier: Apache-2.0
"""What tests share: the option that rewrites golden files, trees grown from short documents, and real databases.

The databases are SQLite, and a PostgreSQL of the session's own; its absence is a failure.
"""

import os
import pwd
import select
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4, uuid5

import psycopg
import pytest
from hypothesis import settings

from caryatid.model import (
    HEALTHMONITOR,
    L7POLICY,
    L7RULE,
    LISTENER,
    LOADBALANCER,
    MEMBER,
    POOL,
    RATELIMITPOLICY,
    RATELIMITRULE,
)
from caryatid.model.kind import Kind
from caryatid.model.tree import Rows, Tree, link
from caryatid.store import migrate
from caryatid.store.database import Database
from tests.cloud import Cloud, running

settings.register_profile("same", derandomize=True)
if os.environ.get("CI"):  # a change is judged by what it changes; everywhere else new examples are drawn
    settings.load_profile("same")

SEED = UUID("5f6f1f3c-0d5b-4b0e-9a54-2f4b5c1d7e90")
PROJECT = "3d1e5a0c9b7f4f6e8a2c4d6e8f0a1b2c"
SUBNET = str(uuid5(SEED, "subnet"))
Document = Mapping[str, Any]
DATABASES = ("sqlite", "postgresql")
START_S = 30
FAST = ("fsync=off", "full_page_writes=off", "synchronous_commit=off", "shared_buffers=32MB", "max_connections=200")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="rewrite the golden files with what is rendered now")


def key(*names: object) -> str:
    """The id that a tree grown here gives to the object of that name."""
    return str(uuid5(SEED, "/".join(map(str, names))))


class _Grower:
    """Grows a tree from a document whose objects are called by name; every row passes the model's validation."""

    def __init__(self) -> None:
        self.rows: dict[str, list[Any]] = {name: [] for name in ("listeners", "pools", "members", "healthmonitors")}
        self.rows |= {"l7policies": [], "l7rules": [], "rate_limit_policies": [], "rate_limit_rules": []}
        self.count = 0

    def tree(self, document: Document) -> Tree:
        wanted = {"vip_subnet_id": SUBNET, "vip_address": "127.78.0.1", **document.get("loadbalancer", {})}
        root = self.new(LOADBALANCER, wanted, id=key("loadbalancer"))
        for pool in document.get("pools", ()):
            self.pool(pool)
        for listener in document.get("listeners", ()):
            self.listener(listener)
        return link(root, Rows(**self.rows), flavor=document.get("flavor", {}))

    def new(self, kind: Kind, wanted: Document, **given: Any) -> Any:
        self.count += 1
        created = f"2026-11-20T19:05:{self.count // 1000 % 60:02d}.{self.count % 1000 * 1000:06d}"
        return kind.new(wanted, {"project_id": PROJECT, "created_at": created, **given})

    def pool(self, document: Document) -> None:
        name = document["name"]
        wanted = {"lb_algorithm": "ROUND_ROBIN", **document, "loadbalancer_id": key("loadbalancer")}
        members, monitor = wanted.pop("members", ()), wanted.pop("healthmonitor", None)
        self.rows["pools"].append(self.new(POOL, wanted, id=key("pool", name)))
        for number, member in enumerate(members):
            given = {"id": key("member", name, member.get("name", number)), "pool_id": key("pool", name)}
            self.rows["members"].append(self.new(MEMBER, member, **given))
        if monitor is not None:
            whole = {"delay": 5, "timeout": 3, "max_retries": 2, **monitor, "pool_id": key("pool", name)}
            self.rows["healthmonitors"].append(self.new(HEALTHMONITOR, whole, id=key("healthmonitor", name)))

    def listener(self, document: Document) -> None:
        wanted = {"protocol_port": 8080, **document, "loadbalancer_id": key("loadbalancer")}
        pool, policies = wanted.pop("default_pool", None), wanted.pop("l7policies", ())
        limits = wanted.pop("rate_limits", ())
        if pool:
            wanted["default_pool_id"] = key("pool", pool)
        name = document["name"]
        self.rows["listeners"].append(self.new(LISTENER, wanted, id=key("listener", name)))
        for number, policy in enumerate(policies, 1):
            self.policy(name, {"name": str(number), "position": number, **policy})
        for number, limit in enumerate(limits, 1):
            self.limit(name, {"name": str(number), **limit})

    def policy(self, listener: str, document: Document) -> None:
        name, wanted = document["name"], {**document, "listener_id": key("listener", listener)}
        pool, rules = wanted.pop("redirect_pool", None), wanted.pop("rules", ())
        if pool:
            wanted["redirect_pool_id"] = key("pool", pool)
        self.rows["l7policies"].append(self.new(L7POLICY, wanted, id=key("l7policy", listener, name)))
        for number, rule in enumerate(rules):
            given = {"id": key("l7rule", listener, name, number), "l7policy_id": key("l7policy", listener, name)}
            self.rows["l7rules"].append(self.new(L7RULE, rule, **given))

    def limit(self, listener: str, document: Document) -> None:
        name, wanted = document["name"], {**document, "listener_id": key("listener", listener)}
        rules, policy_id = wanted.pop("rules", ()), key("ratelimitpolicy", listener, name)
        self.rows["rate_limit_policies"].append(self.new(RATELIMITPOLICY, wanted, id=policy_id))
        for number, rule in enumerate(rules):
            given = {"id": key("ratelimitrule", listener, name, number), "ratelimitpolicy_id": policy_id}
            self.rows["rate_limit_rules"].append(self.new(RATELIMITRULE, rule, **given))


@pytest.fixture(scope="session")
def grow() -> Callable[[Document], Tree]:
    """A tree out of a short document (`{loadbalancer: {…}, listeners: […], pools: […]}`), pools called by name."""
    return lambda document: _Grower().tree(document)


@pytest.fixture(scope="session")
def id_of() -> Callable[..., str]:
    """The id that `grow` gives: `id_of("member", "pool's name", 0)`."""
    return key


@pytest.fixture(scope="session")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """A real Keystone. Whoever makes something there gives it a name that others do not use."""
    with running("keystone", tmp_path_factory.mktemp("cloud") / "keystone") as server:
        yield Cloud(server)


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """URL of a PostgreSQL server without the name of a database; `template` in it is migrated."""
    with tempfile.TemporaryDirectory(prefix="cp", dir="/tmp") as folder:
        as_user = _as_user(Path(folder))
        data = Path(folder) / "data"
        arguments = ["-D", data, "--username=postgres", "--auth=trust", "--no-sync", "--locale=C", "--encoding=UTF8"]
        _run([*as_user, _binary("initdb"), *arguments])
        settings = (*FAST, "listen_addresses=", f"unix_socket_directories={folder}")
        options = [option for setting in settings for option in ("-c", setting)]
        with (Path(folder) / "log").open("wb") as log:
            server = subprocess.Popen([*as_user, _binary("postgres"), "-D", data, *options], stdout=log, stderr=log)
        try:
            _wait(Path(folder), server)
            url = f"postgresql://postgres@/{{}}?host={folder}"
            _create(folder, "template", "template0")
            migrate.upgrade(url.format("template"))
            yield url
        finally:
            server.send_signal(signal.SIGINT)  # at once, whoever is connected
            server.wait(START_S)


@pytest.fixture(scope="session")
def sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file, to be copied."""
    path = tmp_path_factory.mktemp("sqlite") / "template.db"
    migrate.upgrade(f"sqlite:///{path}")
    return path


@pytest.fixture(params=DATABASES)
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """URL of a migrated database of the test's own, of each sort."""
    if request.param == "sqlite":
        shutil.copy(request.getfixturevalue("sqlite"), tmp_path / "caryatid.db")
        return f"sqlite:///{tmp_path}/caryatid.db"
    url: str = request.getfixturevalue("postgresql")
    return url.format(_new_database(url, "template"))


@pytest.fixture
def new_database(postgresql: str) -> Callable[[], str]:
    """Makes migrated databases on PostgreSQL; their URLs."""
    return lambda: postgresql.format(_new_database(postgresql, "template"))


@pytest.fixture(params=DATABASES)
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """URL of a database of the test's own that has no tables yet, of each sort."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/state/caryatid.db"
    url: str = request.getfixturevalue("postgresql")
    return url.format(_new_database(url, "template0"))


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    opened = Database(database_url)
    yield opened
    opened.close()


def _new_database(url: str, template: str) -> str:
    """A database of its own on the server; its name."""
    name = f"t{uuid4().hex[:12]}"
    _create(url.partition("?host=")[2], name, template)
    return name


def _create(folder: str, name: str, template: str) -> None:
    with psycopg.connect(f"host={folder} user=postgres dbname=postgres", autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}" STRATEGY FILE_COPY')


def _binary(name: str) -> str:
    installed = [shutil.which(name), *sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))]
    found = next(filter(None, installed), None)
    assert found, f"PostgreSQL is not installed: no {name}"
    return str(Path(found).resolve())


def _as_user(folder: Path) -> list[str]:
    """How to run as somebody else, where we are root: PostgreSQL refuses to."""
    if os.getuid() != 0:
        return []
    nobody = pwd.getpwnam("nobody")
    os.chown(folder, nobody.pw_uid, nobody.pw_gid)
    return ["setpriv", f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}", "--clear-groups"]


def _run(command: list[object]) -> None:
    command = [str(part) for part in command]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=START_S * 2)
    assert done.returncode == 0, done.stderr


def _wait(folder: Path, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and server.poll() is None:
        with suppress(psycopg.OperationalError), psycopg.connect(f"host={folder} user=postgres dbname=postgres"):
            return
        select.select([], [], [], 0.05)
    pytest.fail(f"PostgreSQL does not start: {(folder / 'log').read_text(errors='replace')}")
