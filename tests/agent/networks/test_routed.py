# SPDX-License-Identifier: Apache-2.0
"""Amphorae whose addresses the host routes to them."""

from pathlib import Path

import pytest

from caryatid.wire.agent import Applied
from tests.agent.networks.conftest import ip

BOTH = [("10.7.0.100", "10.9.0.2", "10.8.0.2"), ("fd00:7::100", "fd00:9::2", "fd00:8::2")]
NEIGHBOURS = [("10.9.0.100", "10.9.0.2"), ("fd00:9::100", "fd00:9::2")]


def routed(site, vip, **attributes):
    cidr = "fd00:7::/64" if vip.startswith("fd00:7") else "10.7.0.0/24"
    known = {"attachment": "routed", **({} if attributes else {"cidr": cidr, "gateway_ip": None})}
    return site.leg(vip, **{**known, **attributes})


@pytest.mark.parametrize(("vip", "near", "far"), BOTH, ids=["IPv4", "IPv6"])
def test_a_routed_vip_is_reached_by_route_and_members_see_the_host(world, site, vip, near, far):
    site.host_addresses()
    site.uplinks(world, "default=macvlan:nic0")
    plan = site.plan(world, vip)
    site.member("client")
    site.member("far")
    host = "fd00:9::3" if ":" in vip else "10.9.0.3"
    ip(f"route add {vip} via {host}", "client")
    ip(f"route add {vip} via {host}", "router")

    async def scenario(agent):
        assert await agent.put_network(site.plug(plan, routed(site, vip))) is None
        for member in (near, far):
            assert isinstance(await agent.put_configuration(site.serving(plan, member)), Applied)
            assert await site.answers("client", vip) == host
            assert await site.answers("far", vip) == host

    world.run(scenario)


@pytest.mark.parametrize(("vip", "member"), NEIGHBOURS, ids=["IPv4", "IPv6"])
def test_with_proxy_arp_neighbours_need_no_route(world, site, vip, member):
    site.host_addresses()
    site.uplinks(world, "default=macvlan:nic0")
    plan = site.plan(world, vip)
    site.member("client")

    async def scenario(agent):
        assert await agent.put_network(site.plug(plan, routed(site, vip, proxy_arp=True))) is None
        assert await site.answers("client", vip) == "silence"
        assert isinstance(await agent.put_configuration(site.serving(plan, member)), Applied)
        assert await site.answers("client", vip) == ("fd00:9::3" if ":" in vip else "10.9.0.3")

    world.run(scenario)


def test_when_proxy_arp_is_wanted_no_more_the_host_answers_no_more(world, site):
    site.host_addresses()
    site.uplinks(world, "default=macvlan:nic0")
    plan = site.plan(world, "10.9.0.100")

    async def scenario(agent):
        await agent.put_network(site.plug(plan, routed(site, "10.9.0.100", proxy_arp=True)))
        await agent.put_configuration(site.serving(plan, "10.9.0.2"))
        assert "10.9.0.100" in ip("neigh show proxy")
        changed = plan.changed(generation=9)
        await agent.put_network(site.plug(changed, routed(site, "10.9.0.100")))
        await agent.put_configuration(site.serving(changed, "10.9.0.2"))
        assert "10.9.0.100" not in ip("neigh show proxy")

    world.run(scenario)


def test_a_deleted_routed_amphora_leaves_nothing(world, site, state_of_the_host):
    site.host_addresses()
    site.uplinks(world, "default=macvlan:nic0")
    plan = site.plan(world, "10.9.0.100")

    async def scenario(agent):
        before = state_of_the_host()
        await agent.put_network(site.plug(plan, routed(site, "10.9.0.100", proxy_arp=True)))
        assert isinstance(await agent.put_configuration(site.serving(plan, "10.9.0.2")), Applied)
        assert "masquerade" in state_of_the_host()
        await agent.delete(plan.amphora_id, 9, 9)
        await world.eventually(lambda: same(before))

    async def same(before):
        return state_of_the_host() == before

    world.run(scenario)


def test_only_the_interfaces_concerned_pass_packets_on(world, site):
    site.host_addresses()
    site.uplinks(world, "default=macvlan:nic0")
    ip("link add other type veth peer name other-end netns far")
    plan = site.plan(world, "10.9.0.100")

    async def scenario(agent):
        await agent.put_network(site.plug(plan, routed(site, "10.9.0.100")))

    world.run(scenario)
    forwarding = {name: Path(f"/proc/sys/net/ipv4/conf/{name}/forwarding").read_text() for name in ("nic0", "other")}
    assert forwarding == {"nic0": "1\n", "other": "0\n"}
