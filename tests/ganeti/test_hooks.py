# SPDX-License-Identifier: Apache-2.0
"""The hook of the fast tier: an agent runs for an instance if and only if the hypervisor has it running."""

import base64
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.waiting import until
from tests.ganeti.cluster import BRIDGE, RealCluster, wanted
from tests.ganeti.site import install, short

WITHIN_S = 60
SECRET = base64.urlsafe_b64encode(uuid.uuid4().bytes * 4).decode().rstrip("=")
AGENT = """#!/bin/sh
# Stands for an agent: what matters here is that it runs, with what.
echo "$@" > "$CARYATID_STATE_DIR/words"
echo begun >> "$CARYATID_STATE_DIR/begun"
exec sleep 1000
"""


@pytest.fixture(scope="module")
def agents(ganeti: RealCluster, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for each instance; the hooks are installed."""
    folder = tmp_path_factory.mktemp("agents")
    agent = tmp_path_factory.mktemp("agent") / "agent"
    agent.write_text(AGENT)
    agent.chmod(0o755)
    install(ganeti, folder, str(agent))
    return folder


class Machine:
    """An instance of the fake hypervisor, and what the hook makes of it."""

    def __init__(self, cluster: RealCluster, agents: Path) -> None:
        self.key = str(uuid.uuid4())
        self.name = f"amphora-{self.key}.caryatid.invalid"
        self.home = agents / self.name
        self.space = f"cya-{short(self.key)}"
        self._cluster = cluster

    def make(self, os: str = "caryatid+hooks") -> None:
        nics = [{"network": "amphorae", "ip": "pool"}, {"mode": "bridged", "link": BRIDGE}]
        more = {"os_type": os, "osparams_secret": {"seed": SECRET}, "disk_template": "file", "disks": [{"size": 1024}]}
        job = self._cluster.rapi().create(wanted(self.name, nics=nics, **more))
        self._cluster.run("gnt-job", "watch", str(job))

    def do(self, *words: str) -> str:
        return self._cluster.run("gnt-instance", *words, self.name)

    def processes(self) -> list[str]:
        """Of the node's process table."""
        pids = f"ip netns list | grep -q {self.space} && ip netns pids {self.space} || true"
        return self._cluster.run("sh", "-c", pids).split()


@pytest.fixture
def machine(ganeti: RealCluster, agents: Path) -> Iterator[Machine]:
    made = Machine(ganeti, agents)
    yield made
    if made.name in ganeti.instances():
        ganeti.remove(made.name)


def begun(machine: Machine) -> int:
    """How often an agent has begun."""
    file = machine.home / "begun"
    return len(file.read_text().splitlines()) if file.exists() else 0


def test_an_agent_runs_with_the_seed_and_the_interfaces_of_its_instance(ganeti, machine):
    machine.make()
    until(lambda: begun(machine), "its agent has begun", WITHIN_S)
    seed = machine.home / "seed"
    assert (machine.home / "words").read_text().split() == ["--seed", str(seed)]
    assert seed.stat().st_mode & 0o777 == 0o600
    said = dict(line.split("=", 1) for line in seed.read_text().splitlines())
    assert (said["SEED"], said["NIC_0_NETWORK_SUBNET"]) == (SECRET, "10.99.0.0/24")
    shown = ganeti.run("ip", "-n", machine.space, "-br", "link", "show", "type", "veth")
    macs = {line.split()[0].partition("@")[0]: line.split()[2] for line in shown.splitlines()}
    assert macs == {"eth0": said["NIC_0_MAC"], "eth1": said["NIC_1_MAC"]}


def test_the_bridge_keeps_its_address_whoever_comes_and_goes(ganeti, machine):
    before = ganeti.run("cat", f"/sys/class/net/{BRIDGE}/address")
    machine.make()
    until(lambda: begun(machine), "its agent has begun", WITHIN_S)
    assert ganeti.run("cat", f"/sys/class/net/{BRIDGE}/address") == before
    ports = ganeti.run("ip", "-br", "link", "show", "master", BRIDGE).splitlines()
    near = [line.split()[2] for line in ports if short(machine.key) in line]
    assert [mac.partition(":")[0] for mac in near] == ["fe", "fe"]


def test_the_seed_is_on_the_disk_no_more(ganeti, machine):
    machine.make()
    until(lambda: begun(machine), "its agent has begun", WITHIN_S)
    disk = f"/run/ganeti/instance-disks/{machine.name}:0"
    assert SECRET not in ganeti.run("sh", "-c", f"head -c 65536 {disk} | tr -d '\\0'")


def test_it_ends_and_begins_with_its_instance(ganeti, machine):
    machine.make()
    until(lambda: begun(machine) == 1, "its agent has begun", WITHIN_S)
    machine.do("stop", "--timeout=0")
    assert not machine.processes()
    machine.do("start")
    until(lambda: begun(machine) == 2, "its agent has begun again", WITHIN_S)
    before = set(machine.processes())
    machine.do("reboot")
    until(lambda: begun(machine) == 3, "its agent has begun anew", WITHIN_S)
    assert not before & set(machine.processes())


def test_nothing_is_left_of_an_instance_that_is_removed(ganeti, machine):
    machine.make()
    until(lambda: begun(machine), "its agent has begun", WITHIN_S)
    ganeti.remove(machine.name)
    assert not machine.processes()
    assert not machine.home.exists()
    assert short(machine.key) not in ganeti.run("ip", "link")
    assert machine.space not in ganeti.run("ip", "netns", "list")


def test_an_instance_that_crashed_begins_anew(ganeti, machine):
    machine.make()
    until(lambda: begun(machine), "its agent has begun", WITHIN_S)
    ganeti.crash(machine.name)
    machine.do("start")
    until(lambda: begun(machine) and machine.processes(), "an agent runs", WITHIN_S)
    machine.do("stop", "--timeout=0")
    assert not machine.processes()


def test_instances_of_others_are_none_of_its_business(ganeti, machine):
    machine.make("noop+default")
    assert not machine.home.exists()
    assert not machine.processes()
