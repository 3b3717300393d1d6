# SPDX-License-Identifier: Apache-2.0
"""One installation with a name server and checkers in three regions, which all tests here share."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

import pytest

from bench.backends import Server
from bench.globe import CHANGE_S, Globe
from bench.waiting import until

NUMBERS = count(1)


@dataclass
class Service:
    """A pool of two members that are checked, on addresses of their own; names are made as tests want them."""

    globe: Globe
    name: str
    pool_id: str
    monitor_id: str
    servers: dict[str, Server]
    """By address."""

    @property
    def addresses(self) -> list[str]:
        return list(self.servers)

    def named(self, suffix: str = "", **more: object) -> str:
        """A name that is answered with both members, since all regions say that they are well; without its zone."""
        name = f"{self.name}{suffix}"
        self.globe.gslb(name, [self.pool_id], **more)
        well = dict.fromkeys(self.globe.regions, "UP")
        for address in self.addresses:
            until(lambda address=address: self.votes(address) == well, f"all say that {address} is UP", CHANGE_S)
        self.globe.until_answered(name, self.addresses)
        return name

    def votes(self, address: str) -> dict[str, str]:
        """What regions say of a member, by region's name."""
        members = self.globe.all(f"pools/{self.pool_id}/pool_members")
        (member,) = [one for one in members if one["address"] == address]
        names = {region_id: name for name, region_id in self.globe.regions.items()}
        return {names[seen["region_id"]]: seen["vote"] for seen in member["per_region"]}


@pytest.fixture(scope="package")
def globe() -> Iterator[Globe]:
    made = Globe(noop=False, environment={"CARYATID_REPORT_INTERVAL_S": "1", "CARYATID_GSLB_FOLLOW_S": "1"})
    with made:
        yield made


@pytest.fixture
def service(globe: Globe) -> Iterator[Service]:
    """All that uses it is removed afterwards, and everything works again."""
    name = f"s{next(NUMBERS)}p{os.getpid()}"
    monitor_id = globe.monitor()["id"]
    servers = dict(globe.server(f"{name}{number}") for number in (1, 2))
    members = [{"name": server.name, "address": address, "port": server.port} for address, server in servers.items()]
    made = Service(globe, name, globe.pool(name, monitor_id, members), monitor_id, servers)
    yield made
    globe.until_working()
    for gslb in globe.all("gslbs"):
        globe.remove(f"gslbs/{gslb['id']}")
    for server in servers.values():
        server.close()
