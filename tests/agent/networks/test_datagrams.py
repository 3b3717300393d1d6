# SPDX-License-Identifier: Apache-2.0
"""Datagrams through an amphora: who gets them, what moves and what stays, and what is said of it all."""

import asyncio
import socket
import subprocess
from collections.abc import Iterable
from dataclasses import replace

import pytest

from caryatid.agent.namespace import find
from caryatid.drivers.amphora import datagrams
from caryatid.model.amphora import Amphora, Leg, Placed
from caryatid.model.network import Subnet
from caryatid.plan import nftables
from caryatid.plan.haproxy import RenderSettings, render
from caryatid.wire.agent import Applied, Configuration, Server
from tests.agent.networks.conftest import ANSWER_S, NETS, ip
from tests.agent.networks.datagrams import SILENCE_S, Town, ask, asked
from tests.agent.test_report import reporting
from tests.conftest import key

VIP, SIX = "10.9.0.100", "fd00:9::100"
PORT = 5353
MEMBERS = {4: ("10.9.0.2", "10.8.0.2"), 6: ("fd00:9::2", "fd00:8::2")}
"""On the machines client and far."""
FLOWS = 40


def pool(*members: dict, **attributes: object) -> dict:
    return {"name": "dns", "protocol": "UDP", "members": list(members), **attributes}


def one(number: int = 0, address: str = MEMBERS[4][0], **attributes: object) -> dict:
    return {"name": str(number), "address": address, "protocol_port": 8000 + number, **attributes}


def tree_of(grow, *pools: dict, vips: Iterable[str] = (VIP,), **listener: object):
    first, *more = vips
    document = {
        "loadbalancer": {"vip_address": first},
        "listeners": [
            {"name": "dns", "protocol": "UDP", "protocol_port": PORT, "default_pool": pools and "dns", **listener}
        ],
        "pools": list(pools),
    }
    tree = grow(document)
    rows = [{"subnet_id": key("more"), "ip_address": vip} for vip in more]
    root = tree.loadbalancer.model_validate({**tree.loadbalancer.model_dump(), "additional_vips": rows})
    return replace(tree, loadbalancer=root)


class Udp:
    """One amphora for datagrams, as a controller would have it."""

    def __init__(self, site, agent, vips: Iterable[str] = (VIP,), attachment: str = "uplink") -> None:
        self.site, self.agent = site, agent
        self.generation = 0
        self.row = Amphora.model_construct(id="amphora-udp", role="STANDALONE", vrrp_ip=None)
        self.legs = tuple(
            Leg(Subnet.model_construct(id=vip, attachment=attachment, **NETS[":" in vip]), "default", (vip,))
            for vip in vips
        )

    @property
    def amphora(self):
        return self.agent.amphorae[self.row.id]

    async def plug(self, **attributes: object) -> None:
        plan = type("Numbers", (), {**self.numbers(), "amphora_id": self.row.id})
        legs = [self.site.leg(*leg.vips, attachment=leg.subnet.attachment, **attributes) for leg in self.legs]
        assert await self.agent.put_network(self.site.plug(plan, *legs)) is None

    def numbers(self) -> dict:
        self.generation += 1
        return {"loadbalancer_id": "lb", "generation": self.generation, "fence": 1}

    async def put(self, tree) -> str:
        """How it came into effect."""
        placed = Placed(self.row, None, self.legs)
        rendered = render(tree, settings=RenderSettings(), placed=placed)
        outcome = await self.agent.put_configuration(
            Configuration(
                **self.numbers(),
                amphora_id=self.row.id,
                text=rendered.text,
                servers=[Server(*server) for server in rendered.servers],
                hash=rendered.hash,
                base_hash=rendered.base_hash,
                nftables=nftables.render(tree, placed),
                datagrams=hastened(datagrams.told(tree)),
            )
        )
        assert isinstance(outcome, Applied), outcome
        return outcome.how

    async def told(self):
        """(listener's counters, members' statuses)."""
        reading = await self.amphora.datagrams.read()
        [listener] = reading.listeners.values()
        members = {member: status for _, seen in reading.pools.values() for member, status in seen.items()}
        return listener, members


