# SPDX-License-Identifier: Apache-2.0
"""Changes at random, and a model of what of them was accepted: what a 2xx promised, nothing more.

An answer that never came leaves two possibilities; which of them it is, is read when everything has settled.
"""

import contextlib
import itertools
import random
import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import httpx2

from bench.backends import Server
from bench.installation import Installation

ACCEPTED = {200, 201, 202, 204}
PAUSE_S = 0.03
TRIES_AGAIN_S = 0.1
MEMBERS_MAX = 10
LISTENERS_MAX = 5
EXTRAS_MAX = 2
ANCHOR_PORT = 8080
FLICKER_PORT = 8081


@dataclass
class Thing:
    """A resource as it was accepted. `maybe`: changes of which nobody knows whether they were."""

    kind: str
    path: str
    id: str
    wanted: dict[str, Any]
    anchor: bool = False
    """It is never changed: traffic and statuses are measured on it."""
    maybe: list[dict[str, Any]] = field(default_factory=list)
    maybe_deleted: bool = False
    unsure_name: str = ""
    """It may have been made; its id is not known."""

    @property
    def where(self) -> str:
        return f"{self.path}/{self.id}"


@dataclass
class Root:
    """A load balancer and what is below it."""

    id: str
    address: str
    listeners: dict[str, Thing] = field(default_factory=dict)
    members: dict[str, Thing] = field(default_factory=dict)
    unsure: list[Thing] = field(default_factory=list)
    steady_pool: str = ""
    flicker_pool: str = ""
    anchor: str = ""


