# SPDX-License-Identifier: Apache-2.0
"""Who a request is from is asked once for all that show the same, and no longer believed than may be."""

import asyncio
import threading
import time

import pytest

from caryatid.errors import Unauthorized
from caryatid.model.policy import Caller, Identified

LBS = "/v2/lbaas/loadbalancers"
PATIENCE_S = 10
TURNS = 1000
"""Of the loop, in which requests without sockets get as far as they can."""


class Slow:
    """Knows the token `good`, once it is told to answer; counts its answers."""

    def __init__(self):
        self.go_on = threading.Event()
        self.begun = threading.Semaphore(0)
        self.asked = 0
        self.until = 1e12

    def identify(self, shown):
        self.asked += 1
        self.begun.release()
        assert self.go_on.wait(PATIENCE_S)
        if shown.token != "good":
            raise Unauthorized("Nobody known is asking.")
        return Identified(Caller("u", "p", frozenset({"reader"})), self.until)


@pytest.fixture
def slow(api, monkeypatch):
    made = Slow()
    monkeypatch.setattr(api.app.router.default.gate, "_identity", made)
    return made


def all_at_once(api, slow, tokens):
    """What requests are answered that were all there before the driver answered the first."""

    async def ask():
        tasks = [asyncio.create_task(api.client.get(LBS, headers={"X-Auth-Token": token})) for token in tokens]
        for _ in range(TURNS):
            await asyncio.sleep(0)
        slow.go_on.set()
        return [(await task).status_code for task in tasks]

    return api.runner.run(ask())


def test_who_shows_the_same_at_the_same_time_is_asked_after_once(api, slow):
    assert all_at_once(api, slow, ["good"] * 20) == [200] * 20
    assert slow.asked == 1
    assert api.get(LBS, headers={"X-Auth-Token": "good"}).status_code == 200
    assert slow.asked == 1, "it is remembered"


def test_who_is_not_known_is_not_remembered(api, slow):
    assert all_at_once(api, slow, ["bad", "good", "bad"]) == [401, 200, 401]
    assert slow.asked == 2
    assert api.get(LBS, headers={"X-Auth-Token": "bad"}).status_code == 401
    assert slow.asked == 3


def test_nobody_is_believed_longer_than_may_be(api, slow):
    slow.go_on.set()
    slow.until = time.time() - 1
    for _ in range(2):
        assert api.get(LBS, headers={"X-Auth-Token": "good"}).status_code == 200
    assert slow.asked == 2


def test_an_answer_from_before_a_change_is_not_remembered_after_it(api, slow):
    async def ask():
        gate = api.app.router.default.gate
        before = asyncio.create_task(api.client.get(LBS, headers={"X-Auth-Token": "good"}))
        await asyncio.to_thread(slow.begun.acquire, timeout=PATIENCE_S)
        gate._forget()
        slow.go_on.set()
        return (await before).status_code

    assert api.runner.run(ask()) == 200
    api.get(LBS, headers={"X-Auth-Token": "good"})
    assert slow.asked == 2
