# SPDX-License-Identifier: Apache-2.0
"""The agent of a machine that was made for one amphora: its first boot, and those after it."""

import asyncio
import json
import shutil
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from caryatid.agent import firstboot
from caryatid.agent.firstboot import NotSeeded
from caryatid.agent.run import run as run_agent
from caryatid.agent.settings import AgentSettings, Uplink
from caryatid.api.conductor import create_app
from caryatid.control.credentials import Credentials
from caryatid.drivers.noop import WORLD
from caryatid.model import HOST
from caryatid.store.database import Database
from caryatid.wire.seed import Seed, SeedRefused, write
from caryatid.wire.tls import listening_socket, server
from tests.agent.networks.conftest import ip
from tests.control.ganeti.works import Works

MAC, OTHER = "aa:00:00:00:00:01", "aa:00:00:00:00:02"
SEED = Seed(token="a secret", amphora_id="a1", name="amphora-a1.example.test", port=9443, uplinks={"physnet1": 1})
GANETI = {
    "NIC_0_MAC": MAC.upper(),
    "NIC_0_IP": "10.77.0.5",
    "NIC_0_MODE": "bridged",
    "NIC_0_NETWORK_SUBNET": "10.77.0.0/24",
    "NIC_0_NETWORK_GATEWAY": "10.77.0.1",
    "NIC_1_MAC": OTHER,
}


@pytest.fixture
def machine(site):
    """Two interfaces that nobody has touched, in an order that is not Ganeti's."""
    ip(f"link add eth0 address {OTHER} type veth peer name far0\nlink add eth1 address {MAC} type veth peer name far1")
    return site


@pytest.fixture
def known(tmp_path):
    return AgentSettings(state_dir=tmp_path / "agent")


@pytest.fixture
def seeded(tmp_path):
    path = tmp_path / "seed"
    path.write_text(write(SEED.encode(), GANETI))
    return path


def test_a_machine_takes_the_address_that_ganeti_gave_it(machine, known, seeded):
    told = firstboot.prepare(seeded, known)
    assert "10.77.0.5/24" in ip("addr show dev eth1")
    assert "default via 10.77.0.1 dev eth1" in ip("route")
    assert "state UP" in ip("link show dev eth0") or ",UP" in ip("link show dev eth0")
    assert (told.listen, told.advertise) == ("10.77.0.5:9443", "https://10.77.0.5:9443")
    assert (told.name, told.capacity, told.token) == (SEED.name, 1, "a secret")
    assert told.uplinks == (Uplink("physnet1", "macvlan", "eth0"),)


def test_after_a_reboot_it_goes_on_without_its_seed(machine, known, seeded):
    before = firstboot.prepare(seeded, known)
    firstboot.forget(seeded)
    ip("addr flush dev eth1\nlink set eth1 down")
    after = firstboot.prepare(seeded, known)
    assert "10.77.0.5/24" in ip("addr show dev eth1")
    assert after == replace(before, token="")


def test_what_is_kept_has_no_secret(machine, known, seeded):
    firstboot.prepare(seeded, known)
    kept = known.state_dir / firstboot.KEPT
    assert json.loads(kept.read_text())["amphora_id"] == "a1"
    assert SEED.token not in kept.read_text()
    assert kept.stat().st_mode & 0o077 == 0


def test_where_addresses_are_there_already_nothing_is_changed(machine, known, seeded):
    firstboot.prepare(seeded, known)
    before = ip("addr\nroute")
    firstboot.prepare(seeded, known)
    assert ip("addr\nroute") == before


def test_without_a_mac_interfaces_are_counted(machine, known, seeded):
    seeded.write_text(write(SEED.encode(), {name: GANETI[name] for name in GANETI if "MAC" not in name}))
    firstboot.prepare(seeded, known)
    assert "10.77.0.5/24" in ip("addr show dev eth0")


