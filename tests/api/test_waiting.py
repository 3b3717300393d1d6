# SPDX-License-Identifier: Apache-2.0
"""Who comes back with the last serial that it knows misses no news, whatever becomes of the API meanwhile."""

import asyncio
from dataclasses import dataclass, field

import httpx2
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from caryatid.api import waiting
from caryatid.api.app import create_app
from caryatid.api.news import News
from caryatid.store import attempts, jobs, work
from caryatid.store.work import Again, Done

SUBNET = "00000000-0000-4000-8000-000000000002"
DEADLINE_S = 20
DEEDS = ("begin", "say", "again", "lose", "restart", "look")
deeds = st.lists(st.sampled_from(DEEDS), min_size=1, max_size=14)


@dataclass
class Place:
    """One process of the API after the other, over one database; and a worker that does as it is told."""

    api: object
    news: News | None = None
    client: httpx2.AsyncClient | None = None
    claim: work.Claim | None = None

    def start(self):
        self.news = News(self.api.wakeups)
        app = create_app(self.api.door, self.api.wakeups, self.news)
        self.client = httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://127.0.0.1:9876")

    def restart(self):
        """Whoever waits is answered at once with what there is, and has to come again."""
        self.news.close()
        self.start()

    def worker(self, deed):
        database = self.api.door.database
        if deed == "begin" and self.claim is None:
            self.claim = work.claim(database, "test")
            with database.transaction() as tx:
                attempts.begin(tx, self.claim, 1)
        elif deed == "say" and self.claim is not None:
            attempts.write(database, self.claim, attempts.Said([(0.0, "more")], 1, 2))
        elif deed == "lose" and self.claim is not None:
            with database.transaction() as tx:
                tx.connection.exec_driver_sql("UPDATE work SET lease_until = 0")
            self.claim = None
        elif deed in {"again", "done"} and self.claim is not None:
            outcome = Done(1) if deed == "done" else Again("away", 1, after_s=0)
            with database.transaction() as tx:
                work.settle(tx, self.claim, outcome)
            self.claim = None


@dataclass
class Waiter:
    """Waits, and comes back with the serial of the last answer."""

    place: Place
    job_id: str
    seen: list = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self):
        since = 0
        while True:
            answer = await self.place.client.get(f"/v1/jobs/{self.job_id}/wait?since={since}&timeout=30")
            job = answer.json()["job"]
            assert job["serial"] >= since, "it never falls"
            if job["serial"] > since:
                self.seen.append(job)
                self.news.set()
            since = job["serial"]
            if job["ended_at"] is not None:
                return

    async def knows(self, job):
        async with asyncio.timeout(DEADLINE_S):
            while not self.seen or self.seen[-1]["serial"] < job["serial"]:
                self.news.clear()
                await self.news.wait()


async def live(api, deeds):
    place = Place(api)
    place.start()
    body = {"loadbalancer": {"vip_subnet_id": SUBNET}}
    made = await place.client.post("/v2/lbaas/loadbalancers", json=body)
    waiter = Waiter(place, made.headers["caryatid-job"])

    def true():
        with api.door.database.read() as tx:
            return jobs.get(tx, waiter.job_id)

    waiting = asyncio.create_task(waiter.run())
    for deed in (*deeds, "begin", "done"):
        if deed == "restart":
            place.restart()
        elif deed == "look":
            await waiter.knows(await asyncio.to_thread(true))
        else:
            await asyncio.to_thread(place.worker, deed)
    async with asyncio.timeout(DEADLINE_S):
        await waiting
    ended = await asyncio.to_thread(true)
    assert {name: waiter.seen[-1][name] for name in ended} == ended
    serials = [job["serial"] for job in waiter.seen]
    assert serials == sorted(set(serials)), "each news once"


def test_who_comes_back_with_its_last_serial_misses_no_news(any_api):
    @given(deeds)
    @examples(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    def check(deeds):
        any_api.runner.run(live(any_api, deeds))

    check()


def test_a_change_that_is_committed_late_reaches_who_waits(any_api):
    """A lost wake-up costs no more than a look: here nobody rings at all."""
    api = any_api

    async def late():
        place = Place(api)
        place.start()
        made = await place.client.post("/v2/lbaas/loadbalancers", json={"loadbalancer": {"vip_subnet_id": SUBNET}})
        path = f"/v1/jobs/{made.headers['caryatid-job']}/wait?timeout=20"
        waiting = asyncio.create_task(place.client.get(path))
        await asyncio.sleep(0.1)
        place.news._channels.clear()
        await asyncio.to_thread(api.settle)
        async with asyncio.timeout(DEADLINE_S):
            return (await waiting).json()["job"]

    assert api.runner.run(late())["state"] == "succeeded"


def test_who_goes_away_waits_no_longer(api, monkeypatch):
    monkeypatch.setattr(waiting, "WAITERS_MAX", 1)

    async def leave():
        place = Place(api)
        place.start()
        made = await place.client.post("/v2/lbaas/loadbalancers", json={"loadbalancer": {"vip_subnet_id": SUBNET}})
        path = f"/v1/jobs/{made.headers['caryatid-job']}/wait"
        left, app = asyncio.Event(), create_app(api.door, api.wakeups, place.news)

        async def receive():
            await left.wait()
            return {"type": "http.disconnect"}

        async def send(_message):
            pass

        scope = {"type": "http", "method": "GET", "path": path, "query_string": b"", "headers": []}
        asking = asyncio.create_task(app(scope, receive, send))
        await asyncio.sleep(0.1)
        client = httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://127.0.0.1:9876")
        refused = await client.get(f"{path}?timeout=0")
        left.set()
        async with asyncio.timeout(DEADLINE_S):
            await asking
        return refused.status_code, (await client.get(f"{path}?timeout=0")).status_code

    assert api.runner.run(leave()) == (503, 200)
