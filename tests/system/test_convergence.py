# SPDX-License-Identifier: Apache-2.0
"""The same as tests/control/test_convergence.py, with a real agent and real HAProxies, for a bounded number of runs:
any requests, a worker killed before or after any call, agents that are restarted, HAProxies that are killed. In the end
the HAProxies do what was asked for, and nothing else runs."""

import asyncio
import os
import shutil
import signal
import tempfile
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime
from functools import cache
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, multiple, rule
from sqlalchemy import text

from caryatid.agent import runtime
from caryatid.agent.app import create_app
from caryatid.agent.files import Files
from caryatid.agent.host import Agent
from caryatid.agent.process import table
from caryatid.agent.settings import AgentSettings
from caryatid.config import Settings
from caryatid.control import initial, writes
from caryatid.control.attempt import Attempt
from caryatid.control.door import Door, provider
from caryatid.control.reconcile import attend
from caryatid.drivers.amphora.haproxy import HaproxyDriver
from caryatid.drivers.compute.hosts import HostsDriver
from caryatid.drivers.identity.noauth import NoAuthDriver
from caryatid.drivers.network.loopback import LoopbackDriver
from caryatid.drivers.noop import NoopSecretsDriver
from caryatid.drivers.setup import Setup
from caryatid.errors import CaryatidError, LeaseLost
from caryatid.model import AMPHORA, HOST, LISTENER, LOADBALANCER, MEMBER, POOL
from caryatid.model.policy import Caller
from caryatid.plan import certificates
from caryatid.plan.certificates import Identity
from caryatid.store import hosts, migrate, rows, work
from caryatid.store import tree as trees
from caryatid.store.database import Database
from caryatid.store.hosts import Credential
from caryatid.wire.agent import AgentClient, AgentTimeout
from caryatid.wire.tls import client_context, listening_socket, server, server_context

CALLER = Caller("tester", "p1", is_admin=True)
HOST_ID = str(uuid4())
TURNS_MAX = 100
PAUSE = threading.Event()
"""Never set."""


class KilledError(BaseException):
    """The worker's process is no more."""


class Member(BaseHTTPRequestHandler):
    """Answers with its port."""

    def do_GET(self):
        body = str(self.server.server_address[1]).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@cache
def members():
    """Ports of three servers that last as long as the process."""
    servers = [ThreadingHTTPServer(("127.0.0.1", 0), Member) for _ in range(3)]
    for one in servers:
        threading.Thread(target=one.serve_forever, args=(0.05,), daemon=True).start()
    return [one.server_address[1] for one in servers]


@cache
def template():
    path = Path(tempfile.mkdtemp()) / "caryatid.db"
    migrate.upgrade(f"sqlite:///{path}")
    return path


class Machine:
    """A host, whose agent can be restarted: a real one, asked over mutual TLS."""

    def __init__(self, base):
        self.settings = AgentSettings(state_dir=base / "s", run_dir=base / "r")
        self.authority = certificates.new_authority("test", datetime.now(UTC))
        self.ca = self.authority.certificate_pem.decode()
        with listening_socket("127.0.0.1", 0) as listener:
            self.port = listener.getsockname()[1]
        self.url = f"https://127.0.0.1:{self.port}"
        self.start()

    def credentials(self, role, name):
        key = certificates.new_key()
        csr = certificates.request(key)
        return certificates.sign(self.authority, csr, Identity(role, name), datetime.now(UTC), 1) + key

    def start(self):
        self.ended, ready = threading.Event(), threading.Event()
        self.thread = threading.Thread(target=lambda: asyncio.run(self.live(ready)))
        self.thread.start()
        assert ready.wait(20), "the agent does not come up"

    async def live(self, ready):
        self.agent = Agent(self.settings, HOST_ID)
        await self.agent.open()
        context = server_context(self.ca, self.credentials("host", HOST_ID))
        listener = listening_socket("127.0.0.1", self.port)
        door = server(create_app(self.agent, lambda: context), context)
        serving = asyncio.create_task(door.serve(sockets=[listener]))
        while not door.started:  # noqa: ASYNC110  uvicorn has no event for that
            await asyncio.sleep(0.01)
        ready.set()
        await asyncio.to_thread(self.ended.wait)
        self.agent.close()
        door.should_exit = True
        for connection in list(door.server_state.connections):
            connection.transport.abort()  # the client keeps them, and would be waited for
        await serving
        listener.close()

    def stop(self):
        self.ended.set()
        self.thread.join(20)

    def restart(self):
        self.stop()
        self.start()

    def haproxies(self):
        """Masters and workers, by amphora."""
        found = {}
        for seen in table():
            paths = [word for word in seen.command if word.startswith(str(self.settings.amphorae_dir))]
            if paths and "-W" in seen.command:
                found.setdefault(Path(paths[0]).parent.name, []).append(seen.pid)
        return found

    def remove(self):
        self.stop()
        for pids in self.haproxies().values():
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


