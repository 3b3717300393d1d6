# SPDX-License-Identifier: Apache-2.0
"""Load balancers and ports of an Octavia and a Neutron elsewhere as members: another installation, which is asked and
reports nothing."""

from collections.abc import Callable, Iterator

import pytest

from bench.backends import Server
from bench.globe import CHANGE_S, GSLB, START_S, Globe, stopped
from bench.installation import Installation
from bench.waiting import until

pytestmark = pytest.mark.timeout(240)
SPARE = "192.0.2.9"
QUICK = {"type": "TCP", "delay": 1, "timeout": 1, "max_retries": 1, "max_retries_down": 1}


@pytest.fixture(scope="module")
def far() -> Iterator[Installation]:
    environment = {"CARYATID_DEFAULT_SUBNET_CIDR": "127.77.0.0/16", "CARYATID_REPORT_INTERVAL_S": "1"}
    made = Installation(environment=environment)
    try:
        yield made.start(START_S)
    finally:
        made.close()


@pytest.fixture
def region(globe: Globe) -> Iterator[Callable[..., str]]:
    """Makes a region; it is gone afterwards, since one that nobody checks from counts as silent."""
    made: list[str] = []

    def make(name: str, **urls: str) -> str:
        made.append(str(globe.make("regions", name=name, **urls)["id"]))
        return made[-1]

    yield make
    for gslb in globe.all("gslbs"):
        if gslb["provisioning_status"] != "PENDING_DELETE":
            globe.remove(f"gslbs/{gslb['id']}")
    until(lambda: not globe.all("gslbs"), "nobody is answered", CHANGE_S)
    for pool in globe.all("pools"):
        if any(member["region_id"] in made for member in globe.all(f"pools/{pool['id']}/pool_members")):
            globe.remove(f"pools/{pool['id']}")
    for region_id in made:
        globe.remove(f"regions/{region_id}")


def test_a_load_balancer_of_an_octavia_elsewhere_is_answered_while_that_says_that_it_is_well(
    globe: Globe, region: Callable[..., str], far: Installation, servers: list[Server]
) -> None:
    abroad = region("abroad", octavia_url=far.url)
    made = far.loadbalancer([servers[0].port], monitor=QUICK)
    until(lambda: far.show(f"loadbalancers/{made['id']}")["operating_status"] == "ONLINE", "it is ONLINE", CHANGE_S)
    member = {"type": "octavia_lb", "loadbalancer_id": made["id"], "region_id": abroad}
    pools = [globe.pool("abroad", None, [member]), globe.pool("spare", None, [{"address": SPARE}])]
    gslb = globe.gslb("abroad", pools)
    globe.until_answered("abroad", [made["vip_address"]])
    servers[0].close()
    globe.until_answered("abroad", [SPARE])
    (shown,) = globe.all(f"pools/{pools[0]}/pool_members")
    assert shown["address"] == made["vip_address"]
    (own,) = shown["per_region"]
    assert (own["region_id"], own["monitor_id"], own["vote"]) == (abroad, None, "DOWN")
    assert own["reason"].startswith("operating status ERROR")
    servers[0].open()
    globe.until_answered("abroad", [made["vip_address"]])
    far.delete(f"loadbalancers/{made['id']}?cascade=true")
    globe.until_answered("abroad", [SPARE])
    globe.remove(f"gslbs/{gslb['id']}")


def test_an_octavia_that_falls_silent_takes_its_members_out_when_its_last_word_has_expired(
    globe: Globe, region: Callable[..., str], far: Installation, servers: list[Server]
) -> None:
    faraway = region("faraway", octavia_url=far.url, neutron_url=f"{far.url}/network")
    made = far.loadbalancer([servers[0].port], monitor=QUICK)
    until(lambda: far.show(f"loadbalancers/{made['id']}")["operating_status"] == "ONLINE", "it is ONLINE", CHANGE_S)
    lb = {"type": "octavia_lb", "loadbalancer_id": made["id"], "region_id": faraway}
    port = {"type": "neutron_port", "port_id": made["vip_port_id"], "region_id": faraway}
    gslbs = []
    for name, member in (("lb", lb), ("port", port)):
        pools = [globe.pool(name, None, [member]), globe.pool("spare", None, [{"address": SPARE}])]
        gslbs.append(globe.gslb(name, pools)["id"])
        globe.until_answered(name, [made["vip_address"]])
    with stopped(far.services()["api"]):
        for name in ("lb", "port"):
            globe.until_answered(name, [SPARE])
        until(lambda: "no answer in time" in why(globe, gslbs[0]), "it is told why", CHANGE_S)
    for name in ("lb", "port"):
        globe.until_answered(name, [made["vip_address"]])
    wrong = {"pool_member": {**lb, "loadbalancer_id": faraway}}
    pool = globe.pool("wrong", None, [])
    answer = globe.main.api.post(f"{GSLB}/pools/{pool}/pool_members", json=wrong)
    assert answer.status_code == 400
    assert f"Load Balancer {faraway} not found in region faraway." in answer.text
    for gslb_id in gslbs:
        globe.remove(f"gslbs/{gslb_id}")


def why(globe: Globe, gslb_id: str) -> str:
    """What is said of the members of a name."""
    pools = globe.show(f"gslbs/{gslb_id}/explain")["pools"]
    return "; ".join(member["why"] for pool in pools for member in pool["members"])