class Wishes:
    """The thread that asks for changes. `hold` and `go` bracket a time in which nothing is asked for."""

    def __init__(self, made: Installation, roots: list[Root], servers: list[Server], seed: int) -> None:
        self.made = made
        self.roots = roots
        self.extras: dict[str, Thing] = {}
        self.unsure_extras: list[Thing] = []
        self.servers = servers
        self.outcomes: Counter[str] = Counter()
        self.findings: list[str] = []
        self._random = random.Random(seed)
        self._numbers = itertools.count()
        self._subnet_id = made.subnet_id()
        self._client = httpx2.Client(base_url=made.url, timeout=15)
        self._stop = threading.Event()
        self._free = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="wishes", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(30)
        self._client.close()

    def hold(self) -> None:
        self._free.acquire()

    def go(self) -> None:
        self._free.release()

    @property
    def accepted(self) -> int:
        return sum(count for what, count in self.outcomes.items() if what.endswith(" accepted"))

    def _run(self) -> None:
        while not self._stop.wait(PAUSE_S):
            with self._free:
                try:
                    self._change()
                except Exception as error:  # noqa: BLE001  a fault of ours shall not look like silence
                    self.findings.append(f"the changer itself: {error!r}")

    def _change(self) -> None:
        root = self._random.choice(self.roots)
        acts = [
            (5, self._add_member),
            (8, self._change_member),
            (4, self._delete_member),
            (2, self._add_listener),
            (3, self._change_listener),
            (2, self._delete_listener),
            (1, self._add_extra),
            (1, self._delete_extra),
        ]
        act = self._random.choices([act for _, act in acts], [weight for weight, _ in acts])[0]
        act(root)

    # -- members

    def _add_member(self, root: Root) -> None:
        if len(root.members) + len(root.unsure) >= MEMBERS_MAX:
            return
        taken = {thing.wanted["protocol_port"] for thing in (*root.members.values(), *root.unsure)}
        wanted = {
            "name": f"member-{next(self._numbers)}",
            "address": "127.0.0.1",
            "protocol_port": self._random.choice([server.port for server in self.servers if server.port not in taken]),
            "weight": self._random.randint(0, 10),
            "admin_state_up": self._random.random() < 0.8,
        }
        path = f"pools/{root.steady_pool}/members"
        self._create(root, root.members, Thing("member", path, "", wanted))

    def _change_member(self, root: Root) -> None:
        if thing := self._any(root.members):
            change: dict[str, Any] = {"weight": self._random.randint(0, 10)}
            if self._random.random() < 0.4:
                change = {"admin_state_up": not thing.wanted["admin_state_up"]}
            self._update(thing, change)

    def _delete_member(self, root: Root) -> None:
        self._delete(root.members)

    # -- listeners

    def _add_listener(self, root: Root) -> None:
        taken = {
            thing.wanted["protocol_port"]
            for thing in (*root.listeners.values(), *root.unsure)
            if thing.kind == "listener"
        }
        if len(taken) >= LISTENERS_MAX:
            return
        port = self._random.choice([port for port in range(8082, 8100) if port not in taken])
        wanted = {
            "name": f"listener-{next(self._numbers)}",
            "protocol": "HTTP",
            "protocol_port": port,
            "loadbalancer_id": root.id,
            "default_pool_id": root.steady_pool,
            "admin_state_up": self._random.random() < 0.8,
            "connection_limit": 1000,
        }
        self._create(root, root.listeners, Thing("listener", "listeners", "", wanted))

    def _change_listener(self, root: Root) -> None:
        if thing := self._any(root.listeners):
            change: dict[str, Any] = {"connection_limit": self._random.randint(100, 2000)}
            if self._random.random() < 0.4:
                change = {"admin_state_up": not thing.wanted["admin_state_up"]}
            self._update(thing, change)

    def _delete_listener(self, root: Root) -> None:
        self._delete(root.listeners)

    # -- whole load balancers, which come and go

    def _add_extra(self, _: Root) -> None:
        if len(self.extras) + len(self.unsure_extras) >= EXTRAS_MAX:
            return
        name = f"extra-{next(self._numbers)}"
        wanted = {"name": name, "vip_subnet_id": self._subnet_id}
        listener = {
            "name": "web",
            "protocol": "HTTP",
            "protocol_port": ANCHOR_PORT,
            "default_pool": {
                "name": "app",
                "protocol": "HTTP",
                "lb_algorithm": "ROUND_ROBIN",
                "members": [{"address": "127.0.0.1", "protocol_port": self.servers[0].port}],
            },
        }
        thing = Thing("loadbalancer", "loadbalancers", "", wanted, unsure_name=name)
        status, answer = self._send(
            "create loadbalancer", "POST", thing.path, {"loadbalancer": {**wanted, "listeners": [listener]}}
        )
        if status is None:
            self.unsure_extras.append(thing)
        elif answer:
            thing.id, thing.unsure_name = answer["id"], ""
            thing.wanted["vip_address"] = answer["vip_address"]
            self.extras[thing.id] = thing

    def _delete_extra(self, _: Root) -> None:
        if thing := self._any(self.extras):
            status, _answer = self._send("delete loadbalancer", "DELETE", f"{thing.where}?cascade=true", None)
            if status is None:
                thing.maybe_deleted = True
            elif status in ACCEPTED:
                del self.extras[thing.id]

    # -- asking, and remembering what was promised

    def _any(self, things: dict[str, Thing]) -> Thing | None:
        sure = [thing for thing in things.values() if not thing.anchor and not thing.maybe_deleted]
        return self._random.choice(sure) if sure else None

    def _create(self, root: Root, things: dict[str, Thing], thing: Thing) -> None:
        status, answer = self._send(f"create {thing.kind}", "POST", thing.path, {thing.kind: thing.wanted})
        if status is None:
            thing.unsure_name = thing.wanted["name"]
            root.unsure.append(thing)
        elif answer:
            thing.id = answer["id"]
            things[thing.id] = thing

    def _update(self, thing: Thing, change: dict[str, Any]) -> None:
        status, _ = self._send(f"update {thing.kind}", "PUT", thing.where, {thing.kind: change})
        if status is None:
            thing.maybe.append(change)
        elif status in ACCEPTED:
            thing.wanted |= change
            for earlier in thing.maybe:  # what came after it is known
                for name in change:
                    earlier.pop(name, None)

    def _delete(self, things: dict[str, Thing]) -> None:
        if thing := self._any(things):
            status, _ = self._send(f"delete {thing.kind}", "DELETE", thing.where, None)
            if status is None:
                thing.maybe_deleted = True
            elif status in ACCEPTED:
                del things[thing.id]

    def _send(self, what: str, verb: str, path: str, body: Any) -> tuple[int | None, dict[str, Any]]:
        """Status, or None when nobody knows; 0 when nobody heard it. The resource, if the answer shows one."""
        try:
            answer = self._client.request(verb, f"/v2/lbaas/{path}", json=body)
        except httpx2.ConnectError:
            self.outcomes[f"{what} not heard"] += 1
            self._stop.wait(TRIES_AGAIN_S)
            return 0, {}
        except httpx2.HTTPError:
            self.outcomes[f"{what} without an answer"] += 1
            return None, {}
        if answer.status_code in ACCEPTED:
            self.outcomes[f"{what} accepted"] += 1
            return answer.status_code, next(iter(answer.json().values())) if answer.content else {}
        self.outcomes[f"{what} {answer.status_code}"] += 1
        if answer.status_code != 503:
            self.findings.append(f"{what} {path}: {answer.status_code} {answer.text[:300]}")
        return None if answer.status_code >= 500 else answer.status_code, {}


