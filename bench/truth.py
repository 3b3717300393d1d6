# SPDX-License-Identifier: Apache-2.0
"""Whether what was accepted is so: in the API, in the HAProxies, in traffic, and in the operating statuses."""

import contextlib
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from bench import haproxy
from bench.backends import Server, ask
from bench.installation import Installation
from bench.waiting import TooLate, until
from bench.wishes import Root, Thing, Wishes

SETTLE_S = 90
STATUS_S = 5.0
STRAY_S = 15.0
"""Seconds until the housekeeper has been round: its lease, its period, its work."""
LEAVING_S = 15.0
"""Seconds until the last connection of a server that was deleted has ended, and the agent has looked again."""
PENDING = ("PENDING_CREATE", "PENDING_UPDATE", "PENDING_DELETE")
KINDS = ("loadbalancers", "listeners", "pools")


def settle(made: Installation) -> float:
    """Seconds until all processes do their work and nothing is pending. Raises TooLate, naming what is stuck."""
    began = time.monotonic()
    until(lambda: made.answers() and made.works(), "all processes are back", SETTLE_S, 0.05)
    try:
        until(lambda: not list(_pending(made)), "nothing is pending", SETTLE_S, 0.05)
    except TooLate:
        raise TooLate(f"Stuck after {SETTLE_S} s: {list(_pending(made))[:5]}") from None
    return time.monotonic() - began


def _pending(made: Installation) -> Iterator[dict[str, Any]]:
    """Whatever a list says is pending; members through their load balancer's tree."""
    for kind in KINDS:
        for word in PENDING:
            yield from made.get(f"/v2/lbaas/{kind}", provisioning_status=word, limit=5)


def lost(made: Installation, wishes: Wishes, servers: list[Server]) -> list[str]:
    """Everything that differs from what was accepted. What nobody knew is known afterwards."""
    found: list[str] = []
    for root in wishes.roots:
        found += _in_api(made, root)
        found += _in_haproxy(made, root)
        found += _in_traffic(root, {server.port: server.name for server in servers})
    return [*found, *_extras(made, wishes)]


# -- the API


def _in_api(made: Installation, root: Root) -> Iterator[str]:
    shown = made.get("/v2/lbaas/listeners", loadbalancer_id=root.id)
    yield from _compare(root, root.listeners, shown, "listener")
    yield from _compare(root, root.members, made.get(f"/v2/lbaas/pools/{root.steady_pool}/members"), "member")


def _compare(root: Root, things: dict[str, Thing], shown: list[dict[str, Any]], kind: str) -> Iterator[str]:
    there = {one["id"]: one for one in shown}
    _adopt(root, things, there, kind)
    for key, thing in list(things.items()):
        if key not in there:
            if thing.maybe_deleted:
                del things[key]
            else:
                yield f"lost: {kind} {key} ({thing.wanted['name']}) of load balancer {root.id} is not there"
            continue
        thing.maybe_deleted = False
        yield from _same(thing, there[key])
    for key in set(there) - set(things):
        yield f"{kind} {key} ({there[key]['name']}) of load balancer {root.id} was deleted, or never accepted"


def _adopt(root: Root, things: dict[str, Thing], there: dict[str, Any], kind: str) -> None:
    """What may have been made, and is there, was made."""
    for thing in [thing for thing in root.unsure if thing.kind == kind]:
        root.unsure.remove(thing)
        for key, one in there.items():
            if one["name"] == thing.unsure_name:
                thing.id = key
                things[key] = thing


def _same(thing: Thing, shown: dict[str, Any]) -> Iterator[str]:
    for name, value in thing.wanted.items():
        if name not in shown:
            continue
        possible = [value, *(change[name] for change in thing.maybe if name in change)]
        if shown[name] not in possible:
            yield f"lost: {thing.kind} {thing.id}: {name} is {shown[name]!r}; accepted was {possible}"
        thing.wanted[name] = shown[name]
    thing.maybe.clear()
    if shown["provisioning_status"] != "ACTIVE":
        yield f"{thing.kind} {thing.id} is {shown['provisioning_status']}"


# -- HAProxy


def _in_haproxy(made: Installation, root: Root) -> list[str]:
    """The same, as HAProxy has it. Pools that no enabled listener uses are not there."""
    enabled = {key for key, listener in root.listeners.items() if listener.wanted["admin_state_up"]}
    wanted = {
        (f"{root.steady_pool}:{listener}", key): (
            member.wanted["weight"],
            member.wanted["admin_state_up"],
            member.wanted["protocol_port"],
        )
        for listener in enabled
        if root.listeners[listener].wanted["default_pool_id"] == root.steady_pool
        for key, member in root.members.items()
    }
    path = haproxy.socket_of(made, root.id)
    with contextlib.suppress(TooLate):  # a server that was deleted stays, out of use, as long as it has connections
        until(
            lambda: not [key for key, state in _servers(path, root).items() if key not in wanted and not state[1]],
            "servers have gone",
            LEAVING_S,
            0.1,
        )
    seen = _servers(path, root)
    found = [
        f"HAProxy of {root.id}: server {key} is {seen.get(key)}, wanted is {wanted.get(key)}"
        for key in _differing(wanted, seen)
    ]
    listening = haproxy.frontends(path)
    if listening != enabled:
        found.append(f"HAProxy of {root.id} listens for {listening}, wanted is {enabled}")
    return found


