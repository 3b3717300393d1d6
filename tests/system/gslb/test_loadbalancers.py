# SPDX-License-Identifier: Apache-2.0
"""Load balancers of ours as members: their own word counts, at once."""

import contextlib

import pytest

from bench.backends import Server
from bench.globe import CHANGE_S, GSLB, START_S, Globe, stopped
from bench.installation import Installation
from bench.waiting import until

pytestmark = pytest.mark.timeout(240)
SPARE = "192.0.2.9"
QUICK = {"type": "TCP", "delay": 1, "timeout": 1, "max_retries": 1, "max_retries_down": 1}


def test_a_name_leaves_a_load_balancer_of_ours_that_goes_down_and_goes_back(
    globe: Globe, servers: list[Server]
) -> None:
    made = globe.main.loadbalancer([servers[0].port], monitor=QUICK)
    until(lambda: operating(globe, made["id"]) == "ONLINE", "it is ONLINE")
    ours = globe.pool("ours", None, [{"type": "load_balancer", "loadbalancer_id": made["id"]}])
    spare = globe.pool("spare", None, [{"address": SPARE}])
    gslb = globe.gslb("own", [ours, spare])
    globe.until_answered("own", [made["vip_address"]])
    servers[0].close()
    globe.until_answered("own", [SPARE])
    until(lambda: globe.show(f"gslbs/{gslb['id']}")["operating_status"] == "DEGRADED", "that is told, too", CHANGE_S)
    servers[0].open()
    globe.until_answered("own", [made["vip_address"]])
    globe.remove(f"gslbs/{gslb['id']}")
    globe.main.delete(f"loadbalancers/{made['id']}?cascade=true")


def test_a_load_balancer_of_another_region_counts_as_long_as_that_is_heard(globe: Globe, servers: list[Server]) -> None:
    region = globe.make("regions", name="east")["id"]
    with contextlib.closing(other(globe, globe.token(region))) as far:
        far.start(START_S)
        made = far.loadbalancer([servers[0].port], monitor=QUICK)
        pools = [globe.pool("east", None, []), globe.pool("spare", None, [{"address": SPARE}])]
        member = {"type": "load_balancer", "loadbalancer_id": made["id"], "region_id": region}
        path, body = f"{GSLB}/pools/{pools[0]}/pool_members", {"pool_member": member}
        until(lambda: globe.main.api.post(path, json=body).is_success, "it is known here", CHANGE_S, 0.2)
        gslb = globe.gslb("east", pools)
        globe.until_answered("east", [made["vip_address"]])
        with stopped(far.services()["core"]):
            globe.until_answered("east", [SPARE])
        globe.until_answered("east", [made["vip_address"]])
        servers[0].close()
        globe.until_answered("east", [SPARE])
        globe.remove(f"gslbs/{gslb['id']}")


def other(globe: Globe, token: str) -> Installation:
    """One that reports how its load balancers are, not yet started."""
    made = Installation(
        environment={
            "CARYATID_DEFAULT_SUBNET_CIDR": "127.79.0.0/16",
            "CARYATID_GSLB_REGION": "east",
            "CARYATID_GSLB_REPORT_TO": f"https://127.0.0.1:{globe.conductor}",
            "CARYATID_REPORT_INTERVAL_S": "1",
        }
    )
    (made.directory / "reporter").mkdir(0o700)
    (made.directory / "reporter" / "token").write_text(token)
    return made


def operating(globe: Globe, loadbalancer_id: str) -> str:
    return str(globe.main.show(f"loadbalancers/{loadbalancer_id}")["operating_status"])
