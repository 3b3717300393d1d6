# SPDX-License-Identifier: Apache-2.0
"""Two amphorae that share a VIP: whatever happens to one, the other has it, and never both for long."""

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from caryatid.agent import runtime
from caryatid.agent.host import Agent
from caryatid.agent.namespace import find, short
from caryatid.agent.process import look
from caryatid.agent.run import stop_data_plane
from caryatid.agent.settings import AgentSettings, Uplink
from caryatid.drivers.amphora import datagrams
from caryatid.model.amphora import Amphora, Leg, Placed
from caryatid.model.network import Subnet
from caryatid.plan import keepalived, nftables
from caryatid.plan.haproxy import RenderSettings, render
from caryatid.wire.agent import Applied, Configuration, Server
from caryatid.wire.network import Plug, WireLeg
from tests.agent.networks.datagrams import Town, asked

VIP, SIX = "10.9.0.100", "fd00:9::100"
MEMBER_PORT = 8000
DATAGRAM_PORTS = (9000, 9001, 9002)
PORT = 80
SECONDS = 20
DOCUMENT = {
    "loadbalancer": {"vip_address": VIP},
    "listeners": [
        {"name": "web", "protocol": "HTTP", "protocol_port": PORT, "default_pool": "blue"},
        {"name": "dns", "protocol": "UDP", "protocol_port": PORT, "default_pool": "green"},
    ],
    "pools": [{
        "name": "green",
        "protocol": "UDP",
        "members": [{"address": "10.9.0.2", "protocol_port": port} for port in DATAGRAM_PORTS],
    }, {
        "name": "blue",
        "protocol": "HTTP",
        "session_persistence": {"type": "SOURCE_IP"},
        "members": [{"address": "10.9.0.2", "protocol_port": MEMBER_PORT}],
    }],
}
FOUR = Subnet.model_construct(id="four", cidr="10.9.0.0/24", gateway_ip="10.9.0.1", attachment="uplink")
SUBNETS = (
    (FOUR, VIP, "10.9.0.{}"),
    (Subnet.model_construct(id="six", cidr="fd00:9::/64", gateway_ip=None, attachment="uplink"), SIX, "fd00:9::{}"),
)


def ip(*words: str) -> str:
    """What the command says."""
    return subprocess.run([find("ip"), *words], check=True, capture_output=True, text=True, timeout=SECONDS).stdout


class Half:
    """One of the pair, on a host with an agent of its own."""

    def __init__(self, directory: Path, name: str, number: int, tree) -> None:
        self.name = name
        self.number = number
        self.other: Half
        self.tree = tree
        uplink = "default=bridge:nic0" if number == 11 else "default=cy-default"
        self.settings = AgentSettings(
            state_dir=directory / name, run_dir=directory / f"r{number}", uplinks=Uplink.parse(uplink), run_as="root"
        )
        self.agent: Agent
        self.generation = 0

    @property
    def row(self) -> Amphora:
        return Amphora.model_construct(
            id=f"amphora-{self.name}",
            role="MASTER" if self.number == 11 else "BACKUP",
            vrrp_ip=f"10.9.0.{self.number}",
            vrrp_id=7,
            vrrp_priority=keepalived.PRIORITIES["MASTER" if self.number == 11 else "BACKUP"],
        )

    @property
    def amphora(self):
        return self.agent.amphorae[self.row.id]

    async def up(self) -> None:
        self.agent = Agent(self.settings, self.name)
        await self.agent.open()

    async def configure(self) -> None:
        self.generation += 1
        legs = tuple(Leg(subnet, "default", (vip,), own.format(self.number)) for subnet, vip, own in SUBNETS)
        placed = Placed(self.row, None, legs, (self.other.row,))
        rendered = render(self.tree, settings=RenderSettings(), placed=placed)
        numbers = {"loadbalancer_id": "lb", "generation": self.generation, "fence": 1, "amphora_id": self.row.id}
        wire = [
            WireLeg(
                attachment="uplink",
                physical_network="default",
                cidr=leg.subnet.cidr,
                gateway_ip=leg.subnet.gateway_ip,
                vips=list(leg.vips),
                address=leg.address,
            )
            for leg in legs
        ]
        assert await self.agent.put_network(Plug(**numbers, legs=wire, shared=True)) is None
        outcome = await self.agent.put_configuration(
            Configuration(
                **numbers,
                text=rendered.text,
                servers=[Server(*server) for server in rendered.servers],
                hash=rendered.hash,
                base_hash=rendered.base_hash,
                keepalived=keepalived.render(self.tree, placed, advert_interval_s=0.1),
                nftables=nftables.render(self.tree, placed),
                datagrams=datagrams.told(self.tree),
            )
        )
        assert isinstance(outcome, Applied), outcome

    def pid(self, name: str) -> int:
        """The one that its pid file names."""
        return int((self.amphora.files.run / f"{name}.pid").read_text())

    def pids(self) -> tuple[int, int, int]:
        return self.pid("vrrp"), self.pid("keepalived"), self.amphora.process.pid

    async def vips(self) -> set[str]:
        """Those of the VIPs that are on its interfaces."""
        said = await asyncio.to_thread(ip, "-n", self.agent.networks.space(self.row.id).path.name, "-br", "addr")
        return {vip for vip in (VIP, SIX) if f" {vip}/" in said}

    def cable(self, change: str) -> None:
        """What is done to the host's end of its first leg."""
        ports = [line.split("@")[0] for line in ip("-br", "link").splitlines()]
        port = next(port for port in ports if short(self.row.id) in port and port.endswith("-0"))
        ip("link", "set", port, *change.split())