def _servers(path: Path, root: Root) -> dict[tuple[str, str], tuple[int, bool, int]]:
    """(backend, member) → weight, whether it is in use, port; of the pool that changes."""
    return {
        (state.pool, state.member): (state.weight, state.enabled, state.port)
        for state in haproxy.server_states(path)
        if state.pool.startswith(root.steady_pool)
    }


def _differing(left: dict[Any, Any], right: dict[Any, Any]) -> Iterable[Any]:
    return [key for key in {*left, *right} if left.get(key) != right.get(key)]


def _in_traffic(root: Root, names: dict[int, str]) -> Iterator[str]:
    for key, listener in root.listeners.items():
        port = listener.wanted["protocol_port"]
        status, _, body = ask(root.address, port)
        if not listener.wanted["admin_state_up"]:
            if status:
                yield f"listener {key} is disabled and answers {status}"
        elif status != 200 or body not in names.values():
            yield f"listener {key} on {root.address}:{port} answers {status} {body!r}"


def _extras(made: Installation, wishes: Wishes) -> Iterator[str]:
    roots = {root.id for root in wishes.roots}
    there = {one["id"]: one for one in made.get("/v2/lbaas/loadbalancers") if one["id"] not in roots}
    for thing in wishes.unsure_extras:
        for key, one in there.items():
            if one["name"] == thing.unsure_name:
                thing.id, thing.wanted["vip_address"] = key, one["vip_address"]
                wishes.extras[key] = thing
    wishes.unsure_extras.clear()
    for key, thing in list(wishes.extras.items()):
        if key not in there and thing.maybe_deleted:
            del wishes.extras[key]
        elif key not in there:
            yield f"lost: load balancer {key} is not there"
        elif (status := ask(thing.wanted["vip_address"])[0]) != 200:
            yield f"load balancer {key} answers {status}"
        thing.maybe_deleted = False
    for key in set(there) - set(wishes.extras):
        yield f"load balancer {key} ({there[key]['name']}) was deleted, or never accepted"
    serving = {haproxy.amphora_of(made, key) for key in (*roots, *wishes.extras)}
    with contextlib.suppress(TooLate):  # what an agent had when it could not be reached is removed soon after
        until(lambda: not set(made.haproxies()) - serving, "strays are gone", STRAY_S, 0.1)
    for amphora_id in set(made.haproxies()) - serving:
        yield f"HAProxy of amphora {amphora_id} runs for no load balancer, {STRAY_S} s after all was settled"


# -- statuses


def statuses_true(made: Installation, roots: list[Root], servers: list[Server]) -> float:
    """Seconds until every operating status is as the world is. Raises TooLate after STATUS_S, naming what is not."""
    began = time.monotonic()
    wrong: list[str] = []

    def right() -> bool:
        wrong[:] = [said for root in roots for said in _wrong(made, root, {server.port: server for server in servers})]
        return not wrong

    try:
        until(right, "statuses are true", STATUS_S, 0.05)
    except TooLate:
        raise TooLate(f"Not true after {STATUS_S} s: {wrong[:5]}") from None
    return time.monotonic() - began


def _wrong(made: Installation, root: Root, by_port: dict[int, Server]) -> Iterator[str]:
    hurt = False
    for member in made.get(f"/v2/lbaas/pools/{root.flicker_pool}/members"):
        lives = by_port[member["protocol_port"]].alive
        hurt = hurt or not lives
        wanted = "ONLINE" if lives else "ERROR"
        if member["operating_status"] != wanted:
            yield f"member {member['id']} is {member['operating_status']}, not {wanted}"
    for member in made.get(f"/v2/lbaas/pools/{root.steady_pool}/members"):
        wanted = "NO_MONITOR" if member["admin_state_up"] else "OFFLINE"
        if member["operating_status"] not in {wanted, "DRAINING"}:
            yield f"member {member['id']} is {member['operating_status']}, not {wanted}"
    for listener in made.get("/v2/lbaas/listeners", loadbalancer_id=root.id):
        wanted = "ONLINE" if listener["admin_state_up"] else "OFFLINE"
        if listener["operating_status"] != wanted:
            yield f"listener {listener['id']} is {listener['operating_status']}, not {wanted}"
    said = made.show(f"loadbalancers/{root.id}")["operating_status"]
    if said != ("DEGRADED" if hurt else "ONLINE"):
        yield f"load balancer {root.id} is {said} although its members are {'not ' if hurt else ''}all well"
