# SPDX-License-Identifier: Apache-2.0
"""What tests/system says of processes on 127.0.0.1 holds on real networks: in each way in which a VIP is reached."""

import os
import signal
from collections.abc import Iterator

import pytest

from bench import haproxy
from bench.backends import Backends, Server, ask
from bench.installation import Installation
from bench.site import CLIENT, Site
from bench.waiting import until
from tests.system.site.test_reach import HERE, connect
from tests.system.site.town import WITHIN_S
from tests.system.test_openstack_clients import Shell
from tests.system.test_traffic import (
    Make,
    answers,
    change_member,
    make,
    member_of,
    only,
    test_a_disabled_listener_takes_no_connections,
    test_a_member_disabled_at_run_time_gets_traffic_after_a_reload_and_its_enablement,
    test_a_member_without_weight_is_drained,
    test_l7_policies_route_by_what_their_rules_say,
    test_listeners_of_a_load_balancer_have_pools_of_their_own,
    test_traffic_is_shared_among_the_members,
    test_who_comes_again_meets_the_same_member,
)

__all__ = [
    "make",
    "test_a_disabled_listener_takes_no_connections",
    "test_a_member_disabled_at_run_time_gets_traffic_after_a_reload_and_its_enablement",
    "test_a_member_without_weight_is_drained",
    "test_l7_policies_route_by_what_their_rules_say",
    "test_listeners_of_a_load_balancer_have_pools_of_their_own",
    "test_traffic_is_shared_among_the_members",
    "test_who_comes_again_meets_the_same_member",
]
ADDRESS = HERE[4].format(0).partition("/")[0]
"""The host's own."""
NETWORKS = {
    "uplink": {"gateway_ip": CLIENT},
    "routed": {"cidr": "10.89.0.0/24", "attachment": "routed", "proxy_arp": True, "allocation_pools": []},
    "host": {"attachment": "host", "allocation_pools": []},
}


@pytest.fixture(scope="module")
def town() -> Iterator[Site]:
    """One host, whose uplink has addresses of its own."""
    made = Site(1, uplink="macvlan:eth1")
    connect(made)
    with made:
        yield made


@pytest.fixture(scope="module", params=NETWORKS)
def installation(request: pytest.FixtureRequest, town: Site) -> Installation:
    """Load balancers are made on a subnet of this attachment, with members on the other side of the uplink."""
    made, host = town.made, town.hosts[0]
    made.subnet = town.subnet(**NETWORKS[request.param])
    made.member, made.agent, made.root = CLIENT, host.directory / "agent", host.root
    return made


@pytest.fixture(scope="module")
def backends() -> Iterator[Backends]:
    with Backends(CLIENT) as made:
        yield made


@pytest.fixture(scope="module")
def shell(town: Site) -> Iterator[Shell]:
    with Shell("--os-auth-type", "none", "--os-endpoint", town.made.url) as made:
        yield made


def test_members_come_and_go_at_run_time(make: Make, servers: list[Server], installation: Installation) -> None:
    loadbalancer = make(servers[:1])
    _, pool_id = only(installation, loadbalancer)
    worker = haproxy.worker(haproxy.socket_of(installation, loadbalancer["id"]))
    member = {"address": installation.member, "protocol_port": servers[1].port}
    made = installation.post(f"pools/{pool_id}/members", {"member": member})
    installation.active(f"pools/{pool_id}/members/{made['id']}")
    assert answers(loadbalancer) == {"one": 10, "two": 10}
    change_member(installation, member_of(installation, pool_id, servers[0]), weight=0)
    assert answers(loadbalancer) == {"two": 20}
    installation.delete(f"pools/{pool_id}/members/{made['id']}")
    installation.gone(f"pools/{pool_id}/members/{made['id']}")
    assert haproxy.worker(haproxy.socket_of(installation, loadbalancer["id"])) == worker, "there was a reload"


@pytest.mark.parametrize("victim", ["master", "worker", "agent"])
def test_whoever_is_killed_it_serves_again(
    make: Make, servers: list[Server], installation: Installation, town: Site, victim: str
) -> None:
    loadbalancer = make(servers[:1])
    host = town.hosts[0]
    process = installation.haproxies()[haproxy.amphora_of(installation, loadbalancer["id"])]
    agent = host.agent()
    assert agent
    os.kill({"master": process.master, "worker": process.workers[0], "agent": agent}[victim], signal.SIGKILL)
    until(lambda: answers(loadbalancer, 3) == {"one": 3}, "it serves", WITHIN_S, 0.05)
    if victim == "agent":
        until(lambda: host.agent() not in {None, agent}, "another agent is there", WITHIN_S)
        change = installation.put(f"loadbalancers/{loadbalancer['id']}", {"loadbalancer": {"name": "told"}})
        installation.active(f"loadbalancers/{change['id']}", WITHIN_S)
        assert answers(loadbalancer, 3) == {"one": 3}


def test_the_openstack_command_makes_one_that_serves(
    shell: Shell, servers: list[Server], installation: Installation
) -> None:
    made = shell.tell(f"create --name typed --vip-subnet-id {installation.subnet_id()} --wait")
    assert made["provisioning_status"] == "ACTIVE"
    for command in (
        "listener create --name typed-http --protocol HTTP --protocol-port 8080 --wait typed",
        "pool create --name typed-app --protocol HTTP --lb-algorithm ROUND_ROBIN --listener typed-http --wait",
        f"member create --address {installation.member} --protocol-port {servers[0].port} --wait typed-app",
    ):
        assert shell.tell(command)["provisioning_status"] == "ACTIVE"
    assert answers(made, 3) == {"one": 3}
    shell.do("delete --cascade --wait typed")
    assert ask(made["vip_address"])[0] == 0


@pytest.mark.parametrize("installation", ["host"], indirect=True)
def test_two_load_balancers_share_an_address_and_each_has_its_own_ports(
    make: Make, servers: list[Server], installation: Installation
) -> None:
    one = make(servers[:1], vip_address=ADDRESS)
    two = make(servers[1:2], vip_address=ADDRESS, listener={"protocol_port": 8081})
    body = {"listener": {"loadbalancer_id": two["id"], "protocol": "TCP", "protocol_port": 8080}}
    assert installation.api.post("/v2/lbaas/listeners", json=body).status_code == 409
    assert (answers(one, 3), answers(two, 3, port=8081)) == ({"one": 3}, {"two": 3})
    installation.delete(f"loadbalancers/{one['id']}?cascade=true")
    installation.gone(f"loadbalancers/{one['id']}")
    assert (answers(two, 3), answers(two, 3, port=8081)) == ({"0": 3}, {"two": 3})
    listener = installation.send("POST", "/v2/lbaas/listeners", body)
    pool_id = only(installation, two)[1]
    installation.put(f"listeners/{listener['id']}", {"listener": {"default_pool_id": pool_id}})
    installation.active(f"listeners/{listener['id']}")
