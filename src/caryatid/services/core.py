# SPDX-License-Identifier: Apache-2.0
"""The process that does everything but answer requests and run amphorae: worker, health, housekeeping, conductor."""

import asyncio
import json
import os
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, contextmanager
from datetime import UTC, datetime
from functools import partial

from caryatid import log, metrics, tracing
from caryatid.agent.identity import Paths
from caryatid.api.checks import Checking
from caryatid.api.conductor import create_app
from caryatid.api.news import News
from caryatid.config import Settings
from caryatid.control import authority, bootstrap, initial, rotation, spares, stapling, watch
from caryatid.control.audit import Auditor
from caryatid.control.authority import Registry
from caryatid.control.census import Census
from caryatid.control.credentials import LOOK_S, Credentials
from caryatid.control.door import Door
from caryatid.control.gslb import auditing, embedded, following
from caryatid.control.gslb import bundles as of_monitors
from caryatid.control.gslb.embedded import Embedded
from caryatid.control.housekeeping import Duty, Housekeeper
from caryatid.control.vault import NoMasterKey
from caryatid.drivers import load
from caryatid.drivers.compute.base import ComputeDriver
from caryatid.services import CORE, loop, nameserver, process, wiring
from caryatid.services.agent import TOKEN
from caryatid.services.checking import OwnChecker, Watching
from caryatid.services.clusters import Clusters
from caryatid.services.engine import Engine
from caryatid.services.health import Health
from caryatid.services.judging import Judging
from caryatid.services.reporter import Reporter
from caryatid.services.webhooks import Webhooks
from caryatid.services.worker import Worker
from caryatid.store.database import Database
from caryatid.store.wake import Wakeups
from caryatid.wire.tls import listening_socket, server

SETTLE_S = 0.5


def run(
    settings: Settings, services: Sequence[str] = CORE, *, token_for_agent: bool = False, name_server: bool = False
) -> None:
    """These services run until told to stop. `token_for_agent`: an agent of this machine finds a token, if it needs
    one. `name_server`: zones find this machine's own name server as the backend `embedded`."""
    name = services[0] if len(services) == 1 else "core"
    log.configure(settings.log_level, settings.log_format, service=name)
    tracing.configure(settings.otel_endpoint, name)
    process.follow_parent()
    process.keep_memory()
    asyncio.run(_serve(settings, services, token_for_agent=token_for_agent, name_server=name_server))


async def _serve(settings: Settings, services: Sequence[str], *, token_for_agent: bool, name_server: bool) -> None:
    database = Database(settings.database_url)
    wakeups = Wakeups(database)
    wakeups.start()
    registry = _registry(settings, database)
    identity = Credentials(registry, f"controller-{os.getpid()}") if registry else None
    door = wiring.door(settings, identity.client if identity else wiring.no_tls, database)
    initial.ensure(door)
    if name_server:
        _show_name_server(door)
    bootstrap.ensure(database, settings)
    if registry and token_for_agent:
        _leave_token(registry)
    async with AsyncExitStack() as stack:
        if identity:
            stack.enter_context(_kept_current(identity))
        if "conductor" in services and registry and identity:
            conductor = await stack.enter_async_context(_Conductor(registry, identity, News(wakeups)))
            if settings.checker_embedded and "worker" in services:
                await stack.enter_async_context(OwnChecker(door, registry, conductor))
        if "health" in services and registry and identity:
            await stack.enter_async_context(_Receiver(settings, registry, door, identity))
        if "housekeeping" in services:
            for duties in _duties(door, registry, wakeups):
                await stack.enter_async_context(duties)
        if "worker" in services:
            await stack.enter_async_context(_Working(door, wakeups))
        counted = [Census(database)] if "housekeeping" in services else []
        shown = (*services, metrics.CHECKER) if settings.checker_embedded and "worker" in services else services
        process.show_metrics(settings.metrics_listen, metrics.shown(shown, *counted))
        process.ready()
        log.get().info("ready", services=list(services))
        await process.stopped()
    wakeups.close()
    database.close()


def _duties(
    door: Door, registry: Registry | None, wakeups: Wakeups
) -> Iterator[AbstractAsyncContextManager[None, None]]:
    """What the service `housekeeping` does while each of these is entered."""
    settings = door.settings
    if settings.gslb_report_to:
        yield Reporter(door.database, News(wakeups), settings.state_dir, settings.gslb_report_to.split(","))
    yield _Housekeeping(door, registry)
    yield Watching(door)
    yield Webhooks(door, wakeups)
    if registry and settings.compute_driver == "ganeti":
        yield Clusters(door, registry, wakeups)


def _registry(settings: Settings, database: Database) -> Registry | None:
    """Without agents there is nobody to enrol or to hear."""
    compute: ComputeDriver = load("compute", settings.compute_driver)
    return authority.open_registry(database, settings) if compute.has_agents else None


@contextmanager
def _kept_current(identity: Credentials) -> Iterator[None]:
    """What this controller shows follows the authorities, and is renewed in time, while this is entered."""
    stop = threading.Event()
    loop.start("credentials", lambda: loop.every("credentials", LOOK_S, identity.look, stop))
    yield
    stop.set()


