# SPDX-License-Identifier: Apache-2.0
"""An installation on PostgreSQL, and a second worker that helps."""

import os
import signal
from collections.abc import Callable

import pytest

from bench.backends import Server, ask
from bench.installation import Installation
from bench.waiting import until


@pytest.fixture
def on_postgresql(new_database: Callable[[], str]):
    made = Installation(environment={"CARYATID_DATABASE": new_database(), "CARYATID_METRICS_LISTEN": ""})
    yield made.start()
    made.close()


def test_traffic_flows_on_postgresql_and_workers_share_the_work(
    on_postgresql: Installation, servers: list[Server]
) -> None:
    installation = on_postgresql
    first = installation.process
    helper = installation.spawn("worker")
    installation.process = first
    try:
        until(lambda: '"services": ["worker"]' in installation.log(), "the second worker is ready")
        made = [installation.loadbalancer([server.port for server in servers]) for _ in range(6)]
        for loadbalancer in made:
            assert {ask(loadbalancer["vip_address"])[2] for _ in range(6)} == {"one", "two", "three"}
    finally:
        helper.send_signal(signal.SIGTERM)
        assert helper.wait(20) == 0
    os.kill(installation.services()["core"], signal.SIGKILL)
    pool_id = made[0]["pools"][0]["id"]
    installation.put(f"pools/{pool_id}/members", {"members": []})
    until(lambda: ask(made[0]["vip_address"])[0] == 503, "nobody serves any more")
    for loadbalancer in made:
        installation.delete(f"loadbalancers/{loadbalancer['id']}?cascade=true")
    for loadbalancer in made:
        installation.gone(f"loadbalancers/{loadbalancer['id']}")
