# SPDX-License-Identifier: Apache-2.0
"""Three hosts, each an agent of its own on this machine: one dies, all die, the judge is restarted."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from bench.backends import Server, ask
from bench.installation import Installation
from bench.waiting import alive, pause, processes, until
from caryatid.model.event import BEGINNING
from caryatid.store import events
from caryatid.store.database import Database

WITHIN_S = 60
"""A busy machine; how long it takes is measured in bench/."""
pytestmark = pytest.mark.timeout(400)
"""Many processes start here, each of which takes seconds where others want the processors too."""


class Machine:
    """An agent with a state directory of its own, and its HAProxies."""

    def __init__(self, home: Installation, number: int) -> None:
        self.directory = home.directory / f"m{number}"
        self.directory.mkdir()
        token = self.directory / "token"
        done = home.command("host", "token", "--file", str(token))
        assert done.returncode == 0, done.stderr
        self.environment = {
            **home.environment,
            "CARYATID_STATE_DIR": str(self.directory),
            "CARYATID_AGENT_NAME": f"m{number}",
        }
        self.log = (self.directory / "log").open("ab")
        self.process = self._start("--token-file", str(token))
        until(self.enrolment.exists, f"m{number} has enrolled", WITHIN_S)

    @property
    def enrolment(self) -> Path:
        return self.directory / "agent" / "enrolment.json"

    @property
    def id(self) -> str:
        return self.enrolment.read_text().partition('"host_id":"')[2].partition('"')[0]

    def _start(self, *words: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "caryatid", "agent", *words]
        return subprocess.Popen(command, env=self.environment, stdout=self.log, stderr=self.log)

    def pids(self) -> list[int]:
        """The agent and all that it runs."""
        mine = str(self.directory / "agent" / "amphorae")
        haproxies = [pid for pid, words in processes() if any(word.startswith(mine) for word in words)]
        return [*([self.process.pid] if self.process.poll() is None else []), *haproxies]

    def strike(self, number: signal.Signals) -> None:
        for pid in self.pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def start_again(self) -> None:
        self.process.wait(WITHIN_S)
        self.process = self._start()

    def close(self) -> None:
        for pid in self.pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait(WITHIN_S)
        self.log.close()


@pytest.fixture
def home(own_installation: Installation) -> Installation:
    return own_installation.start()


@pytest.fixture
def machines(home: Installation) -> Iterator[list[Machine]]:
    made: list[Machine] = []
    try:
        with ThreadPoolExecutor(3) as pool:
            made.extend(pool.map(lambda number: Machine(home, number), (1, 2, 3)))
        for host in home.get("/v1/hosts"):  # the one of `up` itself carries nothing
            if host["name"] not in ("m1", "m2", "m3"):
                home.send("PUT", f"/v1/hosts/{host['id']}/drain")
        until(lambda: all_are(home, made, "ONLINE"), f"all are heard: {home.log()}", WITHIN_S)
        yield made
    finally:
        for machine in made:
            machine.strike(signal.SIGCONT)
            machine.close()


def standing(home: Installation) -> dict[str, str]:
    return {host["id"]: host["operating_status"] for host in home.get("/v1/hosts")}


def all_are(home: Installation, machines: list[Machine], word: str) -> bool:
    return all(standing(home).get(machine.id) == word for machine in machines)


def said(home: Installation) -> list[tuple[str, str]]:
    database = Database(f"sqlite:///{home.directory}/caryatid.db")
    with closing(database), database.read() as tx:
        return [(event["action"], event["resource_id"]) for event in events.after(tx, BEGINNING)]


def judged(home: Installation) -> list[str]:
    """What a failed test shows: who was held to be what, and when."""
    database = Database(f"sqlite:///{home.directory}/caryatid.db")
    with closing(database), database.read() as tx:
        shown = [event for event in events.after(tx, BEGINNING) if event["kind"] in {"host", "failovers"}]
    return [f"{event['at']} {event['action']} {event['resource_id']}" for event in shown]


def carriers(home: Installation, loadbalancer: str) -> set[str]:
    found = home.get("/v2/octavia/amphorae", loadbalancer_id=loadbalancer)
    return {amphora["compute_id"] for amphora in found if amphora["status"] == "ALLOCATED"}


def spread(home: Installation, servers: list[Server]) -> list[dict]:
    """As many load balancers as it takes for each machine to carry one."""
    return [home.loadbalancer([servers[0].port]) for _ in range(3)]


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_what_a_host_carried_is_served_elsewhere_once_it_is_dead(
    home: Installation, machines: list[Machine], servers: list[Server], how: signal.Signals
) -> None:
    loadbalancers = spread(home, servers)
    struck = machines[0]
    moved = [one for one in loadbalancers if carriers(home, one["id"]) == {struck.id}]
    assert moved
    struck.strike(how)
    for one in moved:
        until(lambda one=one: carriers(home, one["id"]) - {struck.id}, f"it has moved: {home.log()}", WITHIN_S)
        if how is signal.SIGKILL:  # one that is stopped holds its address here, as it would not on a machine of its own
            until(lambda one=one: ask(one["vip_address"])[0] == 200, "it serves", WITHIN_S)
    assert standing(home)[struck.id] == "ERROR"
    assert [word for word, key in said(home) if key == struck.id and word != "enrol"] == ["silent", "lost"]


def test_when_all_hosts_are_silent_nothing_moves_and_their_return_lifts_the_freeze(
    home: Installation, machines: list[Machine], servers: list[Server]
) -> None:
    loadbalancers = spread(home, servers)
    before = [carriers(home, one["id"]) for one in loadbalancers]
    agents = [machine.process.pid for machine in machines]
    for pid in agents:
        os.kill(pid, signal.SIGSTOP)
    until(lambda: ("freeze", "failovers") in said(home), f"failovers are frozen: {home.log()}", WITHIN_S)
    pause(5)
    for pid in agents:
        os.kill(pid, signal.SIGCONT)
    until(lambda: ("unfreeze", "failovers") in said(home), f"the freeze is lifted: {home.log()}", WITHIN_S)
    pause(4)
    assert "lost" not in {word for word, _ in said(home)}, judged(home)
    assert [carriers(home, one["id"]) for one in loadbalancers] == before


def test_a_restart_of_the_judge_or_of_an_agent_loses_nobody(
    home: Installation, machines: list[Machine], servers: list[Server]
) -> None:
    (loadbalancer,) = spread(home, servers)[:1]
    before = carriers(home, loadbalancer["id"])
    core = home.services()["core"]
    os.kill(core, signal.SIGKILL)
    until(lambda: home.services().get("core", core) != core, "another core is there")
    until(lambda: home.log(1 << 20).count('"services"') > 1, f"it hears: {home.log()}", WITHIN_S)
    pause(5)
    machines[0].process.terminate()
    machines[0].process.wait(WITHIN_S)
    pause(8)
    machines[0].start_again()
    pause(4)
    assert alive(machines[0].process.pid)
    assert "lost" not in {word for word, _ in said(home)}, judged(home)
    assert carriers(home, loadbalancer["id"]) == before