def hastened(told):
    """Checks come quickly."""
    quick = {"delay_s": 0.1, "timeout_s": 2.0}
    pools = [
        pool.model_copy(update={"monitor": pool.monitor and pool.monitor.model_copy(update=quick)})
        for pool in (told.pools if told else ())
    ]
    return told and told.model_copy(update={"pools": pools})


@pytest.fixture
def town(site):
    made = Town(site)
    yield made
    made.close()



@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("attachment", ["uplink", "routed"])
def test_flows_are_shared_out_among_members_near_and_far(world, site, town, grow, version, attachment):
    site.host_addresses()
    site.uplinks(world, "default=macvlan:nic0")
    vip, (near, far) = {4: VIP, 6: SIX}[version], MEMBERS[version]
    town.member("near")
    town.member("far", "far", 8001)
    tree = tree_of(grow, pool(one(0, near), one(1, far)), vips=[vip])

    async def scenario(agent):
        udp = Udp(site, agent, [vip], attachment)
        await udp.plug(proxy_arp=attachment == "routed")
        assert await udp.put(tree) == "stopped"
        clients = [town.client(vip, machine) for machine in ("client", "far") for _ in range(FLOWS)]
        first = [await asyncio.to_thread(ask, client) for client in clients]
        assert set(first) == {"near", "far"}
        assert [await asyncio.to_thread(ask, client) for client in clients] == first  # each flow keeps its member
        (_, size_in, size_out, active, total, _), _ = await udp.told()
        assert (active, total) == (2 * FLOWS, 2 * FLOWS)
        assert size_out > size_in > 2 * FLOWS * 2 * 29 - 1

    world.run(scenario)


MONITOR = {"type": "UDP-CONNECT", "delay": 3, "timeout": 2, "max_retries": 1, "max_retries_down": 2}


@pytest.fixture
def udp_world(world, site, town, grow):
    """Runs a scenario with an amphora for datagrams whose members `m0`, `m1` and `m2` are there."""
    site.uplinks(world, "default=bridge:nic0")
    members = [town.member(f"m{number}", port=8000 + number) for number in range(3)]

    def run(scenario):
        async def whole(agent):
            udp = Udp(site, agent)
            await udp.plug()
            await scenario(udp, members)

        world.run(whole)

    return run


async def first_answers(udp, town, tree) -> tuple[list[socket.socket], list[str]]:
    await udp.put(tree)
    clients = [town.client() for _ in range(FLOWS)]
    return clients, [await asyncio.to_thread(ask, client) for client in clients]


def test_flows_stay_where_they_are_when_weights_change_and_members_come(udp_world, town, grow):
    async def scenario(udp, members):
        clients, before = await first_answers(udp, town, tree_of(grow, pool(one(0), one(1))))
        for weights in ((1, 9, 1), (0, 1, 200), (256, 0, 3)):
            some = [one(number, weight=weight) for number, weight in enumerate(weights)]
            assert await udp.put(tree_of(grow, pool(*some))) == "runtime"
            assert await asked(clients) == before
        fresh = [town.client() for _ in range(FLOWS)]
        assert set(await asked(fresh)) <= {"m0", "m2"}  # who drains gets nothing new

    udp_world(scenario)


@pytest.mark.parametrize("how", ["removed", "disabled"])
def test_the_flows_of_a_member_that_goes_are_with_others_at_once(udp_world, town, grow, how):
    async def scenario(udp, members):
        clients, before = await first_answers(udp, town, tree_of(grow, pool(one(0), one(1), one(2))))
        gone = [] if how == "removed" else [one(1, admin_state_up=False)]
        await udp.put(tree_of(grow, pool(one(0), one(2), *gone)))
        after = await asked(clients)
        assert [now for now, was in zip(after, before, strict=True) if was != "m1"] == [
            was for was in before if was != "m1"
        ]
        assert {now for now, was in zip(after, before, strict=True) if was == "m1"} == {"m0", "m2"}

    udp_world(scenario)