def test_ipv6_is_as_good(machine, known, seeded):
    six = {"NIC_0_IP": "fd77::5", "NIC_0_NETWORK_SUBNET6": "fd77::/64", "NIC_0_NETWORK_GATEWAY6": "fd77::1"}
    seeded.write_text(write(SEED.encode(), {"NIC_0_MAC": MAC, "NIC_0_NETWORK_SUBNET": "10.77.0.0/24", **six}))
    told = firstboot.prepare(seeded, known)
    assert told.advertise == "https://[fd77::5]:9443"
    assert "fd77::5/64" in ip("addr show dev eth1")


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", SeedRefused),
        ("SEED=rubbish\n", SeedRefused),
        (write(SEED.encode(), {**GANETI, "NIC_0_IP": "not one"}), SeedRefused),
        (write(SEED.encode(), {"NIC_0_MAC": MAC}), NotSeeded),
        (write(SEED.encode(), {**GANETI, "NIC_2_MAC": "aa:00:00:00:00:09"}), NotSeeded),
    ],
)
def test_what_is_no_seed_is_refused_without_its_secret(machine, known, seeded, text, error):
    seeded.write_text(text)
    with pytest.raises(error) as caught:
        firstboot.prepare(seeded, known)
    assert SEED.token not in str(caught.value)
    assert SEED.encode() not in str(caught.value)


def test_neither_a_seed_nor_an_earlier_boot_is_said_in_a_sentence(machine, known, tmp_path):
    with pytest.raises(NotSeeded, match="no seed"):
        firstboot.prepare(tmp_path / "none", known)


def test_a_seed_says_no_secret_of_itself():
    assert SEED.token not in repr(SEED)
    assert Seed.decode(SEED.encode()) == SEED


# with a controller


@pytest.fixture
def works(machine, sqlite, tmp_path):
    """An installation whose controller is on the machines' network, and one machine that boots."""
    WORLD.forget()
    ip("addr add 10.77.0.1/32 dev lo")
    shutil.copy(sqlite, tmp_path / "caryatid.db")
    database = Database(f"sqlite:///{tmp_path}/caryatid.db")
    listener = listening_socket("10.77.0.1", 0)
    url = f"https://10.77.0.1:{listener.getsockname()[1]}"
    works = Works(database, tmp_path / "controller", conductor_advertise=url)
    works.listener = listener
    yield works
    listener.close()
    database.close()
    WORLD.forget()


@asynccontextmanager
async def conducted(works):
    context = Credentials(works.registry, "controller-test").server()
    serving = server(create_app(works.registry), context)
    task = asyncio.create_task(serving.serve(sockets=[works.listener]))
    try:
        yield
    finally:
        serving.should_exit = True
        await task


async def booted(settings, seed):
    """The agent has run until it could be asked."""
    stop, ready = asyncio.Event(), asyncio.Event()
    running = asyncio.create_task(run_agent(settings, stop, ready.set))
    told = asyncio.create_task(ready.wait())
    try:
        async with asyncio.timeout(60):
            await asyncio.wait({running, told}, return_when=asyncio.FIRST_COMPLETED)
        firstboot.forget(seed)
    finally:
        told.cancel()
        stop.set()
        await running


def test_a_machine_that_boots_becomes_its_amphoras_host(works, known, tmp_path):
    root_id = works.create().document["id"]
    works.work()
    amphora_id = works.only(root_id)["id"]
    works.make(amphora_id)
    seed, told = tmp_path / "seed", Seed(**{**SEED.model_dump(), "token": works.token(amphora_id).encode()})
    seed.write_text(write(told.encode(), {name: GANETI[name] for name in GANETI if "GATEWAY" not in name}))

    async def story():
        async with conducted(works):
            await booted(await asyncio.to_thread(firstboot.prepare, seed, known), seed)
            assert not seed.exists()
            await booted(await asyncio.to_thread(firstboot.prepare, seed, known), seed)  # a reboot

    asyncio.run(story())
    machine = works.machine(amphora_id)
    host = works.get(HOST, machine.host_id)
    assert machine.phase == "READY"
    assert (host["name"], host["agent_url"], host["capacity"]) == (SEED.name, "https://10.77.0.5:9443", 1)
    assert works.hosts() == {machine.host_id}
    works.work()
    assert works.status(root_id) == "ACTIVE"
