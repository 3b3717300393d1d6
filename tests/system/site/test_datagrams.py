# SPDX-License-Identifier: Apache-2.0
"""A listener for datagrams from the wish to the member and back: what is carried, what is shown, what is left."""

from collections.abc import Iterator

import pytest

from bench.datagrams import FLOWS, MONITOR, Balancer, Machines, Town
from bench.site import site
from bench.waiting import until
from tests.system.site.town import WITHIN_S, on

RATE = 200


@pytest.fixture(scope="module")
def place() -> Iterator[Town]:
    with site(1) as made, Machines() as machines:
        yield Town(made, machines, made.subnet())


def test_datagrams_get_to_members_that_work_and_all_of_it_is_shown(place):
    balancer = Balancer(place, 2, healthmonitor=MONITOR)

    def statuses():
        return {name: member["operating_status"] for name, member in balancer.members().items()}

    def counted():
        return place.made.made.get(f"/v2/lbaas/loadbalancers/{balancer.id}/stats")

    until(lambda: statuses() == {"m0": "ONLINE", "m1": "ONLINE"}, "both work", WITHIN_S)
    assert set(balancer.load(RATE, FLOWS, 1)["members"]) == {"m0", "m1"}
    until(lambda: counted()["total_connections"] >= FLOWS, "flows are counted", WITHIN_S)
    assert counted()["bytes_in"] > 0

    place.machines.stop("m1")
    until(lambda: statuses() == {"m0": "ONLINE", "m1": "ERROR"}, "one is found out", WITHIN_S)
    until(lambda: balancer.load(RATE, FLOWS, 1)["lost"] == 0, "the other has it all", WITHIN_S)
    assert place.made.made.show(f"loadbalancers/{balancer.id}")["operating_status"] == "DEGRADED"
    place.machines.start("m1")
    until(lambda: statuses() == {"m0": "ONLINE", "m1": "ONLINE"}, "it is back", WITHIN_S)

    balancer.remove()
    until(lambda: not on(place.made.hosts[0]), "nothing is left", WITHIN_S)


def test_a_loopback_address_carries_no_datagrams_and_the_refusal_says_what_does(place):
    made = place.made.made
    root = made.post("loadbalancers", {"loadbalancer": {"name": "local", "vip_subnet_id": made.subnet_id()}})
    body = {"loadbalancer_id": root["id"], "protocol": "UDP", "protocol_port": 53}
    answer = made.api.post("/v2/lbaas/listeners", json={"listener": body})
    assert answer.status_code == 501
    assert "uplink" in answer.json()["faultstring"]
    made.delete(f"loadbalancers/{root['id']}?cascade=true")