def test_a_member_that_dies_is_found_out_and_its_flows_move_and_come_back_for_new_ones(udp_world, world, town, grow):
    told = []

    async def scenario(udp, members):
        udp.agent.members_changed = told.append
        tree = tree_of(grow, pool(one(0), one(1), healthmonitor=MONITOR))
        clients, before = await first_answers(udp, town, tree)
        assert set(before) == {"m0", "m1"}
        dying = key("member", "dns", "1")

        async def seen(status):
            return (await udp.told())[1][dying] == status

        members[1].stop()
        await world.eventually(lambda: seen("DOWN"), 20)
        await world.eventually(lambda: all_from(clients, {"m0"}), 20)
        assert told
        town.member("m1", port=8001)
        await world.eventually(lambda: seen("UP"), 20)
        assert set(await asked(clients)) == {"m0"}  # what works is left alone

        async def shared():
            return set(await asked([town.client() for _ in range(FLOWS)])) == {"m0", "m1"}

        await world.eventually(shared)

    udp_world(scenario)


def test_a_machine_that_is_gone_is_found_out_though_silence_is_no_answer(udp_world, site, world, town, grow):
    async def scenario(udp, members):
        tree = tree_of(grow, pool(one(0), one(1, "10.9.0.1"), healthmonitor=MONITOR))
        town.member("gone", "router", 8001)
        clients, before = await first_answers(udp, town, tree)
        assert set(before) == {"m0", "gone"}
        ip("link set p-router nomaster", "switch")

        async def moved():
            for client in clients:
                client.settimeout(0.02)
            return await all_from(clients, {"m0"})

        await world.eventually(moved, 25)

    udp_world(scenario)


async def all_from(clients, names) -> bool:
    return set(await asked(clients)) == names


def test_backups_serve_only_while_no_other_member_does(udp_world, world, town, grow):
    async def scenario(udp, members):
        tree = tree_of(grow, pool(one(0), one(1, backup=True), one(2, backup=True), healthmonitor=MONITOR))
        clients, before = await first_answers(udp, town, tree)
        assert set(before) == {"m0"}
        members[0].stop()
        await world.eventually(lambda: all_from(clients, {"m1", "m2"}))

    udp_world(scenario)


def test_who_nobody_can_serve_is_told_so(udp_world, world, town, grow):
    async def scenario(udp, members):
        await udp.put(tree_of(grow))
        assert await asyncio.to_thread(ask, town.client()) == "refused"
        await udp.put(tree_of(grow, pool(one(0), healthmonitor=MONITOR)))
        client = town.client()
        assert await asyncio.to_thread(ask, client) == "m0"
        members[0].stop()

        async def found_out():  # until then it is the member's machine that refuses, not we
            return (await udp.amphora.datagrams.read()).pools.popitem()[1][0] == "DOWN"

        await world.eventually(found_out)
        await world.eventually(lambda: all_from([client], {"refused"}))

    udp_world(scenario)


def test_a_client_comes_back_to_its_member_from_whatever_port(udp_world, town, grow):
    async def scenario(udp, members):
        persistence = {"type": "SOURCE_IP", "persistence_timeout": 60, "persistence_granularity": "255.255.255.0"}
        for tree in (
            tree_of(grow, pool(one(0), one(1), one(2), lb_algorithm="SOURCE_IP")),
            tree_of(grow, pool(one(0), one(1), one(2), session_persistence=persistence)),
        ):
            await udp.put(tree)
            assert len(set(await asked([town.client() for _ in range(FLOWS)]))) == 1

    udp_world(scenario)


def test_only_allowed_networks_are_served_and_who_no_longer_is_loses_its_flows(udp_world, town, grow):
    async def scenario(udp, members):
        await udp.put(tree_of(grow, pool(one(0)), allowed_cidrs=["10.9.0.0/24"]))
        near, far = town.client(), town.client(machine="far")
        far.settimeout(SILENCE_S)
        assert (await asked([near, far])) == ["m0", "silence"]
        await udp.put(tree_of(grow, pool(one(0)), allowed_cidrs=["10.8.0.0/24"]))
        near.settimeout(SILENCE_S)
        far.settimeout(ANSWER_S)
        assert (await asked([near, far])) == ["silence", "m0"]

    udp_world(scenario)