class Pair:
    def __init__(self, directory: Path, site, tree) -> None:
        self.site = site
        self.halves = [Half(directory, "first", 11, tree), Half(directory, "second", 12, tree)]
        self.halves[0].other, self.halves[1].other = self.halves[1], self.halves[0]

    def run(self, scenario: Callable[[Half, Half], Awaitable[None]]) -> None:
        """The scenario, once one has the VIPs and serves, which is given first."""
        self.site.member("client", MEMBER_PORT)

        async def whole() -> None:
            try:
                for half in self.halves:
                    await half.up()
                for half in self.halves:
                    await half.configure()
                async with asyncio.timeout(SECONDS * 4):
                    master = await self.settled()
                    await scenario(master, master.other)
            finally:
                for half in self.halves:
                    half.agent.close()
                    for log in half.settings.amphorae_dir.glob("*/keepalived.log"):
                        print(log, log.read_text())
                    await stop_data_plane(half.settings)

        asyncio.run(whole())

    async def settled(self, holder: Half | None = None) -> Half:
        """Exactly one has the VIPs, says so, and answers; the other says that it could have them."""
        found: list[Half] = []

        async def one() -> bool:
            vips = {half: await half.vips() for half in self.halves}
            found[:] = [half for half in self.halves if vips[half]]
            roles = sorted(str(half.amphora.role) for half in self.halves)
            well = len(found) == 1 and vips[found[0]] == {VIP, SIX} and found[0].amphora.role == "MASTER"
            return well and roles == ["BACKUP", "MASTER"] and holder in (None, found[0]) and await self.answers()

        try:
            await eventually(one)
        except TimeoutError:
            for half in self.halves:
                name = half.agent.networks.space(half.row.id).path.name
                print(half.amphora.role, *(ip("-n", name, what) for what in ("addr", "route", "neigh")))
            raise
        return found[0]

    async def answers(self) -> bool:
        return await self.site.answers("client", VIP, PORT) not in ("refused", "silence")


async def eventually(condition: Callable[[], Awaitable[bool]], seconds: float = SECONDS) -> None:
    async with asyncio.timeout(seconds):
        while not await condition():  # noqa: ASYNC110 - the world outside has no events
            await asyncio.sleep(0.1)


@pytest.fixture
def pair(site, grow) -> Iterator[Pair]:
    directory = Path(tempfile.mkdtemp(prefix="cyp", dir="/tmp"))
    directory.chmod(0o755)
    tree = grow(DOCUMENT)
    six = {"subnet_id": "5f6f1f3c-0d5b-4b0e-9a54-2f4b5c1d7e91", "ip_address": SIX}
    root = tree.loadbalancer.model_validate({**tree.loadbalancer.model_dump(), "additional_vips": [six]})
    yield Pair(directory, site, replace(tree, loadbalancer=root))
    shutil.rmtree(directory, ignore_errors=True)


