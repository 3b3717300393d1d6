# SPDX-License-Identifier: Apache-2.0
"""What an amphora in a namespace may do, and who may reach it."""

import os
import socket
from pathlib import Path

from caryatid.agent.process import table
from caryatid.agent.settings import mapped
from caryatid.model.amphora import Amphora, Leg, Placed
from caryatid.model.listener import Listener
from caryatid.model.loadbalancer import LoadBalancer
from caryatid.model.network import Subnet
from caryatid.model.tree import ListenerNode, Tree
from caryatid.plan.nftables import render
from caryatid.wire.agent import Applied, Refusal
from tests.agent.networks.conftest import PORT, ip

VIP = "10.9.0.100"
RULES = """\
flush ruleset
table inet amphora {{
    chain input {{
        type filter hook input priority filter; policy drop;
        tcp flags & (fin | syn | rst | ack) != syn accept
        ip daddr {{ 10.9.0.100 }} tcp dport 18080 {} accept
    }}
}}
"""


def owners_and_roots(processes):
    found = [Path("/proc", str(seen.pid)) for seen in processes]
    return [(path.stat().st_uid, str((path / "root").readlink())) for path in found]


def workers(world, plan):
    return [seen for seen in world.processes(plan) if seen.pid != seen.session]


def test_workers_run_as_a_user_of_their_own_and_see_no_files(world, site):
    site.uplinks(world, "default=bridge:nic0")
    plans = [site.plan(world, VIP), site.plan(world, "10.9.0.101")]
    site.member("client")

    async def scenario(agent):
        for plan, vip in zip(plans, (VIP, "10.9.0.101"), strict=True):
            await agent.put_network(site.plug(plan, site.leg(vip)))
            assert isinstance(await agent.put_configuration(site.serving(plan, "10.9.0.2")), Applied)
            assert await site.answers("client", vip) == vip
        seen = [worker for plan in plans for worker in workers(world, plan)]
        if mapped(2_000_000_001):
            roots = [str(agent.amphorae[plan.amphora_id].files.run) for plan in plans]
            assert owners_and_roots(seen) == [(2_000_000_001, roots[0]), (2_000_000_002, roots[1])]
        else:
            assert owners_and_roots(seen) == [(os.getuid(), "/")] * 2
        for plan in plans:
            again = site.serving(plan.changed(generation=5, extra="timeout http-request 3s"), "10.9.0.2")
            assert (await agent.put_configuration(again)).how == "reloaded"

    world.run(scenario)


def test_haproxys_log_reaches_the_agent_out_of_its_root_directory(world, site):
    site.uplinks(world, "default=bridge:nic0")
    plan = site.plan(world, VIP)
    told = []

    async def scenario(agent):
        await agent.put_network(site.plug(plan, site.leg(VIP)))
        await agent.put_configuration(site.serving(plan, "10.9.0.2"))
        files = agent.amphorae[plan.amphora_id].files
        files.log_socket.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
            listener.bind(str(files.log_socket))
            files.give_to_worker(files.log_socket)
            listener.setblocking(False)
            options = "check inter 100ms fall 1"
            server = plan.server(1, options=options)._replace(address="10.9.0.2")
            await agent.put_configuration(plan.changed(generation=6, servers=(server,)).render())
            await world.eventually(lambda: line(listener))

    async def line(listener):
        try:
            told.append(listener.recv(2000))
        except BlockingIOError:
            return False
        return b"DOWN" in told[-1]

    world.run(scenario)


def test_unused_ports_are_silent_and_only_allowed_networks_get_in(world, site):
    site.uplinks(world, "default=bridge:nic0")
    plan = site.plan(world, VIP)
    site.member("client")

    async def scenario(agent):
        await agent.put_network(site.plug(plan, site.leg(VIP)))
        everyone = site.serving(plan, "10.9.0.2", nftables=RULES.format(""))
        await agent.put_configuration(everyone)
        assert [await site.answers(name, VIP) for name in ("client", "far")] == [VIP, VIP]
        assert await site.answers("client", VIP, 1234) == "silence"
        some = RULES.format("ip saddr { 10.8.0.0/24 }")
        await agent.put_configuration(everyone.model_copy(update={"nftables": some, "generation": 5}))
        assert [await site.answers(name, VIP) for name in ("client", "far")] == ["silence", VIP]

    world.run(scenario)


