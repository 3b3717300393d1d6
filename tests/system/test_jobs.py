# SPDX-License-Identifier: Apache-2.0
"""Jobs are followed by serial and by position while the API is killed again and again: nothing missed, none twice."""

import contextlib
import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx2
import pytest

from bench.installation import Installation
from bench.waiting import pause, until

KILLS = 3
DEADLINE_S = 120
SLOW = {"CARYATID_NOOP_DELAY_S": "1.5"}
MEMBERS = 2


@pytest.fixture(params=["sqlite", "postgresql"])
def slow(request: pytest.FixtureRequest) -> Iterator[Installation]:
    """Every act of the world takes its time."""
    more = {}
    if request.param == "postgresql":
        new: Callable[[], str] = request.getfixturevalue("new_database")
        more = {"CARYATID_DATABASE": new()}
    with Installation(noop=True, environment={**SLOW, **more}) as made:
        yield made


@dataclass
class Follower(threading.Thread):
    """Comes back whenever its connection breaks, with what it knows; until the job has ended."""

    installation: Installation
    job_id: str
    stop: threading.Event = field(default_factory=threading.Event)
    jobs: list[dict[str, Any]] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(daemon=True)

    def __hash__(self) -> int:
        return id(self)

    def run(self) -> None:
        with httpx2.Client(base_url=self.installation.url, timeout=20) as client:
            while not self.stop.is_set():
                with contextlib.suppress(httpx2.HTTPError):
                    if self.follow(client):
                        return
                pause(0.05)

    def follow(self, client: httpx2.Client) -> bool:
        """Whether it was followed to its end."""
        raise NotImplementedError


class Waiter(Follower):
    """By the serial."""

    def follow(self, client: httpx2.Client) -> bool:
        since = self.jobs[-1]["serial"] if self.jobs else 0
        answer = client.get(f"/v1/jobs/{self.job_id}/wait?since={since}&timeout=10")
        job = answer.json()["job"]
        if job["serial"] > since:
            self.jobs.append(job)
        return job["ended_at"] is not None


class Reader(Follower):
    """By the position of the last line."""

    def follow(self, client: httpx2.Client) -> bool:
        known = {"Last-Event-ID": self.lines[-1]} if self.lines else {}
        event = ""
        with client.stream("GET", f"/v1/jobs/{self.job_id}/log?follow=true", headers=known) as answer:
            for text in answer.iter_lines():
                name, _, value = text.partition(": ")
                if name == "event":
                    event = value
                elif name == "data" and event == "end":
                    self.jobs.append(json.loads(value)["job"])
                    return True
                elif name == "data":
                    self.lines.append(json.loads(value)["position"])
        return False


def test_who_follows_a_job_misses_nothing_when_the_api_is_killed(slow: Installation) -> None:
    body = {"loadbalancer": {"vip_subnet_id": slow.subnet_id(), "name": "followed"}}
    answer = slow.api.post("/v2/lbaas/loadbalancers", json=body)
    job_id = answer.headers["Caryatid-Job"]
    followers = [kind(slow, job_id) for kind in (Waiter, Reader) for _ in range(MEMBERS)]
    for follower in followers:
        follower.start()
    try:
        for _ in range(KILLS):
            pause(0.4)
            pid = slow.services()["api"]
            os.kill(pid, signal.SIGKILL)
            until(lambda pid=pid: slow.services().get("api") not in {None, pid}, "it is started again")
        for follower in followers:
            follower.join(DEADLINE_S)
    finally:
        for follower in followers:
            follower.stop.set()
    until(slow.answers, "it answers")
    job = slow.get(f"/v1/jobs/{job_id}")
    assert job["state"] == "succeeded"
    for follower in followers:
        assert not follower.is_alive(), "it came to the end"
        assert follower.jobs[-1]["state"] == "succeeded"
        if isinstance(follower, Reader):
            assert follower.lines == [line["position"] for line in job["log"]], "each line once, in order"
        else:
            serials = [one["serial"] for one in follower.jobs]
            assert serials == sorted(set(serials))
            assert follower.jobs[-1]["log"] == job["log"]