class Unsteady(AgentClient):
    """Something happens at its n-th call from now, before or after it has had its effect."""

    calls = 0
    mishap = None

    def _call(self, *words, **more):
        self.calls += 1
        at, after, error = self.mishap or (0, False, None)
        if self.calls == at and not after:
            raise error
        answer = super()._call(*words, **more)
        if self.calls == at:
            raise error
        return answer


class Alone:
    """The clients for agents: there is one."""

    def __init__(self, client):
        self.client = client

    def of(self, _host):
        return self.client


class World(RuleBasedStateMachine):
    """Requests and mishaps, in any order."""

    loadbalancers = Bundle("loadbalancers")
    listeners = Bundle("listeners")
    pools = Bundle("pools")
    members = Bundle("members")

    @initialize()
    def begin(self):
        self.directory = Path(tempfile.mkdtemp(prefix="cy", dir="/tmp"))
        self.directory.chmod(0o711)
        shutil.copy(template(), self.directory / "caryatid.db")
        self.machine = Machine(self.directory)
        context = client_context(self.machine.ca, self.machine.credentials("controller", "c1"))
        self.client = Unsteady(self.machine.url, HOST_ID, context)
        known = Settings(state_dir=self.directory, delete_deadline_s=1e9)
        drivers = HaproxyDriver(Setup(Alone(self.client))), HostsDriver(), LoopbackDriver()
        database = Database(f"sqlite:///{self.directory}/caryatid.db")
        self.door = Door(database, provider(*drivers), known, NoopSecretsDriver(), NoAuthDriver())
        initial.ensure(self.door)
        at = "2026-11-21T00:00:00.000000"
        host = HOST.model(id=HOST_ID, created_at=at, name="h1", agent_url=self.machine.url, capacity=100)
        with database.transaction() as tx:
            rows.insert(tx, HOST, [host])
            hosts.write_credential(tx, Credential(HOST_ID, b"", "00"))

    def teardown(self):
        if not hasattr(self, "door"):
            return
        try:
            self.converge()
            self.look()
        finally:
            self.machine.remove()
            self.client.close()
            self.door.database.close()
            shutil.rmtree(self.directory, ignore_errors=True)

    # requests

    @rule(target=loadbalancers)
    def create_loadbalancer(self):
        return self.created(LOADBALANCER, {"vip_subnet_id": initial.SUBNET_ID})

    @rule(target=listeners, loadbalancer=loadbalancers, port=st.integers(18080, 18082))
    def create_listener(self, loadbalancer, port):
        return self.created(LISTENER, {"loadbalancer_id": loadbalancer, "protocol": "HTTP", "protocol_port": port})

    @rule(target=pools, listener=listeners)
    def create_pool(self, listener):
        return self.created(POOL, {"listener_id": listener, "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN"})

    @rule(target=members, pool=pools, number=st.integers(0, 2))
    def create_member(self, pool, number):
        return self.created(MEMBER, {"address": "127.0.0.1", "protocol_port": members()[number]}, parent_id=pool)

    @rule(member=members, weight=st.integers(0, 5))
    def change_member(self, member, weight):
        self.allowed_to_fail(lambda: writes.change(self.door, CALLER, MEMBER, member, {"weight": weight}))

    @rule(listener=listeners, up=st.booleans())
    def change_listener(self, listener, up):
        self.allowed_to_fail(lambda: writes.change(self.door, CALLER, LISTENER, listener, {"admin_state_up": up}))

    @rule(member=consumes(members))
    def delete_member(self, member):
        self.allowed_to_fail(lambda: writes.delete(self.door, CALLER, MEMBER, member))

    @rule(listener=consumes(listeners))
    def delete_listener(self, listener):
        self.allowed_to_fail(lambda: writes.delete(self.door, CALLER, LISTENER, listener))

    @rule(loadbalancer=consumes(loadbalancers))
    def delete_loadbalancer(self, loadbalancer):
        self.allowed_to_fail(lambda: writes.delete(self.door, CALLER, LOADBALANCER, loadbalancer, cascade=True))

    # mishaps

    @rule()
    def work_once(self):
        self.turn()

    @rule(calls=st.integers(1, 3), after=st.booleans(), killed=st.booleans())
    def work_with_a_mishap(self, calls, after, killed):
        error = KilledError() if killed else AgentTimeout("It did not answer.")
        self.client.mishap = (self.client.calls + calls, after, error)
        self.turn()

    @rule()
    def restart_the_agent(self):
        self.machine.restart()

    @rule()
    def kill_an_haproxy(self):
        for pids in self.machine.haproxies().values():
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            return

    # what holds in the end

    def converge(self):
        self.client.mishap = None
        for _ in range(TURNS_MAX):
            self.expire()
            if not self.turn():
                return
        raise AssertionError("it never ends")

    def look(self):
        with self.door.database.read() as tx:
            wanted = [trees.load(tx, document["id"]) for document in rows.find(tx, LOADBALANCER)]
            amphorae = {one["loadbalancer_id"]: one["id"] for one in rows.find(tx, AMPHORA)}
            for kind in (LOADBALANCER, LISTENER, POOL, MEMBER):
                assert all(row["provisioning_status"] == "ACTIVE" for row in rows.find(tx, kind))
        assert set(amphorae) == {tree.loadbalancer.id for tree in wanted}
        serving = {amphorae[tree.loadbalancer.id] for tree in wanted if any(self.up(tree))}
        eventually(lambda: set(self.machine.haproxies()) == serving, "those that are wanted run, and no others")
        for tree in wanted:
            if amphorae[tree.loadbalancer.id] in serving:
                self.look_into(tree, amphorae[tree.loadbalancer.id])

    @staticmethod
    def up(tree):
        return [node for node in tree.listeners if node.listener.admin_state_up]

    def look_into(self, tree, amphora_id):
        """What its HAProxy says of servers, and who answers through it."""
        expected = {
            (f"{node.default_pool.pool.id}:{node.listener.id}", member.id): (member.weight, member.protocol_port)
            for node in self.up(tree)
            if node.default_pool
            for member in node.default_pool.members
        }
        stats = Files.of(self.machine.settings, amphora_id).stats_socket
        eventually(lambda: servers(stats) == expected, f"servers are {expected}")
        for node in self.up(tree):
            known = node.default_pool.members if node.default_pool else ()
            able = {str(member.protocol_port) for member in known if member.weight}
            got = {ask(tree.loadbalancer.vip_address, node.listener.protocol_port) for _ in range(2 * len(able) + 1)}
            assert got <= able if able else got == {"503"}

    # how

    def created(self, kind, body, parent_id=None):
        try:
            return writes.create(self.door, CALLER, kind, body, parent_id=parent_id).document["id"]
        except CaryatidError as error:
            assert error.status in (400, 404, 409)
            return multiple()

    def allowed_to_fail(self, act):
        try:
            act()
        except CaryatidError as error:
            assert error.status in (400, 404, 409)

    def turn(self):
        claim = work.claim(self.door.database, "test")
        if claim is None:
            return False
        try:
            attend(self.door, Attempt(claim))
        except KilledError:
            self.expire()
        except LeaseLost:
            pass
        return True

    def expire(self):
        """Leases have run out, and all that waits is due."""
        with self.door.database.transaction() as tx:
            tx.connection.execute(text("UPDATE work SET lease_until = NULL"))
            tx.connection.execute(text("UPDATE work SET due_at = 0 WHERE due_at IS NOT NULL"))


def servers(stats):
    """(backend, server) → weight, port; of those in use."""
    try:
        states = asyncio.run(runtime.server_states(stats))
    except runtime.RuntimeUnavailable:
        return None
    return {(state.backend, state.name): (state.weight, state.port) for state in states if state.in_use}


def ask(address, port):
    """The body, or the status if it is not 200."""
    connection = HTTPConnection(address, port, timeout=5)
    try:
        connection.request("GET", "/")
        answer = connection.getresponse()
        return answer.read().decode() if answer.status == 200 else str(answer.status)
    finally:
        connection.close()


def eventually(holds, what, seconds=20):
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, what
        PAUSE.wait(0.05)


TestConvergence = World.TestCase
TestConvergence.settings = settings(
    max_examples=12,
    stateful_step_count=20,
    phases=[Phase.reuse, Phase.generate],  # to shrink what takes real processes takes too long
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestConvergence = pytest.mark.timeout(300)(TestConvergence)
