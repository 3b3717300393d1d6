# SPDX-License-Identifier: Apache-2.0
"""What tests share: the option that rewrites golden files, and trees grown from short documents."""

from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID, uuid5

import pytest

from caryatid.model import HEALTHMONITOR, L7POLICY, L7RULE, LISTENER, LOADBALANCER, MEMBER, POOL
from caryatid.model.kind import Kind
from caryatid.model.tree import Rows, Tree, link

SEED = UUID("5f6f1f3c-0d5b-4b0e-9a54-2f4b5c1d7e90")
PROJECT = "3d1e5a0c9b7f4f6e8a2c4d6e8f0a1b2c"
SUBNET = str(uuid5(SEED, "subnet"))
Document = Mapping[str, Any]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="rewrite the golden files with what is rendered now")


def key(*names: object) -> str:
    """The id that a tree grown here gives to the object of that name."""
    return str(uuid5(SEED, "/".join(map(str, names))))


class _Grower:
    """Grows a tree from a document whose objects are called by name; every row passes the model's validation."""

    def __init__(self) -> None:
        self.rows: dict[str, list[Any]] = {name: [] for name in ("listeners", "pools", "members", "healthmonitors")}
        self.rows |= {"l7policies": [], "l7rules": []}
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
        if pool:
            wanted["default_pool_id"] = key("pool", pool)
        name = document["name"]
        self.rows["listeners"].append(self.new(LISTENER, wanted, id=key("listener", name)))
        for number, policy in enumerate(policies, 1):
            self.policy(name, {"name": str(number), "position": number, **policy})

    def policy(self, listener: str, document: Document) -> None:
        name, wanted = document["name"], {**document, "listener_id": key("listener", listener)}
        pool, rules = wanted.pop("redirect_pool", None), wanted.pop("rules", ())
        if pool:
            wanted["redirect_pool_id"] = key("pool", pool)
        self.rows["l7policies"].append(self.new(L7POLICY, wanted, id=key("l7policy", listener, name)))
        for number, rule in enumerate(rules):
            given = {"id": key("l7rule", listener, name, number), "l7policy_id": key("l7policy", listener, name)}
            self.rows["l7rules"].append(self.new(L7RULE, rule, **given))


@pytest.fixture(scope="session")
def grow() -> Callable[[Document], Tree]:
    """A tree out of a short document (`{loadbalancer: {…}, listeners: […], pools: […]}`), pools called by name."""
    return lambda document: _Grower().tree(document)


@pytest.fixture(scope="session")
def id_of() -> Callable[..., str]:
    """The id that `grow` gives: `id_of("member", "pool's name", 0)`."""
    return key