def _show_name_server(door: Door) -> None:
    """Zones find this machine's own name server where it is now."""
    here = nameserver.embedded(door.settings)
    if here is None:
        return
    try:
        embedded.ensure(door, Embedded(here.url, here.key, here.asked_at, here.port, bool(here.geo)))
    except NoMasterKey as error:
        log.get().warning("the DNS backend embedded is not as it should be", reason=str(error))


def _leave_token(registry: Registry) -> None:
    """The agent of this machine finds a token where it looks for one, unless this installation knows it already.

    What it has from another installation (another database, say) is put away, so that it enrols anew.
    """
    directory = registry.settings.state_dir / "agent"
    kept = Paths(directory)
    if kept.enrolment.exists():
        if authority.is_known(registry, str(json.loads(kept.enrolment.read_bytes()).get("host_id"))):
            return
        kept.enrolment.unlink()
        kept.credentials.unlink(missing_ok=True)
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = directory / TOKEN
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(authority.new_token(registry).encode())


class _Conductor:
    """The door for hosts and checkers, open while this is entered."""

    def __init__(self, registry: Registry, identity: Credentials, news: News) -> None:
        self._registry = registry
        self._identity = identity
        self._news = news

    async def __aenter__(self) -> tuple[str, int]:
        """Where it listens."""
        address = self._registry.settings.conductor_listen
        self._checking = Checking(self._registry, self._news)
        app = create_app(self._registry, self._checking.routes())
        self._server = server(app, self._identity.server())
        with process.cannot_listen("conductor", address):
            self._socket = listening_socket(*process.split(address))
        self._serving = asyncio.create_task(self._server.serve(sockets=[self._socket]))
        host, port = self._socket.getsockname()[:2]
        return str(host), int(port)

    async def __aexit__(self, *_: object) -> None:
        self._server.should_exit = True
        await self._checking.close()
        await self._serving
        self._socket.close()


class _Receiver:
    """Reports are taken, and silence is judged, while this is entered."""

    def __init__(self, settings: Settings, registry: Registry, door: Door, identity: Credentials) -> None:
        self._settings = settings
        self._health = Health(door.database, lambda host_id: authority.heartbeat_keys(registry, host_id))
        self._judging = Judging(door.database, self._health, identity.client)
        self._door = door

    async def __aenter__(self) -> None:
        address = self._settings.health_listen
        with process.cannot_listen("receiver of reports", address):
            self._transport = await self._health.listen(*process.split(address))
        self._judging.start(self._transport.get_extra_info("sockname"))
        for provider in self._door.providers.values():
            provider.amphora.start_health_check(self._health.observer, self._health.observer)

    async def __aexit__(self, *_: object) -> None:
        for provider in self._door.providers.values():
            provider.amphora.stop_health_check()
        await asyncio.to_thread(self._judging.stop)
        self._transport.close()
        self._health.stop()


class _Housekeeping:
    """Duties are done while this is entered; those that take long, because hosts are asked, beside the others."""

    def __init__(self, door: Door, registry: Registry | None) -> None:
        holder = f"{socket.gethostname()}:{os.getpid()}"
        self._keepers = {
            "housekeeping": Housekeeper(door, holder),
            "spares": Housekeeper(door, holder, (Duty("keep spares", 3.0, spares.keep),)),
        }
        certificates = (
            Duty("watch certificates", 2.0, watch.look),
            Duty("watch certificates of monitors", 2.0, of_monitors.look),
            Duty("count certificates", 30.0, watch.count),
        )
        self._keepers["certificates"] = Housekeeper(door, holder, certificates)
        names = Duty("audit names", auditing.PERIOD_S, auditing.audit)
        self._keepers["names"] = Housekeeper(door, holder, (names,))
        members = Duty("follow members", door.settings.gslb_follow_s, following.Follower().follow)
        self._keepers["members"] = Housekeeper(door, holder, (members,))
        self._keepers["stapling"] = Housekeeper(door, holder, (Duty("fetch OCSP responses", 10.0, stapling.staple),))
        if registry is not None:
            rotate = Duty("rotate the authority", 60.0, lambda _door: rotation.advance(registry, datetime.now(UTC)))
            audit = Duty("audit drift", 60.0, Auditor().audit)
            self._keepers["slow housekeeping"] = Housekeeper(door, holder, (rotate, audit))
        self._stop = threading.Event()

    async def __aenter__(self) -> None:
        for name, keeper in self._keepers.items():
            loop.start(name, partial(loop.every, name, SETTLE_S, keeper.turn, self._stop))

    async def __aexit__(self, *_: object) -> None:
        self._stop.set()


class _Working:
    """What is due is done while this is entered."""

    def __init__(self, door: Door, wakeups: Wakeups) -> None:
        self._worker = Worker(door, wakeups)
        self._engine = Engine(door, wakeups)

    async def __aenter__(self) -> None:
        self._engine.start()
        await asyncio.to_thread(self._worker.start)

    async def __aexit__(self, *_: object) -> None:
        await asyncio.gather(asyncio.to_thread(self._worker.stop), asyncio.to_thread(self._engine.stop))
