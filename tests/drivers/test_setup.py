# SPDX-License-Identifier: Apache-2.0
"""Clients of agents follow the controller's certificate."""

import asyncio
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest

from caryatid.agent.app import create_app
from caryatid.agent.host import Agent
from caryatid.agent.settings import AgentSettings
from caryatid.drivers.amphora.base import UnauthorizedException, UnavailableException
from caryatid.drivers.amphora.haproxy import HaproxyDriver
from caryatid.drivers.setup import Agents, Setup
from caryatid.model.host import Host
from caryatid.plan import certificates
from caryatid.plan.certificates import Identity
from caryatid.wire.tls import client_context, listening_socket, server, server_context

HOST_ID = "6f6ad3a8-44a9-4f1f-93d7-46f0b60a7b6d"


def credentials(authority, role, name):
    key = certificates.new_key()
    return certificates.sign(authority, certificates.request(key), Identity(role, name), datetime.now(UTC), 30) + key


def ca(authority):
    return authority.certificate_pem.decode()


@asynccontextmanager
async def agent(authority, directory):
    """An agent without amphorae; yields the host as the database has it."""
    context = server_context(ca(authority), credentials(authority, "host", HOST_ID))
    app = create_app(Agent(AgentSettings(state_dir=directory, run_dir=directory), HOST_ID, 1), lambda: context)
    listener, door = listening_socket("127.0.0.1", 0), server(app, context)
    serving = asyncio.create_task(door.serve(sockets=[listener]))
    try:
        yield Host.model_construct(id=HOST_ID, agent_url=f"https://127.0.0.1:{listener.getsockname()[1]}")
    finally:
        door.should_exit = True
        await serving
        listener.close()


def test_a_new_certificate_is_shown_from_the_next_call_on_and_older_clients_are_closed(tmp_path):
    authority, other = (certificates.new_authority("x", datetime.now(UTC)) for _ in range(2))
    foreign, good, renewed = (
        client_context(ca(authority), credentials(one, "controller", "c1")) for one in (other, authority, authority)
    )
    current = foreign
    agents = Agents(lambda: current, 5)
    driver = HaproxyDriver(Setup(agents))

    async def story():
        nonlocal current
        async with agent(authority, tmp_path) as host:
            first = agents.of(host)
            with pytest.raises((UnauthorizedException, UnavailableException)):
                await asyncio.to_thread(driver.inventory, host)
            current = good
            assert await asyncio.to_thread(driver.inventory, host) == []
            second = agents.of(host)
            assert second is not first
            assert agents.of(host) is second
            assert not first._http.is_closed  # somebody may be in the middle of a call
            current = renewed
            assert await asyncio.to_thread(driver.inventory, host) == []
            assert first._http.is_closed
            assert not second._http.is_closed
            second.close()
            agents.of(host).close()

    asyncio.run(story())
