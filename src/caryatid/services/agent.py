# SPDX-License-Identifier: Apache-2.0
"""The agent's process."""

import asyncio
import signal
from dataclasses import replace
from pathlib import Path

from caryatid import log, metrics, tracing
from caryatid.agent import firstboot
from caryatid.agent.run import listens, stop_data_plane
from caryatid.agent.run import run as run_agent
from caryatid.agent.settings import AgentSettings, Uplink
from caryatid.config import Settings
from caryatid.errors import CaryatidError
from caryatid.services import process
from caryatid.syslog import Sender, senders
from caryatid.target import parse

TOKEN = "token"  # noqa: S105  a file's name


def agent_settings(settings: Settings, token_file: Path | None = None) -> AgentSettings:
    """What the agent of this installation's own machine is told."""
    state = settings.state_dir / "agent"
    known = AgentSettings(
        state_dir=state,
        listen=settings.agent_listen,
        advertise=settings.agent_advertise,
        join=settings.agent_join.rstrip("/"),
        token_file=token_file or state / TOKEN,
        capacity=settings.agent_capacity,
        labels=settings.agent_labels,
        uplinks=Uplink.parse(settings.agent_uplinks),
        uid_base=settings.agent_uid_base,
    )
    return replace(known, name=settings.agent_name) if settings.agent_name else known


def receivers(settings: Settings) -> tuple[Sender, ...]:
    """Who gets a copy of what the agent logs. Raises CaryatidError."""
    targets = parse(settings.admin_log_targets)
    try:
        return senders(targets, settings.admin_log_facility, settings.log_tls_ca, settings.log_tls_name)
    except OSError as error:
        raise CaryatidError(f"{settings.log_tls_ca} cannot be used: {error}.") from error


def run(settings: Settings, token_file: Path | None = None, seed: Path | None = None) -> None:
    """Runs amphorae until told to stop; SIGINT ends them too, SIGTERM leaves them serving. `seed`: the file by which a
    machine that was made for one amphora is told all it needs, once."""
    log.configure(settings.log_level, settings.log_format, receivers(settings), service="agent")
    tracing.configure(settings.otel_endpoint, "agent")
    process.follow_parent()
    process.keep_memory()
    process.show_metrics(settings.agent_metrics_listen, metrics.shown((metrics.AGENT,)))
    known = agent_settings(settings, token_file)
    asyncio.run(_serve(firstboot.prepare(seed, known) if seed else known, seed))


def end(settings: Settings) -> int:
    """What the agent of this installation's own machine has left serving has ended; returns how many amphorae it was.

    Raises CaryatidError while the agent runs: it would start them again.
    """
    known = agent_settings(settings)
    if listens(known):
        raise CaryatidError("`caryatid up` does not run here, but an agent does: end that one first.")
    return asyncio.run(stop_data_plane(known)) if known.amphorae_dir.is_dir() else 0


async def _serve(settings: AgentSettings, seed: Path | None = None) -> None:
    def ready() -> None:
        if seed is not None:
            firstboot.forget(seed)
        process.ready()

    stop = asyncio.Event()
    running = asyncio.create_task(run_agent(settings, stop, ready=ready))
    told = asyncio.create_task(process.stopped())
    await asyncio.wait({running, told}, return_when=asyncio.FIRST_COMPLETED)
    stop.set()
    await running
    if told.done() and told.result() is signal.SIGINT:
        await stop_data_plane(settings)
    told.cancel()
