# SPDX-License-Identifier: Apache-2.0
"""Who has a VIP."""

import asyncio

import pytest

from caryatid.agent.claim import Voice
from caryatid.wire.agent import Applied
from tests.agent.networks.conftest import ip

BOTH = [("10.9.0.100", "10.9.0.2"), ("fd00:9::100", "fd00:9::2")]


async def no_controller():
    return False


def speak_up(site, machine, vip):
    """Another machine says that it has the VIP."""
    with site.machine(machine).entered():
        voice = Voice("eth0", [vip])
    voice.say()
    voice.close()


@pytest.mark.parametrize(("vip", "member"), BOTH, ids=["IPv4", "IPv6"])
def test_neighbours_are_told_at_once_who_has_the_vip_now(world, site, vip, member):
    site.uplinks(world, "default=bridge:nic0")
    plan = site.plan(world, vip)
    site.member("client")
    length = 128 if ":" in vip else 32

    async def scenario(agent):
        ip(f"addr add {vip}/{length} dev eth0", "router")
        await site.answers("client", vip)  # remembers the router
        ip(f"addr del {vip}/{length} dev eth0", "router")
        await agent.put_network(site.plug(plan, site.leg(vip)))
        assert isinstance(await agent.put_configuration(site.serving(plan, member)), Applied)
        assert await site.answers("client", vip) == vip

    world.run(scenario)


@pytest.mark.parametrize(("vip", "member"), BOTH, ids=["IPv4", "IPv6"])
def test_without_a_controller_a_vip_is_given_up_to_who_claims_it_until_told_to_have_it(world, site, vip, member):
    site.uplinks(world, "default=bridge:nic0")
    plan = site.plan(world, vip)

    async def scenario(agent):
        await agent.put_network(site.plug(plan, site.leg(vip)))
        await agent.put_configuration(site.serving(plan, member))
        amphora = agent.amphorae[plan.amphora_id]
        speak_up(site, "router", vip)
        agent.networks.watches.reachable = no_controller
        assert vip in str(await agent.networks.seen(amphora))
        await world.eventually(lambda: given_up(agent, amphora), 15)
        assert not (await agent.details(amphora)).claims
        assert isinstance(await agent.put_configuration(site.serving(plan.changed(generation=9), member)), Applied)
        assert vip in str(await agent.networks.seen(amphora))

    async def given_up(agent, amphora):
        if not amphora.record.claims:
            return vip not in str(await agent.networks.seen(amphora))
        speak_up(site, "router", vip)
        return False

    world.run(scenario)


def test_losing_the_controllers_alone_stops_nothing_and_neither_does_a_claim_while_they_are_there(world, site):
    site.uplinks(world, "default=bridge:nic0")
    plan = site.plan(world, "10.9.0.100")
    site.member("client")
    asked = []

    async def a_controller():
        asked.append(1)
        return True

    async def scenario(agent):
        agent.networks.watches.reachable = no_controller
        await agent.put_network(site.plug(plan, site.leg("10.9.0.100")))
        await agent.put_configuration(site.serving(plan, "10.9.0.2"))
        assert await site.answers("client", "10.9.0.100") == "10.9.0.100"
        agent.networks.watches.reachable = a_controller
        await world.eventually(heard)
        assert agent.amphorae[plan.amphora_id].record.claims

    async def heard():
        speak_up(site, "router", "10.9.0.100")
        return asked

    world.run(scenario)


def test_after_a_reboot_a_vip_that_another_has_by_now_is_left_to_it(world, site):
    site.uplinks(world, "default=bridge:nic0")
    plan = site.plan(world, "10.9.0.100")

    async def first(agent):
        await agent.put_network(site.plug(plan, site.leg("10.9.0.100")))
        await agent.put_configuration(site.serving(plan, "10.9.0.2"))

    async def second(agent):
        amphora = agent.amphorae[plan.amphora_id]
        async with amphora.lock:
            await agent.networks.claim(amphora, told=False)
        assert await agent.networks.seen(amphora) == {"eth0": []}
        await agent.put_configuration(site.serving(plan.changed(generation=9), "10.9.0.2"))
        assert await agent.networks.seen(amphora) == {"eth0": ["10.9.0.100/32"]}

    world.run(first)
    site.reboot(world)
    ip("addr add 10.9.0.100/32 dev eth0", "router")
    world.run(second)


def test_the_vips_of_a_pair_are_not_claimed(world, site):
    site.uplinks(world, "default=bridge:nic0")
    plan = site.plan(world, "10.9.0.100")

    async def scenario(agent):
        leg = site.leg("10.9.0.100", address="10.9.0.20")
        await agent.put_network(site.plug(plan, leg, shared=True))
        assert isinstance(await agent.put_configuration(site.serving(plan, "10.9.0.2")), Applied)
        amphora = agent.amphorae[plan.amphora_id]
        assert await agent.networks.seen(amphora) == {"eth0": ["10.9.0.20/24"]}
        assert await asyncio.to_thread(amphora.space.holds, "eth0", "10.9.0.20")
        await asyncio.to_thread(amphora.space.drop, "eth0", ["10.9.0.20"])
        assert await asyncio.to_thread(amphora.space.addresses, "eth0") == set()

    world.run(scenario)
