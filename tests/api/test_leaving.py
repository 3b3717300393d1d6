# SPDX-License-Identifier: Apache-2.0
"""Who goes away while waiting is not waited for: nothing is kept of the request."""

import asyncio

import pytest

from tests.api.conftest import SUBNET

LEAVES_S = 10
"""Far less than what was asked to wait for, and more than any look at it takes."""


def wait_and_leave(api, path, headers=()):
    """The request ends soon after its client has gone."""

    async def leave():
        left = asyncio.Event()

        async def receive():
            await left.wait()
            return {"type": "http.disconnect"}

        async def send(_message):
            pass

        path_only, _, query = path.partition("?")
        scope = {"type": "http", "method": "GET", "path": path_only, "query_string": query.encode(), "headers": headers}
        asking = asyncio.create_task(api.app(scope, receive, send))
        await asyncio.sleep(0.2)
        assert not asking.done()
        left.set()
        async with asyncio.timeout(LEAVES_S):
            await asking

    api.runner.run(leave())


@pytest.mark.parametrize(
    "path", ["/v2/lbaas/loadbalancers/{id}?wait_for=ACTIVE&timeout=60", "/v1/jobs/{job}/wait?timeout=60"]
)
def test_who_waits_for_a_change_and_leaves_is_forgotten(api, path):
    made = api.post("/v2/lbaas/loadbalancers", json={"loadbalancer": {"vip_subnet_id": SUBNET}})
    wait_and_leave(api, path.format(id=made.json()["loadbalancer"]["id"], job=made.headers["caryatid-job"]))


def test_who_waits_for_another_state_and_leaves_is_forgotten(api):
    api.loadbalancer()
    tag = api.get("/v1/status").headers["etag"]
    wait_and_leave(api, "/v1/status?wait=60", [(b"if-none-match", tag.encode())])


def test_who_waits_for_events_and_leaves_is_forgotten(api):
    wait_and_leave(api, "/v1/events?after=now&wait=60")