def test_no_more_flows_than_the_limit_are_served_at_a_time(udp_world, town, grow):
    async def scenario(udp, members):
        await udp.put(tree_of(grow, pool(one(0)), connection_limit=5))
        clients = [town.client() for _ in range(7)]
        for client in clients[5:]:
            client.settimeout(SILENCE_S)
        assert await asked(clients) == ["m0"] * 5 + ["silence"] * 2
        assert (await udp.told())[0][0] == "FULL"

    udp_world(scenario)


def test_a_listener_that_goes_takes_its_flows_and_counters_along(udp_world, town, grow):
    async def scenario(udp, members):
        clients, _ = await first_answers(udp, town, tree_of(grow, pool(one(0))))
        await udp.put(tree_of(grow, pool(one(0)), admin_state_up=False))
        for client in clients[:3]:
            client.settimeout(SILENCE_S)
        assert set(await asked(clients[:3])) == {"silence"}
        assert await udp.amphora.datagrams.read() is None
        assert "datagrams" not in rules(udp)
        await udp.put(tree_of(grow, pool(one(0))))
        assert (await udp.told())[0][4] == 0

    udp_world(scenario)


def test_counters_and_flows_outlive_another_ruleset_and_nothing_stale_is_left(udp_world, town, grow):
    async def scenario(udp, members):
        other = pool(one(2), name="other")
        clients, before = await first_answers(udp, town, tree_of(grow, pool(one(0), one(1)), other))
        counted = (await udp.told())[0]
        assert counted[4] == FLOWS
        await udp.put(tree_of(grow, pool(one(0), one(1)), timeout_client_data=7000, connection_limit=1000))
        assert (await udp.told())[0] == counted
        assert await asked(clients) == before
        assert "idle-7s" in rules(udp)
        assert "idle-50s" not in rules(udp)

    udp_world(scenario)


def rules(udp) -> str:
    return ip_nft(udp.agent.networks.space(udp.row.id))