def prepare(made: Installation, count: int, servers: list[Server], flickering: list[Server]) -> list[Root]:
    """Load balancers with an anchor: a listener, a pool and two members that are never changed, for traffic; and a
    second listener whose members are checked, and come and go by themselves."""
    roots = []
    for number in range(count):
        body = _root(made.subnet_id(), number, servers[:2], [*flickering, servers[2]])
        asked = made.post("loadbalancers", {"loadbalancer": body})
        made.active(f"loadbalancers/{asked['id']}")
        roots.append(_read(made, asked["id"]))
    return roots


def _root(subnet_id: str, number: int, steady: list[Server], checked: list[Server]) -> dict[str, Any]:
    def pool(name: str, servers: list[Server], **more: Any) -> dict[str, Any]:
        members = [{"name": server.name, "address": "127.0.0.1", "protocol_port": server.port} for server in servers]
        return {"name": name, "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN", "members": members, **more}

    monitor = {"type": "TCP", "delay": 1, "timeout": 1, "max_retries": 1, "max_retries_down": 1}
    ports = ((ANCHOR_PORT, pool("steady", steady)), (FLICKER_PORT, pool("flicker", checked, healthmonitor=monitor)))
    listeners = [{"name": p["name"], "protocol": "HTTP", "protocol_port": port, "default_pool": p} for port, p in ports]
    return {"name": f"soak-{number}", "vip_subnet_id": subnet_id, "listeners": listeners}


def _read(made: Installation, key: str) -> Root:
    shown = made.show(f"loadbalancers/{key}")
    root = Root(key, shown["vip_address"])
    for one in shown["pools"]:
        name = made.show(f"pools/{one['id']}")["name"]
        setattr(root, f"{name}_pool", one["id"])
        for member in made.get(f"/v2/lbaas/pools/{one['id']}/members"):
            if name == "steady":
                path = f"pools/{one['id']}/members"
                root.members[member["id"]] = Thing("member", path, member["id"], _known("member", member), anchor=True)
    for one in shown["listeners"]:
        listener = made.show(f"listeners/{one['id']}")
        known = _known("listener", listener)
        root.listeners[one["id"]] = Thing("listener", "listeners", one["id"], known, anchor=True)
        if listener["protocol_port"] == ANCHOR_PORT:
            root.anchor = one["id"]
    return root


def _known(kind: str, shown: dict[str, Any]) -> dict[str, Any]:
    names = {
        "member": ("name", "address", "protocol_port", "weight", "admin_state_up"),
        "listener": ("name", "protocol_port", "default_pool_id", "admin_state_up", "connection_limit"),
    }[kind]
    return {name: shown[name] for name in names}


@contextlib.contextmanager
def held(wishes: Wishes) -> Any:
    wishes.hold()
    try:
        yield
    finally:
        wishes.go()
