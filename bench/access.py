# SPDX-License-Identifier: Apache-2.0
"""What it costs to know who asks, and whether they may: CPU of the API's process."""

import asyncio
import tempfile
import time
from base64 import b64encode
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

from bench.figures import Figure, median, spread
from bench.installation import Installation, installation
from bench.waiting import cpu_s
from caryatid.api.auth import Gate
from caryatid.config import Settings
from caryatid.control import bootstrap, initial
from caryatid.control.accounts import Accounts
from caryatid.drivers.identity.local import LocalDriver
from caryatid.model.policy import Caller, allowed
from caryatid.places import ADMIN_TOKEN
from caryatid.store import access, migrate
from caryatid.store.database import Database
from caryatid.store.wake import Wakeups
from tests.doors import open_door

RULE = "os_load-balancer_api:loadbalancer:get_one"
ROUNDS = 9
Headers = dict[bytes, bytes]


def run(*, quick: bool) -> Iterator[Figure]:
    yield from _by_itself(quick=quick)
    yield from _of_a_request(200 if quick else 1000)


def _by_itself(*, quick: bool) -> Iterator[Figure]:
    with tempfile.TemporaryDirectory(prefix="cb", dir="/tmp") as folder:
        noop = {"amphora_driver": "noop", "compute_driver": "noop", "network_driver": "noop"}
        settings = Settings(state_dir=Path(folder), identity_driver="local", **noop)
        migrate.upgrade(settings.database_url)
        database = Database(settings.database_url)
        driver = LocalDriver(Accounts(database))
        door = open_door(database, settings, identity=driver)
        initial.ensure(door)
        bootstrap.ensure(database, settings)
        _give_password(database)
        token = (settings.state_dir / ADMIN_TOKEN).read_text().strip().encode()
        basic = b"Basic " + b64encode(b"admin:long enough")
        wakeups = Wakeups(database)
        wakeups.start()
        gate = Gate(door, wakeups)
        known, many = {b"x-auth-token": token}, 2000 if quick else 20000
        with asyncio.Runner() as runner:

            def cost(name: str, headers: Headers, count: int, limit: float | None, *, afresh: bool) -> Figure:
                return _figure(name, lambda: runner.run(_asked(gate, headers, count, afresh=afresh)), limit)

            yield cost("who asks, known", known, many, 100, afresh=False)
            yield cost("who asks, by a token that is looked up", known, many // 20, None, afresh=True)
            yield cost("who asks, by a password that is looked at", {b"authorization": basic}, 20, None, afresh=True)
        caller = Caller("u", "p", frozenset({"reader"}))
        yield _figure("may a reader see it", lambda: _judged(caller, many), None)
        wakeups.close()
        database.close()


def _give_password(database: Database) -> None:
    from caryatid.drivers.identity.passwords import hashed

    with database.transaction() as tx:
        user_id = access.named(tx, "user", "admin")
        access.write_password(tx, user_id or "", hashed("long enough"))


async def _asked(gate: Gate, headers: Headers, count: int, *, afresh: bool) -> float:
    """Microseconds of CPU for each time."""
    scope = {"client": ("127.0.0.1", 40000)}

    def ask() -> Awaitable[Caller]:
        return gate.caller(scope, headers, "req-1")

    await ask()
    began = time.process_time()
    for _ in range(count):
        if afresh:
            gate._forget()  # noqa: SLF001  as a change of access does
        await ask()
    return (time.process_time() - began) / count * 1e6


def _judged(caller: Caller, count: int) -> float:
    began = time.process_time()
    for _ in range(count):
        allowed(caller, RULE, "p")
    return (time.process_time() - began) / count * 1e6


def _figure(name: str, measure: Callable[[], float], limit: float | None) -> Figure:
    values = [measure() for _ in range(ROUNDS)]
    return Figure(name, median(values), "µs", limit, note=spread(values, "µs"))


def _of_a_request(count: int) -> Iterator[Figure]:
    """The same request of two installations, turn by turn: one knows its users, the other believes everybody."""
    with ExitStack() as stack:
        quiet = {"CARYATID_LOG_LEVEL": "warning", "CARYATID_METRICS_LISTEN": ""}
        made = {
            driver: stack.enter_context(installation(noop=True, **quiet, CARYATID_IDENTITY_DRIVER=driver))
            for driver in ("local", "noauth")
        }
        made["local"].api.headers["X-Auth-Token"] = (made["local"].directory / ADMIN_TOKEN).read_text().strip()
        costs: dict[str, list[float]] = {name: [] for name in made}
        for _ in range(ROUNDS):
            for name, one in made.items():
                costs[name].append(_request(one, count))
        differences = [local - open_ for local, open_ in zip(costs["local"], costs["noauth"], strict=True)]
        note = f"of {median(costs['local']):.0f} µs; {spread(differences, 'µs')}"
        yield Figure("access control's share of GET list limit=20", median(differences), "µs", 100, note=note)


def _request(made: Installation, count: int) -> float:
    """Microseconds of CPU of the API's process for each request."""
    path = "/v2/lbaas/loadbalancers?limit=20"
    made.api.get(path).raise_for_status()
    pid = made.services()["api"]
    before = cpu_s(pid)
    for _ in range(count):
        made.api.get(path)
    return (cpu_s(pid) - before) / count * 1e6