def test_a_refused_configuration_brings_back_the_rules_before_it(world, site):
    site.uplinks(world, "default=bridge:nic0")
    plan = site.plan(world, VIP)
    site.member("client")

    async def scenario(agent):
        await agent.put_network(site.plug(plan, site.leg(VIP)))
        await agent.put_configuration(site.serving(plan, "10.9.0.2", nftables=RULES.format("")))
        broken = plan.changed(generation=5, extra="no such word")
        wrong = site.serving(broken, "10.9.0.2", nftables=RULES.format("ip saddr { 10.8.0.0/24 }"))
        assert isinstance(await agent.put_configuration(wrong), Refusal)
        assert await site.answers("client", VIP) == VIP

    world.run(scenario)


def test_rules_as_they_are_rendered_let_in_whom_the_listener_allows(world, site):
    """As plan.nftables writes them, in both families."""
    site.uplinks(world, "default=bridge:nic0")
    vips = (VIP, "fd00:9::100")
    plan = site.plan(world, *vips)
    site.member("client")
    common = {"created_at": "2026-01-01", "updated_at": "2026-01-01", "project_id": "p"}

    def tree(cidrs):
        lb = LoadBalancer.model_construct(
            id="lb", admin_state_up=True, vip_address=vips[0], additional_vips=[], **common
        )
        listener = Listener.model_construct(
            id="l", protocol="HTTP", protocol_port=PORT, admin_state_up=True, allowed_cidrs=cidrs, **common
        )
        return Tree(lb, (ListenerNode(listener),))

    leg = Leg(Subnet.model_construct(id="s"), "default", (VIP,))
    placed = Placed(Amphora.model_construct(id="a"), legs=(leg,))

    async def scenario(agent):
        await agent.put_network(site.plug(plan, site.leg(vips[0]), site.leg(vips[1])))
        for generation, (cidrs, expected) in enumerate(
            [
                (None, [VIP, VIP]),
                (["10.8.0.0/16", "10.8.0.0/24", "fd00:8::/64"], ["silence", VIP]),
                (["10.9.0.2/32"], [VIP, "silence"]),
            ]
        ):
            text = render(tree(cidrs), placed)
            wanted = site.serving(plan.changed(generation=5 + generation), "10.9.0.2", nftables=text)
            assert isinstance(await agent.put_configuration(wanted), Applied)
            assert [await site.answers(name, VIP) for name in ("client", "far")] == expected

    world.run(scenario)


def test_leftover_namespaces_of_ours_are_removed_at_the_start_and_no_others(world, site):
    site.uplinks(world, "default=bridge:nic0")
    plan = site.plan(world, VIP)
    ip("netns add cy-00000000-0000000000")

    async def first(agent):
        agent.networks.space("forgotten").make()
        assert agent.networks.leftovers(agent.amphorae) == [agent.networks.space("forgotten").path.name]
        await agent.put_network(site.plug(plan, site.leg(VIP)))

    async def second(agent):
        assert agent.networks.leftovers(agent.amphorae) == []
        assert agent.networks.space(plan.amphora_id).exists
        assert "cy-00000000-0000000000" in ip("netns")

    world.run(first, second)
    assert not [seen for seen in table() if str(world.settings.state_dir) in " ".join(seen.command)]


def test_a_host_without_the_programs_offers_no_networks_and_names_the_package(world, site, monkeypatch, capsys):
    site.uplinks(world, "default=bridge:nic0")
    monkeypatch.setattr("caryatid.agent.networks.find", lambda program: "" if program == "nft" else program)
    plan = site.plan(world, VIP)

    async def scenario(agent):
        assert (agent.networks.attachments, agent.networks.uplinks) == (("loopback", "host"), ())
        assert "nftables" in (await agent.put_network(site.plug(plan, site.leg(VIP)))).reason

    world.run(scenario)
    assert "install nftables" in capsys.readouterr().out
