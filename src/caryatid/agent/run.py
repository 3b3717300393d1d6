# SPDX-License-Identifier: Apache-2.0
"""An agent's life: enrol, adopt, listen, report, until told to stop. Its HAProxies outlive it."""

import asyncio
import contextlib
import random
import resource
import shutil
import socket
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from typing import Any

import structlog

from caryatid.agent import identity
from caryatid.agent.addresses import addresses
from caryatid.agent.app import create_app
from caryatid.agent.files import Files
from caryatid.agent.host import Agent, agent_version, haproxy_version
from caryatid.agent.identity import Identity
from caryatid.agent.networks import Networks
from caryatid.agent.ports import bindable_from
from caryatid.agent.probe import probe
from caryatid.agent.process import table
from caryatid.agent.report import Reporter
from caryatid.agent.settings import AgentSettings
from caryatid.agent.supervisor import end_found, found_by_configuration
from caryatid.places import write_atomically
from caryatid.wire.agent import Probe
from caryatid.wire.conductor import CONDUCTOR_NAME, ConductorError, HostFacts, HostUnknown
from caryatid.wire.tls import listening_socket, server

REFRESH_BACKOFF_S = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
REFRESH_EVERY_S = 600.0
LISTENS_S = 1.0
KEY_PAUSE_S = 15.0
"""A new heartbeat key is used no sooner: by then every receiver has asked for it (services.health.KEY_S)."""
FILES_MAX = 65_536
ANEW = (
    "If this host shall be one again: make a token on a controller (`caryatid host token`), stop this agent, remove "
    "enrolment.json and host.pem from its state directory, and start it with --token-file."
)

log = structlog.get_logger()


def _nothing() -> None:
    pass


async def run(settings: AgentSettings, stop: asyncio.Event, ready: Callable[[], None] = _nothing) -> None:
    """Be this host's agent until `stop` is set; leave the HAProxies running. `ready` is called when it can be asked.

    Raises CaryatidError if that cannot begin: no identity and no valid token, directories that are not ours.
    """
    settings.make_directories()
    _open_more_files()
    listener = open_listener(settings)
    try:
        facts = await host_facts(settings, listener)
        host = identity.load(settings) or await identity.obtain(settings, facts, stop)
        agent = Agent(settings, host.host_id, host.new_boot())
        await agent.open()
        try:
            serving = _serve(settings, agent, host, facts, listener)
            ready()
            await _until(stop, serving)
        finally:
            agent.close()
    finally:
        listener.close()


