# SPDX-License-Identifier: Apache-2.0
"""Rows grown for tests, written as the door for wishes writes them."""

import itertools
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest

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
from caryatid.store import rows, work
from caryatid.store.database import Database, Tx

PROJECT = "p1"
BODIES: dict[str, dict[str, Any]] = {
    "loadbalancer": {"vip_subnet_id": "5f6f1f3c-0d5b-4b0e-9a54-2f4b5c1d7e90"},
    "listener": {"protocol": "HTTP", "protocol_port": 80},
    "pool": {"protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN"},
    "member": {"address": "192.0.2.1", "protocol_port": 80},
    "healthmonitor": {"type": "TCP", "delay": 5, "timeout": 3, "max_retries": 2},
    "l7policy": {"action": "REJECT"},
    "l7rule": {"type": "PATH", "compare_type": "STARTS_WITH", "value": "/"},
    "ratelimitpolicy": {"action": "DENY"},
    "ratelimitrule": {"metric": "REQUESTS", "threshold": 10},
}


def moment(number: int) -> str:
    return f"2026-11-20T19:{number // 60 % 60:02d}:{number % 60:02d}.{number % 1_000_000:06d}"


class Garden:
    """Grows rows, one after the other, each a moment younger than the one before."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.ages = itertools.count(1)

    def row(self, kind: Kind, **body: Any) -> Any:
        at = moment(next(self.ages))
        given = {"id": str(uuid4()), "created_at": at, "updated_at": at}
        given["project_id"] = body.pop("project_id", PROJECT)
        if kind.parent:
            given[kind.parent] = body.pop(kind.parent)
        return kind.new({**BODIES[kind.name], **body}, given)

    def root(self, **body: Any) -> str:
        row = self.row(LOADBALANCER, **body)
        with self.database.transaction() as tx:
            rows.insert(tx, LOADBALANCER, [row], root_id=row.id, generation=rows.FIRST)
            work.begin(tx, row.id)
        return str(row.id)

    def add(self, kind: Kind, root_id: str, **body: Any) -> str:
        """A new row below the root, in a generation of its own."""
        if "loadbalancer_id" in kind.attributes:
            body["loadbalancer_id"] = root_id
        row = self.row(kind, **body)
        with self.database.transaction() as tx:
            rows.lock_root(tx, root_id)
            rows.insert(tx, kind, [row], root_id=root_id, generation=work.ask(tx, root_id))
        return str(row.id)

    def change(self, kind: Kind, root_id: str, key: str, **values: Any) -> int:
        """The row is changed in a generation of its own, which is returned."""
        with self.database.transaction() as tx:
            rows.lock_root(tx, root_id)
            row = kind.change(rows.get(tx, kind, key), values)
            generation = work.ask(tx, root_id)
            rows.change(tx, kind, row, generation=generation, at=moment(next(self.ages)))
            return generation

    def delete(self, kind: Kind, root_id: str, *ids: str) -> int:
        with self.database.transaction() as tx:
            rows.lock_root(tx, root_id)
            generation = work.ask(tx, root_id)
            rows.delete(tx, kind, ids, generation=generation)
            return generation

    def touch(self, kind: Kind, root_id: str, *ids: str) -> int:
        with self.database.transaction() as tx:
            rows.lock_root(tx, root_id)
            generation = work.ask(tx, root_id)
            rows.touch(tx, kind, ids, generation, at=moment(next(self.ages)))
            return generation

    def settle(self, outcome: Callable[[int], Any] | Any, **options: Any) -> work.Claim:
        """What is due is claimed and settled; a function is given the root's generation."""
        held = self.claim()
        with self.database.transaction() as tx:
            state = rows.lock_root(tx, held.root_id)
            made = outcome(state.generation) if callable(outcome) else outcome
            work.settle(tx, held, made, **options)
        return held

    def claim(self) -> work.Claim:
        held = work.claim(self.database, "test")
        assert held is not None, "nothing is due"
        return held

    def get(self, kind: Kind, key: str) -> Any:
        with self.database.read() as tx:
            return rows.get(tx, kind, key)

    def status(self, kind: Kind, key: str) -> Any:
        document = self.get(kind, key)
        return document and document["provisioning_status"]

    def whole(self) -> dict[str, str]:
        """A load balancer with one of everything; kind → id."""
        root = self.root()
        pool = self.add(POOL, root)
        listener = self.add(LISTENER, root, default_pool_id=pool)
        policy = self.add(L7POLICY, root, listener_id=listener)
        limit = self.add(RATELIMITPOLICY, root, listener_id=listener)
        return {
            "loadbalancer": root,
            "pool": pool,
            "listener": listener,
            "l7policy": policy,
            "l7rule": self.add(L7RULE, root, l7policy_id=policy),
            "ratelimitpolicy": limit,
            "ratelimitrule": self.add(RATELIMITRULE, root, ratelimitpolicy_id=limit),
            "member": self.add(MEMBER, root, pool_id=pool),
            "healthmonitor": self.add(HEALTHMONITOR, root, pool_id=pool),
        }


@pytest.fixture
def garden(database: Database) -> Garden:
    return Garden(database)


@pytest.fixture
def tx(database: Database) -> Iterator[Tx]:
    with database.transaction() as found:
        yield found