def ip_nft(space) -> str:
    command = [*space.spawn_prefix(), find("nft"), "--terse", "list", "ruleset"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_an_amphora_of_datagrams_alone_runs_though_it_has_no_process(udp_world, town, grow):
    async def scenario(udp, members):
        await udp.put(tree_of(grow, pool(one(0))))
        assert await asyncio.to_thread(ask, town.client()) == "m0"
        state = udp.amphora.state()
        assert (state["running"], state["pid"]) == (True, None)

    udp_world(scenario)


def test_the_same_port_serves_datagrams_and_connections(udp_world, site, town, grow):
    site.member("client", 8000)

    async def scenario(udp, members):
        tree = tree_of(grow, pool(one(0)))
        web = grow({
            "loadbalancer": {"vip_address": VIP},
            "listeners": [{"name": "web", "protocol": "HTTP", "protocol_port": PORT, "default_pool": "web"}],
            "pools": [{"name": "web", "protocol": "HTTP", "members": [one(0)]}],
        })
        both = replace(tree, listeners=tree.listeners + web.listeners, pools=tree.pools + web.pools)
        assert await udp.put(both) == "started"
        client = town.client()
        assert await asyncio.to_thread(ask, client) == "m0"
        assert await site.answers("client", VIP, PORT) == VIP
        assert await udp.put(tree) == "stopped"
        assert await site.answers("client", VIP, PORT) == "silence"
        assert await asyncio.to_thread(ask, client) == "m0"

    udp_world(scenario)


def test_a_restart_of_the_agent_touches_nothing_and_knows_who_is_down(world, site, town, grow):
    site.uplinks(world, "default=bridge:nic0")
    members = [town.member(f"m{number}", port=8000 + number) for number in range(2)]
    clients, before = [], []
    tree = tree_of(grow, pool(one(0), one(1), healthmonitor=MONITOR))

    async def first(agent):
        udp = Udp(site, agent)
        await udp.plug()
        clients[:], _ = await first_answers(udp, town, tree)
        members[1].stop()
        await world.eventually(lambda: all_from(clients, {"m0"}))
        before.extend([udp.amphora.datagrams._state.model_dump(), listed(udp), (await udp.told())[0]])

    async def second(agent):
        udp = Udp(site, agent)
        after = [udp.amphora.datagrams._state.model_dump(), listed(udp), (await udp.told())[0]]
        assert after == before
        assert (await udp.told())[1][key("member", "dns", "1")] == "DOWN"
        assert await all_from(clients, {"m0"})
        udp.generation = 10
        assert await udp.put(tree) == "unchanged"

    world.run(first)
    world.run(second)


def listed(udp) -> str:
    """Maps with their elements."""
    space = udp.agent.networks.space(udp.row.id)
    command = [*space.spawn_prefix(), find("nft"), "list", "maps"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_after_a_reboot_all_is_made_anew_and_counted_anew(world, site, town, grow):
    site.uplinks(world, "default=bridge:nic0")
    town.member("m0")
    epochs = []

    async def first(agent):
        udp = Udp(site, agent)
        await udp.plug()
        await first_answers(udp, town, tree_of(grow, pool(one(0))))
        epochs.append((await udp.amphora.datagrams.read()).epoch)

    async def second(agent):
        udp = Udp(site, agent)
        await world.eventually(lambda: all_from([town.client()], {"m0"}))
        reading = await udp.amphora.datagrams.read()
        assert reading.epoch not in epochs

    world.run(first)
    site.reboot(world)
    world.run(second)


def test_answers_leave_by_the_leg_that_has_the_vip(world, site, town, grow):
    """Two legs of one family: the first has no gateway to the client, and would be asked first."""
    site.uplinks(world, "default=bridge:nic0")
    other, beyond = "10.6.0.100", "10.6.0.1"
    ip(f"addr add {beyond}/24 dev eth0", "router")
    ip(f"route add {other}/32 via 10.8.0.1", "far")
    town.member("m0", "client")
    tree = tree_of(grow, pool(one(0)), vips=[VIP, other])

    async def scenario(agent):
        udp = Udp(site, agent, [VIP, other])
        plan = type("Numbers", (), {**udp.numbers(), "amphora_id": udp.row.id})
        legs = site.leg(VIP, gateway_ip="10.9.0.9"), site.leg(other, cidr="10.6.0.0/24", gateway_ip=beyond)
        assert await agent.put_network(site.plug(plan, *legs)) is None
        await udp.put(tree)
        assert await asyncio.to_thread(ask, town.client(other, "far")) == "m0"

    world.run(scenario)


def test_members_and_counters_are_told_beside_haproxys(udp_world, site, town, grow):
    site.member("client", 8000)

    async def scenario(udp, members):
        with reporting(udp.agent) as receiver:
            tree = tree_of(grow, pool(one(0), one(1), healthmonitor=MONITOR))
            web = grow({
                "loadbalancer": {"vip_address": VIP},
                "listeners": [{"name": "web", "protocol": "HTTP", "protocol_port": PORT, "default_pool": "web"}],
                "pools": [{"name": "web", "protocol": "HTTP", "members": [one(0)]}],
            })
            await udp.put(replace(tree, listeners=tree.listeners + web.listeners, pools=tree.pools + web.pools))
            dying, dns, http = key("member", "dns", "1"), key("listener", "dns"), key("listener", "web")
            await receiver.until(lambda: {dns, http} <= receiver.listeners.keys())
            assert receiver.members[dying] == "UP"
            (epoch, _), (other, _) = receiver.listeners[dns], receiver.listeners[http]
            assert epoch != other
            await asked([town.client() for _ in range(FLOWS)])
            await receiver.until(lambda: receiver.listeners[dns][1][4] == FLOWS)
            members[1].stop()
            await receiver.until(lambda: receiver.members[dying] == "DOWN", 20)
            assert receiver.listeners[dns][0] == epoch

    udp_world(scenario)
