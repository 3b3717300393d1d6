# SPDX-License-Identifier: Apache-2.0
"""Several machines, each with an agent of its own: load balancers spread over them, and leave them under traffic."""

import contextlib
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from bench.backends import Server, ask
from bench.installation import Installation
from bench.machines import Machine
from bench.traffic import Traffic
from bench.waiting import pause, until

MACHINES = ("one", "two", "three")
pytestmark = pytest.mark.timeout(400)
"""Many processes start here, each of which takes seconds where others want the processors too."""


@pytest.fixture(scope="module")
def controller() -> Iterator[Installation]:
    """An installation whose own machine carries nothing."""
    with Installation(words=("up", "--no-agent")) as made:
        yield made


@pytest.fixture(scope="module")
def machines(controller: Installation) -> Iterator[dict[str, Machine]]:
    made = {name: Machine(controller, name) for name in MACHINES}
    with contextlib.ExitStack() as stack, ThreadPoolExecutor(len(made)) as pool:
        for machine in made.values():
            stack.push(machine.__exit__)
        list(pool.map(Machine.start, made.values()))
        yield made


@pytest.fixture
def make(controller: Installation, servers: list[Server]) -> Iterator[Callable[[str], dict[str, Any]]]:
    """Makes load balancers that are gone after the test."""
    made: list[str] = []

    def loadbalancer(name: str) -> dict[str, Any]:
        found = controller.loadbalancer([server.port for server in servers], name=name)
        made.append(found["id"])
        return found

    yield loadbalancer
    for key in made:
        controller.api.delete(f"/v2/lbaas/loadbalancers/{key}", params={"cascade": True})
    for key in made:
        controller.gone(f"loadbalancers/{key}")


def test_where_no_agent_is_to_run_no_token_lies_about(controller: Installation) -> None:
    assert not (controller.directory / "agent" / "token").exists()


def on(controller: Installation, loadbalancer_id: str) -> list[str]:
    """The hosts of its amphorae."""
    found = controller.get("/v2/octavia/amphorae", loadbalancer_id=loadbalancer_id)
    return [amphora["compute_id"] for amphora in found]


def run(controller: Installation, *words: str) -> str:
    done = controller.command(*words)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_load_balancers_spread_and_leave_a_host_under_traffic(
    controller: Installation, machines: dict[str, Machine], make: Callable[[str], dict[str, Any]]
) -> None:
    """On one machine the old HAProxy and the new one listen at the same address: the kernel deals connections out to
    both, and resets what the old one has not accepted when it closes. With one client a VIP that is one request at the
    most, and of those VIPs only that move."""
    made = [make(f"lb{number}") for number in range(6)]
    ids = {machine.id: name for name, machine in machines.items()}
    assert sorted(ids[host] for root in made for host in on(controller, root["id"])) == sorted(MACHINES * 2)
    assert [machine.host["used"] for machine in machines.values()] == [2, 2, 2]
    one = machines["one"]
    run(controller, "host", "drain", "one")
    assert on(controller, make("another")["id"]) != [one.id]
    moving = {root["id"] for root in made if on(controller, root["id"]) == [one.id]}
    assert one.host["used"] == 2
    traffic = Traffic({root["id"]: root["vip_address"] for root in made})
    traffic.start()
    try:
        run(controller, "host", "evacuate", "one", "--wait", "--timeout", "60")
        pause(0.5)
    finally:
        traffic.stop()
    failed = Counter(failure.root_id for failure in traffic.failures)
    assert failed.keys() <= moving
    assert failed.total() == len(failed), "none twice"
    assert all(path.good for path in traffic.paths.values())
    assert one.host["used"] == 0
    until(lambda: not one.haproxies(), "its HAProxies have ended")
    assert "evacuating" in run(controller, "status")
    run(controller, "host", "enable", "one")
    assert one.host["enabled"]


def test_a_revoked_host_is_replaced_without_being_asked_and_is_not_let_in_again(
    controller: Installation, machines: dict[str, Machine], make: Callable[[str], dict[str, Any]]
) -> None:
    with Machine(controller, "gone") as gone:
        made = [make(f"lb{number}") for number in range(len(machines) + 1)]
        (moved,) = [root for root in made if on(controller, root["id"]) == [gone.id]]
        before = gone.haproxies()
        run(controller, "host", "revoke", "gone", "--wait", "--timeout", "60")
        assert on(controller, moved["id"]) != [gone.id]
        controller.active(f"loadbalancers/{moved['id']}")
        assert ask(moved["vip_address"])[0] == 200
        assert gone.haproxies() == before, "nobody speaks with it"
        refused = controller.command("host", "enable", "gone")
        assert refused.returncode == 1
        assert "enrol the machine anew" in refused.stderr
        gone.stop()
        gone.log_path.write_text("")
        again = start_as_before(controller, gone)
        try:
            until(lambda: "host not refreshed" in gone.log(), "the conductor refuses it")
        finally:
            again.terminate()
            again.wait(30)
        run(controller, "host", "delete", "gone")
        assert all(host["name"] != "gone" for host in controller.get("/v1/hosts"))


def start_as_before(controller: Installation, machine: Machine) -> subprocess.Popen[bytes]:
    """Its agent, with what it has of its enrolment."""
    environment = {**controller.environment, "CARYATID_STATE_DIR": str(machine.directory)}
    with machine.log_path.open("ab") as log:
        return subprocess.Popen([sys.executable, "-m", "caryatid", "agent"], env=environment, stdout=log, stderr=log)


@pytest.mark.parametrize(("words", "why"), [
    (["--join", "http://127.0.0.1:1"], "agent_join"),
    (["--token-file", "/nowhere/token"], "`caryatid host token`"),
    (["--token-file", "-"], "not an enrolment token"),
    (["--token-file", "TOKEN", "--join", "https://192.0.2.1:9877"], "--listen"),
])  # fmt: skip
def test_what_keeps_a_machine_from_joining_is_said_in_a_sentence(
    controller: Installation, tmp_path: Path, words: list[str], why: str
) -> None:
    token = tmp_path / "token"
    token.write_text(controller.command("host", "token").stdout)
    words = [str(token) if word == "TOKEN" else word for word in words]
    done = subprocess.run(
        [sys.executable, "-m", "caryatid", "agent", "--state-dir", str(tmp_path / "state"), *words],
        env=controller.environment, input="no token", capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert done.returncode
    assert why in done.stderr
    assert "Traceback" not in done.stderr
