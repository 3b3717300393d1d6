# SPDX-License-Identifier: Apache-2.0
"""The agent's process."""

import asyncio
import signal
from pathlib import Path

from caryatid import log
from caryatid.agent.run import run as run_agent
from caryatid.agent.run import stop_data_plane
from caryatid.agent.settings import AgentSettings
from caryatid.config import Settings
from caryatid.services import process

TOKEN = "token"  # noqa: S105  a file's name


def agent_settings(settings: Settings, token_file: Path | None = None) -> AgentSettings:
    """What the agent of this installation's own machine is told."""
    state = settings.state_dir / "agent"
    return AgentSettings(state_dir=state, listen=settings.agent_listen, token_file=token_file or state / TOKEN)


def run(settings: Settings, token_file: Path | None = None) -> None:
    """Runs amphorae until told to stop; SIGINT ends them too, SIGTERM leaves them serving."""
    log.configure(settings.log_level, settings.log_format, service="agent")
    process.follow_parent()
    asyncio.run(_serve(agent_settings(settings, token_file)))


async def _serve(settings: AgentSettings) -> None:
    stop = asyncio.Event()
    running = asyncio.create_task(run_agent(settings, stop, ready=process.ready))
    told = asyncio.create_task(process.stopped())
    await asyncio.wait({running, told}, return_when=asyncio.FIRST_COMPLETED)
    stop.set()
    await running
    if told.done() and told.result() is signal.SIGINT:
        await stop_data_plane(settings)
    told.cancel()
