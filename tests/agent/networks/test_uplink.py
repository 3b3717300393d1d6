# SPDX-License-Identifier: Apache-2.0
"""Amphorae on the physical network itself."""

import asyncio

import pytest

from caryatid.agent.run import stop_data_plane
from caryatid.wire.agent import Applied
from tests.agent.networks.conftest import ip

BOTH = [("10.9.0.100", "10.9.0.2", "10.8.0.2"), ("fd00:9::100", "fd00:9::2", "fd00:8::2")]


@pytest.mark.parametrize("how", ["default=bridge:nic0", "default=macvlan:nic0"])
@pytest.mark.parametrize(("vip", "near", "far"), BOTH, ids=["IPv4", "IPv6"])
def test_a_vip_on_the_network_is_reached_from_it_and_from_beyond_with_members_on_it_and_beyond(
    world, site, how, vip, near, far
):
    site.uplinks(world, how)
    plan = site.plan(world, vip)
    site.member("client")
    site.member("far")

    async def scenario(agent):
        assert agent.networks.attachments == ("loopback", "host", "uplink", "routed")
        assert await agent.put_network(site.plug(plan, site.leg(vip))) is None
        for member in (near, far):
            assert isinstance(await agent.put_configuration(site.serving(plan, member)), Applied)
            assert await site.answers("client", vip) == vip
            assert await site.answers("far", vip) == vip

    world.run(scenario)


@pytest.mark.parametrize("how", ["default=bridge:nic0", "default=macvlan:nic0"])
def test_an_agent_that_starts_again_touches_nothing(world, site, how):
    site.uplinks(world, how)
    plan = site.plan(world, "10.9.0.100")
    site.member("client")
    before = []

    async def first(agent):
        assert await agent.put_network(site.plug(plan, site.leg("10.9.0.100"))) is None
        await agent.put_configuration(site.serving(plan, "10.9.0.2"))
        before.append((site.inside(agent, plan), [seen.pid for seen in world.processes(plan)]))

    async def second(agent):
        assert (site.inside(agent, plan), [seen.pid for seen in world.processes(plan)]) == before[0]
        assert await site.answers("client", "10.9.0.100") == "10.9.0.100"
        assert await agent.put_network(site.plug(plan.changed(generation=9), site.leg("10.9.0.100"))) is None
        assert site.inside(agent, plan) == before[0][0]

    world.run(first, second)


def test_after_a_reboot_all_is_made_anew(world, site):
    site.uplinks(world, "default=bridge:nic0")
    plan = site.plan(world, "10.9.0.100")
    site.member("client")

    async def first(agent):
        await agent.put_network(site.plug(plan, site.leg("10.9.0.100")))
        await agent.put_configuration(site.serving(plan, "10.9.0.2"))

    async def second(agent):
        await world.eventually(lambda: said(site))

    async def said(site):
        return await site.answers("client", "10.9.0.100") == "10.9.0.100"

    world.run(first)
    site.reboot(world)
    assert site.ask("client", "10.9.0.100") == "silence"
    world.run(second)


@pytest.mark.parametrize("how", ["default=bridge:nic0", "default=macvlan:nic0"])
def test_a_deleted_amphora_leaves_nothing(world, site, state_of_the_host, how):
    site.uplinks(world, how)
    plan = site.plan(world, "10.9.0.100")
    site.member("client")

    async def scenario(agent):
        before = state_of_the_host()
        await agent.put_network(site.plug(plan, site.leg("10.9.0.100")))
        await agent.put_configuration(site.serving(plan, "10.9.0.2"))
        assert state_of_the_host() != before
        assert await agent.delete(plan.amphora_id, 9, 9) is None
        await world.eventually(lambda: same(before))
        assert (await agent.put_network(site.plug(plan, site.leg("10.9.0.100")))).reason.endswith("was deleted.")

    async def same(before):
        return state_of_the_host() == before

    world.run(scenario)


def test_a_network_that_is_older_than_what_was_asked_for_is_refused(world, site):
    site.uplinks(world, "default=bridge:nic0")
    plan = site.plan(world, "10.9.0.100")

    async def scenario(agent):
        await agent.put_configuration(plan.changed(generation=7, frontend=False).render())
        assert (await agent.put_network(site.plug(plan, site.leg("10.9.0.100")))).fence == 1

    world.run(scenario)


