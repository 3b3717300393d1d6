# SPDX-License-Identifier: Apache-2.0
"""The API is killed in the middle of streams and waits; whoever comes back by its cursor misses nothing, and gets
nothing twice."""

import os
import random
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, suppress

import httpx2
import pytest

from bench.installation import Installation
from bench.waiting import pause, until
from caryatid.cli.client import Client
from caryatid.cli.events import following
from caryatid.model.policy import Caller
from caryatid.store import events
from caryatid.store.database import Database
from tests.conftest import DATABASES

KILLS = 5
STREAMS = WAITS = 3
BY = Caller("u1", "p1")
WITHIN_S = 60


@pytest.fixture(params=DATABASES)
def killed(request: pytest.FixtureRequest) -> Iterator[Installation]:
    given = {"CARYATID_METRICS_LISTEN": ""}
    if request.param == "postgresql":
        new_database: Callable[[], str] = request.getfixturevalue("new_database")
        given["CARYATID_DATABASE"] = new_database()
    with Installation(noop=True, environment=given) as made:
        yield made


class Writer(threading.Thread):
    """Writes events as fast as it may, some of them in transactions that take their time."""

    def __init__(self, url: str, stop: threading.Event) -> None:
        super().__init__()
        self.database = Database(url)
        self.stop = stop
        self.written = 0

    def run(self) -> None:
        while not self.stop.is_set():
            with self.database.transaction() as tx:
                for _ in range(random.randint(1, 3)):
                    events.append(tx, "create", "pool", self.name, by=BY, project_id="p1", root_id=None)
                    self.written += 1
                    if self.database.dialect == "postgresql":
                        self.stop.wait(random.uniform(0, 0.02))
            self.stop.wait(random.uniform(0, 0.01))
        self.database.close()


class Reader(threading.Thread):
    """Remembers what it was told, in its order."""

    def __init__(self, url: str, cursor: str, stop: threading.Event) -> None:
        super().__init__()
        self.url, self.cursor, self.stop = url, cursor, stop
        self.told: list[str] = []


class Streaming(Reader):
    def run(self) -> None:
        with Client(self.url) as client:
            for event in following(client, (), self.cursor, self.stop):
                self.told.append(event["id"])


class Waiting(Reader):
    def run(self) -> None:
        with httpx2.Client(base_url=self.url, timeout=30) as api:
            while not self.stop.is_set():
                with suppress(httpx2.TransportError):
                    found = api.get("/v1/events", params={"after": self.cursor, "wait": "2"}).raise_for_status().json()
                    self.told += [event["id"] for event in found["events"]]
                    self.cursor = found["cursor"]


def everything(api: httpx2.Client, cursor: str) -> list[str]:
    told: list[str] = []
    while True:
        found = api.get("/v1/events", params={"after": cursor, "limit": "1000"}).raise_for_status().json()
        told += [event["id"] for event in found["events"]]
        if found["cursor"] == cursor:
            return told
        cursor = found["cursor"]


def test_who_streams_or_waits_gets_each_event_once_and_in_order_though_the_api_is_killed(killed: Installation) -> None:
    url = killed.environment.get("CARYATID_DATABASE") or f"sqlite:///{killed.directory}/caryatid.db"
    begin = killed.api.get("/v1/events", params={"after": "now"}).json()["cursor"]
    writing, reading = threading.Event(), threading.Event()
    readers: list[Reader] = [
        *(Streaming(killed.url, begin, reading) for _ in range(STREAMS)),
        *(Waiting(killed.url, begin, reading) for _ in range(WAITS)),
    ]
    writers = [Writer(url, writing) for _ in range(2)]
    try:
        for thread in (*readers, *writers):
            thread.start()
        for _ in range(KILLS):
            pause(random.uniform(0.5, 2.0))
            known = killed.services()["api"]
            os.kill(known, signal.SIGKILL)
            until(lambda known=known: killed.services().get("api", known) != known, "another API is started", WITHIN_S)
            until(killed.answers, "it answers", WITHIN_S)
        pause(1)
        writing.set()
        for writer in writers:
            writer.join(WITHIN_S)
        found = everything(killed.api, begin)
        assert len(found) == sum(writer.written for writer in writers)
        until(lambda: all(len(reader.told) >= len(found) for reader in readers), "all is told", WITHIN_S)
    finally:
        writing.set()
        reading.set()
        with closing(Database(url)) as database, database.transaction() as tx:  # who streams looks up when it comes
            events.append(tx, "delete", "pool", "last", by=BY, project_id="p1", root_id=None)
        for thread in (*readers, *writers):
            thread.join(WITHIN_S)
    for reader in readers:
        assert reader.told[: len(found)] == found
        assert len(reader.told) == len({*reader.told})
