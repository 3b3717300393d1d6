# SPDX-License-Identifier: Apache-2.0
"""A host with a real HAProxy: agents that can be restarted, configurations, members and what a client sees of them."""

import asyncio
import contextlib
import hashlib
import itertools
import os
import shutil
import signal
import tempfile
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from caryatid.agent.host import Agent
from caryatid.agent.process import Seen, table
from caryatid.agent.settings import AgentSettings
from caryatid.wire.agent import Configuration, Server

PORT = 18080


@dataclass(frozen=True)
class Plan:
    """A load balancer with one listener and one pool, as the controller would render it."""

    address: str
    amphora_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    loadbalancer_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    listener: str = field(default_factory=lambda: str(uuid.uuid4()))
    pool: str = field(default_factory=lambda: str(uuid.uuid4()))
    servers: tuple[Server, ...] = ()
    extra: str = ""
    frontend: bool = True
    generation: int = 1
    fence: int = 1

    @property
    def backend(self) -> str:
        return f"{self.pool}:{self.listener}"

    def server(self, port: int, *, name: str = "", weight: int = 1, enabled: bool = True, options: str = "") -> Server:
        return Server(self.backend, name or str(uuid.uuid4()), "127.0.0.1", port, weight, enabled, options)

    def having(self, *servers: Server) -> "Plan":
        """The next generation, with these members."""
        return replace(self, servers=servers, generation=self.generation + 1)

    def changed(self, **change: object) -> "Plan":
        """The next generation, otherwise."""
        return replace(self, **{"generation": self.generation + 1, **change})  # type: ignore[arg-type]

    def render(self) -> Configuration:
        base = [
            "global",
            "    log @RUN@/log.sock len 1024 local1 notice",
            "    stats socket @RUN@/stats.sock mode 600 level admin expose-fd listeners",
            "    server-state-file @DIR@/servers.state",
            "    hard-stop-after 10s",
            "    maxconn @MAXCONN:4000@",
            "    nbthread 1",
            "defaults",
            "    mode http",
            "    log global",
            "    load-server-state-from-file global",
            "    option redispatch",
            "    option idle-close-on-response",
            "    timeout connect 1s",
            "    timeout client 5s",
            "    timeout server 5s",
        ]
        lines = []
        if self.frontend:
            base += [
                f"# listener {self.listener}",
                f"frontend {self.listener}",
                f"    bind {self.address}:{PORT}",
                "    no log",
                *([f"    {self.extra}"] if self.extra else []),
                f"    default_backend {self.backend}",
                f"# pool {self.pool}",
                f"backend {self.backend}",
                "    balance roundrobin",
            ]
            for one in self.servers:
                disabled = "" if one.enabled else " disabled"
                lines.append(f"# member {one.name}")
                line = f"    server {one.name} {one.address}:{one.port} weight {one.weight} {one.options}{disabled}"
                lines.append(line.rstrip())
        base_text = "\n".join(base)
        text = "\n".join([*base, *lines]) + "\n"
        return Configuration(
            amphora_id=self.amphora_id,
            loadbalancer_id=self.loadbalancer_id,
            generation=self.generation,
            fence=self.fence,
            text=text,
            servers=list(self.servers),
            hash=hashlib.sha256(text.encode()).hexdigest(),
            base_hash=hashlib.sha256(base_text.encode()).hexdigest(),
        )


_numbers = itertools.count()


@contextlib.asynccontextmanager
async def _member(name: str, *, delay_s: float = 0) -> AsyncIterator[int]:
    connections: set[asyncio.StreamWriter] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.add(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while await reader.readuntil(b"\r\n\r\n"):
                await asyncio.sleep(delay_s)
                writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {len(name)}\r\n\r\n{name}".encode())
                await writer.drain()
        connections.discard(writer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for writer in list(connections):
            writer.close()
        async with asyncio.timeout(5):
            while connections:  # noqa: ASYNC110 - each ends by itself
                await asyncio.sleep(0)


class World:
    """One host: its agents one after the other, its amphorae, and clients of them."""

    port = PORT

    def __init__(self, settings: AgentSettings) -> None:
        self.settings = settings

    member = staticmethod(_member)
    """A web server that answers with its name; yields its port."""

    def plan(self, **attributes: object) -> Plan:
        """A plan with a VIP of its own, so that tests in parallel do not meet."""
        address = f"127.77.{os.getpid() % 251}.{next(_numbers) % 250 + 1}"
        return Plan(**{"address": address, **attributes})

    def run(self, *scenarios: Callable[[Agent], Awaitable[None]]) -> None:
        """Run each scenario with an agent of its own, one after the other; the HAProxies outlive each agent."""

        async def whole() -> None:
            for scenario in scenarios:
                agent = Agent(self.settings, "host")
                await agent.open()
                try:
                    async with asyncio.timeout(30):
                        await scenario(agent)
                finally:
                    agent.close()

        asyncio.run(whole())

    def processes(self, plan: Plan) -> list[Seen]:
        """Living HAProxies of an amphora."""
        path = str(self.settings.amphorae_dir / plan.amphora_id / "haproxy.cfg")
        return [seen for seen in table() if path in seen.command]

    async def get(self, plan: Plan) -> tuple[int, str]:
        """One request through the VIP on a new connection: status and body; 0 if there was no answer."""
        try:
            async with asyncio.timeout(3):
                reader, writer = await asyncio.open_connection(plan.address, PORT)
                try:
                    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                    answer = await reader.read()
                finally:
                    writer.close()
        except (OSError, TimeoutError):
            return 0, ""
        head, _, body = answer.partition(b"\r\n\r\n")
        return (int(head.split()[1]), body.decode()) if head else (0, "")

    async def who_answers(self, plan: Plan, requests: int = 6) -> set[str]:
        """The bodies of some requests."""
        return {body for _, body in [await self.get(plan) for _ in range(requests)]}

    async def eventually(self, condition: Callable[[], Awaitable[object]], deadline_s: float = 5) -> None:
        """Wait until it holds, or fail."""
        async with asyncio.timeout(deadline_s):
            while not await condition():  # noqa: ASYNC110 - the world outside has no events
                await asyncio.sleep(0.01)


@pytest.fixture
def world() -> Iterator[World]:
    """Directories with short paths; whatever HAProxy still runs below them afterwards is ended."""
    base = Path(tempfile.mkdtemp(prefix="cy", dir="/tmp"))
    base.chmod(0o711)
    found = World(AgentSettings(state_dir=base / "s", run_dir=base / "r"))
    yield found
    for seen in table():
        if any(argument.startswith(f"{base}/") for argument in seen.command):
            with contextlib.suppress(ProcessLookupError):
                os.kill(seen.pid, signal.SIGKILL)
    places = [base, found.settings.keys_dir]
    for path in filter(None, places):
        shutil.rmtree(path, ignore_errors=True)