def test_legs_are_changed_as_a_difference(world, site):
    site.uplinks(world, "default=bridge:nic0")
    plan = site.plan(world, "10.9.0.100")
    site.member("client")
    one, other = site.leg("10.9.0.100"), site.leg("10.9.0.101", address="10.9.0.20")

    async def scenario(agent):
        await agent.put_network(site.plug(plan, one))
        await agent.put_configuration(site.serving(plan, "10.9.0.2"))
        await agent.put_network(site.plug(plan.changed(generation=3), one, site.leg("fd00:9::100")))
        assert (await details(agent)).interfaces == {"eth0": ["10.9.0.100/32"], "eth1": []}
        await agent.put_configuration(site.serving(plan.changed(generation=3), "10.9.0.2"))
        assert (await details(agent)).interfaces == {"eth0": ["10.9.0.100/32"], "eth1": ["fd00:9::100/128"]}
        assert await site.answers("client", "10.9.0.100") == "10.9.0.100"
        await agent.put_network(site.plug(plan.changed(generation=4), other))
        assert (await details(agent)).interfaces == {"eth0": ["10.9.0.20/24"]}

    async def details(agent):
        return await agent.details(agent.amphorae[plan.amphora_id])

    world.run(scenario)


def test_an_uplink_that_carries_the_hosts_own_addresses_is_not_put_into_a_bridge(world, site):
    site.host_addresses()
    site.uplinks(world, "default=bridge:nic0,other=bridge:absent")

    async def scenario(agent):
        assert agent.networks.uplinks == ()
        plan = site.plan(world, "10.9.0.100")
        assert "addresses of this host" in (await agent.put_network(site.plug(plan, site.leg("10.9.0.100")))).reason

    world.run(scenario)


def test_of_two_networks_each_answers_through_its_own_gateway(world, site):
    """The second one's gateway is the client, which has no way to `far` but sees the answers."""
    site.uplinks(world, "default=bridge:nic0")
    ip("addr add 10.6.0.1/24 dev eth0\nroute add 10.6.0.100 via 10.9.0.1", "client")
    ip("addr add 10.6.0.2/24 dev eth0", "router")
    plan = site.plan(world, "10.9.0.100", "10.6.0.100")
    second = site.leg("10.6.0.100", cidr="10.6.0.0/24", gateway_ip="10.6.0.1")
    site.member("client")

    async def scenario(agent):
        assert await agent.put_network(site.plug(plan, site.leg("10.9.0.100"), second)) is None
        assert isinstance(await agent.put_configuration(site.serving(plan, "10.9.0.2")), Applied)
        name = agent.networks.space(plan.amphora_id).path.name
        assert "via 10.9.0.1 dev eth0" in ip("route get 10.8.0.2 from 10.9.0.100", name)
        assert "via 10.6.0.1 dev eth1" in ip("route get 10.8.0.2 from 10.6.0.100", name)
        assert await site.answers("far", "10.9.0.100") == "10.9.0.100"

    world.run(scenario)


def test_stopping_the_data_plane_leaves_nothing_and_the_next_start_brings_it_back(world, site, state_of_the_host):
    site.uplinks(world, "default=bridge:nic0")
    plan = site.plan(world, "10.9.0.100")
    site.member("client")
    before = []

    async def first(agent):
        before.append(state_of_the_host())
        await agent.put_network(site.plug(plan, site.leg("10.9.0.100")))
        await agent.put_configuration(site.serving(plan, "10.9.0.2"))

    async def as_before():
        return state_of_the_host() == before[0]

    async def second(_):
        await world.eventually(serves, 15)

    async def serves():
        return await site.answers("client", "10.9.0.100") == "10.9.0.100"

    world.run(first)
    assert asyncio.run(stop_data_plane(world.settings)) == 1
    asyncio.run(world.eventually(as_before))
    world.run(second)


def test_a_namespace_that_an_agent_was_killed_while_making_is_made_to_its_end(world, site):
    site.uplinks(world, "default=bridge:nic0")
    plan = site.plan(world, "10.9.0.100")
    site.member("client")

    async def scenario(agent):
        agent.networks.space(plan.amphora_id).make()
        await agent.put_network(site.plug(plan, site.leg("10.9.0.100")))
        assert isinstance(await agent.put_configuration(site.serving(plan, "10.9.0.2")), Applied)
        assert await site.answers("client", "10.9.0.100") == "10.9.0.100"

    world.run(scenario)