def end(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def test_the_vips_go_over_when_haproxy_dies_and_stay_there_when_it_is_back(pair):
    async def scenario(master, standby):
        end(master.amphora.process.pid)
        assert await pair.settled(standby) is standby
        assert master.amphora.role == "BACKUP"

    pair.run(scenario)


@pytest.mark.parametrize("who", ["keepalived", "vrrp"])
def test_a_killed_keepalived_leaves_no_vip_behind_and_comes_back_as_the_standby(pair, who):
    async def scenario(master, standby):
        before = master.pid("keepalived")
        end(master.pid(who))
        assert await pair.settled(standby) is standby
        assert (master.pid("keepalived") == before) == (who == "vrrp")

    pair.run(scenario)


def test_all_processes_of_a_keepalived_killed_at_once_leave_no_vip_behind(pair):
    async def scenario(master, standby):
        for pid in (master.pid("vrrp"), master.pid("keepalived")):
            os.kill(pid, signal.SIGSTOP)
        for pid in (master.pid("vrrp"), master.pid("keepalived")):
            end(pid)
        assert await pair.settled(standby) is standby

    pair.run(scenario)


@pytest.mark.parametrize(("out", "back"), [("down", "up"), ("nomaster", "master cy-default")], ids=["link", "port"])
def test_who_is_cut_off_loses_the_vips_and_has_none_when_it_rejoins(pair, out, back):
    async def scenario(master, standby):
        async def taken() -> bool:
            return await standby.vips() == {VIP, SIX} and await pair.answers()

        master.cable(out)
        await eventually(taken)
        master.cable(back)
        if back == "up":
            assert await pair.settled(standby) is standby
        else:
            await pair.settled()  # both thought they were alone: the one of the higher priority keeps them

    pair.run(scenario)


def test_a_restart_of_the_agents_touches_nothing_and_knows_who_has_the_vips(pair):
    async def scenario(master, standby):
        before = [half.pids() for half in pair.halves]
        for half in pair.halves:
            half.agent.close()
            await half.up()
            await half.configure()
        assert [half.pids() for half in pair.halves] == before
        assert (master.amphora.role, standby.amphora.role) == ("MASTER", "BACKUP")
        end(master.amphora.process.pid)
        assert await pair.settled(standby) is standby

    pair.run(scenario)


def test_what_died_while_there_was_no_agent_is_put_right_by_the_next(pair):
    async def scenario(master, standby):
        master.agent.close()
        pids = (master.pid("vrrp"), master.pid("keepalived"))
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        for pid in pids:
            end(pid)

        async def taken() -> bool:
            return await standby.vips() == {VIP, SIX}

        await eventually(taken)
        assert await master.vips() == {VIP, SIX}  # both have them
        await master.up()
        assert await pair.settled(standby) is standby

    pair.run(scenario)


def test_a_changed_configuration_is_taken_without_a_change_of_hands(pair):
    async def scenario(master, standby):
        pids = [half.pid("vrrp") for half in pair.halves]
        told = []
        for half in pair.halves:
            half.agent.role_changed = lambda amphora: told.append(amphora.id)
            half.tree = replace(half.tree, loadbalancer=half.tree.loadbalancer.model_copy(update={"id": "lb2"}))
            await half.configure()
        assert await pair.settled(master) is master
        assert [half.pid("vrrp") for half in pair.halves] == pids
        assert told == []

    pair.run(scenario)


def test_a_deleted_amphora_gives_its_vips_away_and_leaves_nothing(pair):
    async def scenario(master, standby):
        pids = master.pids()
        space = master.agent.networks.space(master.row.id)
        await master.agent.delete(master.row.id, 100, 1)

        async def taken() -> bool:
            return standby.amphora.role == "MASTER" and await pair.answers()

        await eventually(taken)
        assert not space.exists
        assert [look(pid) for pid in pids] == [None, None, None]

    pair.run(scenario)


def test_flows_of_datagrams_keep_their_members_in_a_takeover(pair):
    town = Town(pair.site)
    for port in DATAGRAM_PORTS:
        town.member(f"m{port}", port=port)

    async def scenario(master, standby):
        flows = [town.client(VIP, port=PORT) for _ in range(30)]
        before = await asked(flows)
        assert set(before) == {f"m{port}" for port in DATAGRAM_PORTS}
        end(master.amphora.process.pid)
        await pair.settled(standby)
        assert await asked(flows) == before

    try:
        pair.run(scenario)
    finally:
        town.close()


def test_persistence_outlives_a_takeover(pair):
    async def scenario(master, standby):
        async def known() -> bool:
            tables = [await table_of(half) for half in pair.halves]
            return all("10.9.0.2" in table for table in tables)

        assert await pair.answers()
        await eventually(known)
        end(master.amphora.process.pid)
        await pair.settled(standby)
        assert "10.9.0.2" in await table_of(standby)
        await eventually(known)  # who comes back is told

    pair.run(scenario)


async def table_of(half: Half) -> str:
    with contextlib.suppress(runtime.RuntimeUnavailable):
        backend = half.amphora.servers and next(iter(half.amphora.servers))[0]
        return await runtime.call(half.amphora.files.stats_socket, f"show table {backend}")
    return ""
