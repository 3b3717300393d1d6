# SPDX-License-Identifier: Apache-2.0
"""Load balancers of every form serve on real networks: both families, members near and far, all VIPs."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from bench.backends import Backends, Server
from bench.site import CLIENT, Site, run, site
from bench.waiting import until
from caryatid.agent.plug import mac_of
from tests.system.site.town import WITHIN_S, Town, answers, holders, serves

NEAR = {4: CLIENT, 6: "fd00:88::1"}
FAR = {4: "10.90.0.1", 6: "fd00:90::1"}
"""Members that the VIPs' subnets reach by their gateway."""
CIDRS = {
    "uplink-4-more": "10.88.128.0/17",
    "uplink-6": "fd00:88::/64",
    "routed-4": "10.89.0.0/24",
    "routed-6": "fd00:89::/64",
}
POOLS = {6: [{"start": "fd00:88::100", "end": "fd00:88::fff"}]}
HERE = {4: "10.88.0.2{}/16", 6: "fd00:88::2{}/64"}
"""Addresses of the hosts themselves, which routed amphorae speak to members from."""


@dataclass
class Networks:
    """Subnets by attachment and family, and members by family."""

    town: Town
    subnets: dict[str, str]
    members: dict[int, list[Server]]

    def make(self, subnet: str, member: str, **more: Any) -> Any:
        self.town.members = self.members[6 if ":" in member else 4]
        return self.town.make("reached", subnet=self.subnets[subnet], member=member, **more)


@pytest.fixture(scope="module")
def networks() -> Iterator[Networks]:
    """Two hosts whose uplink has addresses of their own; here a router with networks beyond it."""
    with site(2, uplink="macvlan:eth1") as made, Backends("0.0.0.0") as four, Backends("::") as six:
        connect(made)
        members = {4: [four.make("four")], 6: [six.make("six")]}
        town = Town(made, members[4], "")
        until(town.speak, "all hosts speak", WITHIN_S)
        subnets = {
            "uplink-4": made.subnet(gateway_ip=NEAR[4]),
            "uplink-4-more": made.subnet(cidr=CIDRS["uplink-4-more"], allocation_pools=[]),
            "uplink-6": made.subnet(cidr=CIDRS["uplink-6"], gateway_ip=NEAR[6], allocation_pools=POOLS[6]),
            "routed-4": made.subnet(cidr=CIDRS["routed-4"], attachment="routed", proxy_arp=True, allocation_pools=[]),
            "routed-6": made.subnet(cidr=CIDRS["routed-6"], attachment="routed", proxy_arp=True, allocation_pools=[]),
        }
        yield Networks(town, subnets, members)


def connect(made: Site) -> None:
    for address in (f"{NEAR[6]}/64", "10.89.0.254/24", "fd00:89::ffff/64"):
        run("ip", "addr", "add", address, "dev", "outside", *(["nodad"] if ":" in address else []))
    for address in (f"{FAR[4]}/32", f"{FAR[6]}/128"):
        run("ip", "addr", "add", address, "dev", "lo")
    for number, host in enumerate(made.hosts):
        for version, address in HERE.items():
            nodad = ["nodad"] if version == 6 else []
            run("ip", "-n", host.name, "addr", "add", address.format(number), "dev", "eth1", *nodad)
            run("ip", "-n", host.name, "route", "add", "default", "via", NEAR[version])


@pytest.fixture
def town(networks: Networks) -> Town:
    return networks.town


@pytest.mark.parametrize("member", [NEAR, FAR], ids=["near", "far"])
@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize(
    ("attachment", "flavor"), [("uplink", "single"), ("uplink", "active-standby"), ("routed", "single")]
)
def test_a_vip_is_reached_and_reaches_its_members(networks, town, attachment, flavor, version, member):
    root = networks.make(f"{attachment}-{version}", member[version], flavor=flavor)
    if attachment == "uplink":
        until(lambda: town.whole(root), "one place answers", WITHIN_S, 0.2)
    town.remove(root)
    assert not answers(root["vip_address"])
    until(lambda: not town.strange(), "nothing is left", WITHIN_S, 0.2)


@pytest.mark.parametrize("flavor", ["single", "active-standby"])
def test_a_load_balancer_is_reached_on_all_its_vips(networks, town, flavor):
    more = [{"subnet_id": networks.subnets[name]} for name in ("uplink-6", "uplink-4-more")]
    root = networks.make("uplink-4", FAR[4], flavor=flavor, additional_vips=more)
    vips = [root["vip_address"], *(vip["ip_address"] for vip in root["additional_vips"])]
    assert sorted(":" in vip for vip in vips) == [False, False, True]
    serves(*vips)
    until(lambda: town.whole(root), "one place answers", WITHIN_S, 0.2)
    [holder] = [one["id"] for one in town.made.amphorae(root["id"]) if one["role"] != "BACKUP"]
    for leg, vip in enumerate(vips):
        until(lambda leg=leg, vip=vip: holders(vip) == {mac_of(holder, leg)}, f"{vip} is there too", WITHIN_S, 0.2)
    town.remove(root)
