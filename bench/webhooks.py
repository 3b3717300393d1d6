# SPDX-License-Identifier: Apache-2.0
"""Webhooks: from the commit to the receiver, alone and beside receivers that hang; and what a delivery costs."""

import json
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from bench.figures import Figure, median, spread
from bench.installation import Installation, installation
from bench.waiting import cpu_s, pause, until
from caryatid.model.policy import Caller
from caryatid.store import events
from caryatid.store.database import Database

TIMES = 200
QUICK_TIMES = 50
PAUSE_S = 0.05
BURST = 2000
QUICK_BURST = 500
HANGING = 40
BY = Caller("bench", "p1")
AT_PRIVATE = "127.0.0.0/8"


def run(*, quick: bool) -> Iterator[Figure]:
    times, burst = (QUICK_TIMES, QUICK_BURST) if quick else (TIMES, BURST)
    with (
        installation(noop=True, CARYATID_LOG_LEVEL="warning", CARYATID_WEBHOOK_PRIVATE_TARGETS=AT_PRIVATE) as made,
        closing(Database(f"sqlite:///{made.directory / 'caryatid.db'}")) as database,
    ):
        yield from Scene(made, database).measure(times, burst)


class Receiver:
    """Takes everything at once, or hangs. `got`: what came, and when, on the monotonic clock."""

    def __init__(self, *, hangs: bool = False) -> None:
        self.got: dict[str, float] = {}
        self.requests = 0
        self._stopping = threading.Event()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                receiver.requests += 1
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.got[json.loads(body)["data"]["resource_id"]] = time.monotonic()
                if hangs:
                    receiver._stopping.wait(60)
                with suppress(OSError):
                    self.wfile.write(b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n")

            def log_message(self, *_: object) -> None:
                """Nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self._stopping.set()
        self._server.shutdown()
        self._server.server_close()


@dataclass
class Scene:
    """An installation, and its database, written to here, so that it is known when."""

    made: Installation
    database: Database
    receiver: Receiver = field(default_factory=Receiver)
    count: int = 0

    def measure(self, times: int, burst: int) -> Iterator[Figure]:
        self.subscribe(self.receiver.url)
        alone = self.delays(times)
        yield Figure("commit → delivered, p50", median(alone) * 1000, "ms", 100, note=spread([d * 1e3 for d in alone]))
        yield from self.burst(burst)
        hanging = Receiver(hangs=True)
        for _ in range(HANGING):
            self.subscribe(hanging.url)
        self.happen(1)
        until(lambda: hanging.requests >= HANGING, "they hang")
        beside = self.delays(times)
        name = f"the same beside {HANGING} receivers that hang, p50"
        yield Figure(name, median(beside) * 1000, "ms", 100, note=spread([d * 1e3 for d in beside]))
        hanging.stop()
        self.receiver.stop()

    def subscribe(self, url: str) -> None:
        body = {"callback_url": url, "project_id": "p1", "event_types": ["pool.create"]}
        answer = self.made.api.post("/v1/subscriptions", json={"subscription": body})
        assert answer.status_code == 201, answer.text

    def delays(self, times: int) -> Sequence[float]:
        """Seconds from the commit of one event until it came, one event after the other."""
        found = []
        for _ in range(times):
            (key,) = self.happen(1)
            committed = time.monotonic()
            until(lambda key=key: key in self.receiver.got, "it is delivered", pause_s=0.002)
            found.append(self.receiver.got[key] - committed)
            pause(PAUSE_S)
        return found

    def burst(self, size: int) -> Iterator[Figure]:
        """Many at once: how many a second one receiver gets, and what the service spends on each."""
        core = self.made.services()["core"]
        before, began = cpu_s(core), time.monotonic()
        keys = self.happen(size)
        until(lambda: keys[-1] in self.receiver.got, "all is delivered", timeout_s=120)
        took_s = time.monotonic() - began
        yield Figure(f"deliveries to one receiver, of {size} at once", size / took_s, "/s")
        yield Figure("CPU of a delivery", (cpu_s(core) - before) / size * 1000, "ms")

    def happen(self, size: int) -> list[str]:
        keys = [f"bench-{self.count + number}" for number in range(size)]
        self.count += size
        of = {"by": BY, "project_id": "p1", "root_id": None}
        with self.database.transaction() as tx:
            events.append_all(tx, [events.happened("create", "pool", key, **of) for key in keys])
        return keys
