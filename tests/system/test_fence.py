# SPDX-License-Identifier: Apache-2.0
"""A worker that slept past its lease cannot undo what others did meanwhile: the agent refuses its late push (412)."""

import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from typing import cast
from urllib.parse import urlsplit

import pytest

from bench import haproxy
from bench.backends import Server
from bench.installation import Installation
from bench.waiting import pause, until
from caryatid.model import HOST
from caryatid.model.consequences import replace
from caryatid.model.host import Host
from caryatid.store import rows
from caryatid.store.database import Database

LEASE_S = 10


class Wire:
    """What is between controllers and the agent. Connections on which anything comes while it holds are held."""

    def __init__(self, target: tuple[str, int]) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.holding = False
        self.held = 0
        self.released = threading.Event()
        self.answered = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self.released.set()
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._carry, args=(client,), daemon=True).start()

    def _carry(self, client: socket.socket) -> None:
        with client, socket.create_connection(self._target) as agent:
            held = False
            while True:
                for ready in select.select([client, agent], [], [])[0]:
                    try:
                        data = ready.recv(1 << 16)
                    except OSError:
                        return
                    if not data:
                        return
                    if ready is client and self.holding and not held:
                        held, self.held = True, self.held + 1
                        self.released.wait(120)
                    if ready is agent and held:
                        self.answered.set()
                    (agent if ready is client else client).sendall(data)


@pytest.fixture
def started() -> Iterator[Installation]:
    with Installation(environment={"CARYATID_AGENT_TIMEOUT_S": "60"}) as made:
        yield made


@pytest.fixture
def wire(started: Installation) -> Iterator[Wire]:
    """Controllers reach the agent through it."""
    database = Database(f"sqlite:///{started.directory}/caryatid.db")
    with closing(database), database.transaction() as tx:
        (document,) = [rows.get(tx, HOST, key) for key in hosts_of(started)]
        host = cast(Host, HOST.load(document))
        url = urlsplit(host.agent_url)
        between = Wire((url.hostname, url.port))
        rows.change(tx, HOST, replace(host, agent_url=f"https://127.0.0.1:{between.port}"), at="2026-11-20T19:05:25")
    yield between
    between.close()


def hosts_of(started: Installation) -> list[str]:
    """From the agent's own enrolment."""
    text = (started.directory / "agent" / "enrolment.json").read_text()
    return [text.partition('"host_id":"')[2].partition('"')[0]]


def test_the_late_push_of_a_worker_that_slept_is_refused(
    started: Installation, wire: Wire, servers: list[Server]
) -> None:
    loadbalancer = started.loadbalancer([server.port for server in servers[:2]])
    pool_id = loadbalancer["pools"][0]["id"]
    member = started.get(f"/v2/lbaas/pools/{pool_id}/members")[0]
    shown = f"pools/{pool_id}/members/{member['id']}"
    path = haproxy.socket_of(started, loadbalancer["id"])
    core = started.services()["core"]
    log = (started.directory / "worker.log").open("w+")
    sleeper = subprocess.Popen([sys.executable, "-m", "caryatid", "worker"], env=started.environment, stderr=log)

    def weight() -> int:
        return next(state.weight for state in haproxy.server_states(path) if state.member == member["id"])

    def said() -> str:
        log.seek(0)
        return log.read()

    try:
        until(lambda: '"ready"' in said(), "the second worker works")
        os.kill(core, signal.SIGSTOP)
        started.put(shown, {"member": {"weight": 4}})  # its connection is open from now on
        started.active(shown)
        wire.holding = True
        started.put(shown, {"member": {"weight": 5}})
        until(lambda: wire.held == 1, "its push is on its way")
        os.kill(sleeper.pid, signal.SIGSTOP)
        wire.holding = False
        os.kill(core, signal.SIGCONT)

        started.put(shown, {"member": {"weight": 7}})
        started.active(shown, LEASE_S + 20)
        assert weight() == 7

        os.kill(sleeper.pid, signal.SIGCONT)
        wire.released.set()
        assert wire.answered.wait(20), "the agent has answered the late push"
        until(lambda: "lease lost" in said(), f"the worker has noticed: {said()}", 20)
        assert weight() == 7
        pause(1)
        assert (weight(), started.show(shown)["weight"]) == (7, 7)
        assert started.show(shown)["provisioning_status"] == "ACTIVE"
    finally:
        for pid, number in ((core, signal.SIGCONT), (sleeper.pid, signal.SIGCONT), (sleeper.pid, signal.SIGKILL)):
            os.kill(pid, number)
        sleeper.wait()
        log.close()