def _open_more_files() -> None:
    """Each member for datagrams that says nothing is a socket of ours."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES_MAX if hard == resource.RLIM_INFINITY else min(FILES_MAX, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


async def _serve(
    settings: AgentSettings, agent: Agent, host: Identity, facts: HostFacts, listener: socket.socket
) -> None:
    """Answer, report and stay known until cancelled."""
    facts = agent.networks.add_to(facts)
    agent.networks.watches.reachable = lambda: _reachable(host)
    reporter = _reporter(settings, agent, host)
    reporter.open()
    door = server(create_app(agent, lambda: host.client), host.server)
    doing = [
        asyncio.create_task(_keep_known(settings, host, facts, reporter)),
        asyncio.create_task(agent.keep_tidy()),
    ]
    answering = asyncio.create_task(door.serve(sockets=[listener]))
    log.info("agent ready", host=host.host_id, url=facts.agent_url, amphorae=len(agent.amphorae))
    try:
        ended, _ = await asyncio.wait([answering, *doing], return_when=asyncio.FIRST_COMPLETED)
        for task in ended:
            task.result()
    finally:
        reporter.close()
        for task in doing:
            task.cancel()
        door.should_exit = True
        await asyncio.gather(answering, *doing, return_exceptions=True)


async def _until(stop: asyncio.Event, work: Coroutine[Any, Any, None]) -> None:
    """Do it until `stop` is set. If it ends before by itself, its error is ours."""
    stopping = asyncio.create_task(stop.wait())
    working = asyncio.create_task(work)
    try:
        await asyncio.wait([stopping, working], return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopping.cancel()
        working.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await working


async def stop_data_plane(settings: AgentSettings) -> int:
    """End every HAProxy and keepalived of this state directory, and remove their networks and keys; return how many
    amphorae had an HAProxy. The agent must not be running."""
    processes = await asyncio.to_thread(lambda: list(table()))
    paired = found_by_configuration(settings.amphorae_dir, processes, "keepalived.conf")
    await asyncio.gather(*(end_found(found) for found in paired.values()))
    running = found_by_configuration(settings.amphorae_dir, processes)
    await asyncio.gather(*(end_found(found) for found in running.values()))
    if settings.keys_dir:
        await asyncio.to_thread(shutil.rmtree, settings.keys_dir, ignore_errors=True)
    await Networks(settings).dismantle(Files.of(settings, path.name) for path in settings.amphorae_dir.glob("*"))
    return len(running)


async def _reachable(host: Identity) -> bool:
    """Whether any controller speaks with us."""
    conductor = Probe(url=host.enrolment.conductor_url, host_id=CONDUCTOR_NAME)
    return (await probe(conductor, host.client)).reachable


def open_listener(settings: AgentSettings) -> socket.socket:
    """Listen where told. Port 0: where we listened last time, if that is free: the controller still knows it."""
    address, _, port = settings.listen.rpartition(":")
    address = address.strip("[]")
    remembered = settings.state_dir / "port"
    if int(port):
        return listening_socket(address, int(port))
    with contextlib.suppress(OSError, ValueError):
        return listening_socket(address, int(remembered.read_text()))
    listener = listening_socket(address, 0)
    write_atomically(remembered, str(listener.getsockname()[1]).encode(), durable=False)
    return listener


def listens(settings: AgentSettings) -> bool:
    """Whether somebody listens where the agent of this state directory does."""
    address, _, port = settings.listen.rpartition(":")
    try:
        where = int(port) or int((settings.state_dir / "port").read_text())
        socket.create_connection((address.strip("[]"), where), LISTENS_S).close()
    except (OSError, ValueError):
        return False
    return True


async def host_facts(settings: AgentSettings, listener: socket.socket) -> HostFacts:
    """What this host says of itself."""
    address, port = listener.getsockname()[:2]
    shown = f"[{address}]" if ":" in address else address
    return HostFacts(
        name=settings.name,
        agent_url=settings.advertise or f"https://{shown}:{port}",
        capacity=settings.capacity,
        labels=settings.labels,
        bindable_from=bindable_from(),
        addresses=addresses(),
        agent_version=agent_version(),
        haproxy_version=await haproxy_version(settings.haproxy),
    )


def _reporter(settings: AgentSettings, agent: Agent, host: Identity) -> Reporter:
    enrolment = host.enrolment
    return Reporter(
        agent,
        host.heartbeat_key,
        enrolment.health_addresses,
        settings.report_interval_s or enrolment.report_interval,
        settings.snapshot_interval_s or enrolment.snapshot_interval,
    )


async def _keep_known(settings: AgentSettings, host: Identity, facts: HostFacts, reporter: Reporter) -> None:
    """Tell the conductor where we are, at the start and now and then; learn where to report to, whom to trust; renew
    in time."""
    attempt = 0
    while True:
        try:
            facts = facts.model_copy(update={"addresses": addresses()})  # they come and go
            told = await host.refresh(facts, datetime.now(UTC))
        except ConductorError as error:
            remedy = ANEW if isinstance(error, HostUnknown) else None
            log.warning("host not refreshed", reason=str(error), **({"remedy": remedy} if remedy else {}))
            pause = REFRESH_BACKOFF_S[min(attempt, len(REFRESH_BACKOFF_S) - 1)]
            attempt += 1
        else:
            reporter.retarget(
                told.health_addresses,
                settings.report_interval_s or told.report_interval,
                settings.snapshot_interval_s or told.snapshot_interval,
            )
            pause = KEY_PAUSE_S if told.heartbeat_key else REFRESH_EVERY_S
            attempt = 0
        await asyncio.sleep(pause * random.uniform(0.8, 1.2))  # noqa: S311 - spreads load
        host.signing_key = host.heartbeat_key
        reporter.rekey(host.signing_key)
