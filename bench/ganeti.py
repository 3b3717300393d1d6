# SPDX-License-Identifier: Apache-2.0
"""What a load balancer costs whose amphorae are instances of a Ganeti: a real one, with its fake hypervisor and hooks.

The RAPI's own log counts what it was asked, so what is said here is what the cluster had to bear.
"""

import json
import re
import threading
import time
from collections import Counter
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import httpx2

from bench.figures import Figure, median, spread
from bench.waiting import pause, until
from tests.ganeti.site import GanetiSite, answers, ganeti_site

TIMES, QUICK_TIMES = 10, 3
CROWD, QUICK_CROWD = 50, 8
RATE = 100
"""Requests a second for the cluster's status."""
WATCHED_S, QUICK_WATCHED_S = 20, 5
AWAY_S, QUICK_AWAY_S = 60, 10
SERVING_S = 300
TARGET_S = 5
SETTLE_S = 12
"""After which what was asked for is over, and idle is idle."""
MADE = frozenset({"BOOTING", "READY"})
REQUEST = re.compile(r" (GET|PUT|POST|DELETE) /2/\S+ HTTP/")
CREATE = re.compile(r"INSTANCE_CREATE\(amphora-(?P<amphora>[0-9a-f-]{36})\..*\)")
Root = Mapping[str, Any]


def run(*, quick: bool) -> Iterator[Figure]:
    with ganeti_site({"CARYATID_LOG_LEVEL": "warning"}) as place:
        yield from alone(place, QUICK_TIMES if quick else TIMES)
        roots = yield from crowd(place, QUICK_CROWD if quick else CROWD)
        yield from asked(place, len(roots), QUICK_WATCHED_S if quick else WATCHED_S)
        yield from away(place, roots, QUICK_AWAY_S if quick else AWAY_S)


def alone(place: GanetiSite, times: int) -> Iterator[Figure]:
    """From the request to the first answer of its VIP, one after the other."""
    serving, gone = [], []
    for number in range(times):
        began = time.monotonic()
        root = place.ask(f"one-{number}")
        until(lambda root=root: answers(root["vip_address"]), "it serves", SERVING_S, 0.01)  # type: ignore[misc]
        serving.append(time.monotonic() - began)
        place.served(root)
        began = time.monotonic()
        place.remove(root)
        gone.append(time.monotonic() - began)
    yield Figure("create → serving, p50", median(serving), "s", TARGET_S, note=spread(serving, "s"))
    yield Figure("delete → no instance, p50", median(gone), "s", note=spread(gone, "s"))


def crowd(place: GanetiSite, count: int) -> Generator[Figure, None, list[Root]]:
    """All asked for at once."""
    counted = Requests(place)
    with Watched(place, 20) as watched:
        began = time.monotonic()
        roots = [place.ask(f"crowd-{number}") for number in range(count)]
        accepted = time.monotonic() - began
        for root in roots:
            until(lambda root=root: answers(root["vip_address"]), "it serves", SERVING_S, 0.02)  # type: ignore[misc]
        took = time.monotonic() - began
        for root in roots:
            place.served(root)
    yield Figure(f"{count} at once: all accepted", accepted, "s")
    yield Figure(f"{count} at once: all serve", took, "s", note=f"{count / took:.2g} a second; jobs run one by one")
    posts = counted.since()["POST"]
    yield Figure(f"{count} at once: instances asked for", posts, "", count, note="each once")
    late = [1000 * value for value in delays(place, watched.made)]
    yield Figure("job has ended → known, p50", median(late), "ms", 500, note=spread(late))
    return roots


def asked(place: GanetiSite, count: int, seconds: float) -> Iterator[Figure]:
    """The state of so many instances, a hundred times a second; while nothing happens, and while jobs run."""
    pause(SETTLE_S)
    for name, limit in (("idle", 10.5), ("while jobs run", 1.0)):
        counted, began = Requests(place), time.monotonic()
        stop = threading.Event()
        busy = threading.Thread(target=_busy, args=(place, stop)) if limit == 1.0 else None
        if busy:
            busy.start()
            pause(1)
        with Watched(place, RATE) as watched:
            pause(seconds)
        took, said = time.monotonic() - began, counted.since()
        stop.set()
        if busy:
            busy.join(SERVING_S)
        rate = (said.total() - said["POST"] - said["DELETE"]) / took
        note = f"state of {count} asked {len(watched.took) / seconds:.0f} times a second; {dict(said)}"
        yield Figure(f"{name}: RAPI requests but those that make or remove", rate, "/s", 2, note=note)
        answer = [1000 * value for value in watched.took]
        yield Figure(f"{name}: answer, p50", median(answer), "ms", 5, note=spread(answer))
        yield Figure(
            f"{name}: age of what it says, p90", ninety(watched.ages), "s", limit, note=spread(watched.ages, "s")
        )


def _busy(place: GanetiSite, stop: threading.Event) -> None:
    number = 0
    while not stop.is_set():
        root = place.ask(f"busy-{number}")
        place.served(root)
        place.remove(root)
        number += 1


def away(place: GanetiSite, roots: Sequence[Root], seconds: float) -> Iterator[Figure]:
    """The RAPI is gone while some are asked for, and comes back."""
    asked_for = [place.ask(f"before-{number}") for number in range(3)]
    place.cluster.kill("rapi")
    asked_for += [place.ask(f"during-{number}") for number in range(3)]
    pause(seconds)
    place.cluster.daemon("start", "rapi")
    began = time.monotonic()
    for root in asked_for:
        until(lambda root=root: answers(root["vip_address"]), "it serves", SERVING_S, 0.05)  # type: ignore[misc]
    took = time.monotonic() - began
    for root in asked_for:
        place.served(root)
    yield Figure(f"RAPI away {seconds} s: back → all serve", took, "s", note=f"{len(asked_for)} asked for meanwhile")
    wanted = Counter(one["id"] for root in (*roots, *asked_for) for one in place.amphorae(root))
    there = Counter(place.instances())
    yield Figure("the same: instances too many", (there - wanted).total(), "", 0)
    yield Figure("the same: instances lost", (wanted - there).total(), "", 0)
    dumb = sum(not answers(root["vip_address"]) for root in roots)
    yield Figure("the same: load balancers from before that do not serve", dumb, "", 0)


# -- how it is measured


class Requests:
    """How often the RAPI was asked, by verb, as its own log says."""

    def __init__(self, place: GanetiSite) -> None:
        self._place = place
        self._before = self._count()

    def since(self) -> Counter[str]:
        return self._count() - self._before

    def _count(self) -> Counter[str]:
        said = self._place.cluster.run("cat", "/var/log/ganeti/rapi-daemon.log")
        return Counter(REQUEST.findall(said))


@dataclass
class Watched:
    """The state of the cluster, asked so often from another thread."""

    place: GanetiSite
    rate: float
    took: list[float] = field(default_factory=list)
    """Seconds of each answer."""
    ages: list[float] = field(default_factory=list)
    """Of what each answer said."""
    made: dict[str, float] = field(default_factory=dict)
    """Seconds since the epoch at which an amphora's machine was first said to be made."""

    def __enter__(self) -> Self:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(60)

    def _run(self) -> None:
        path = f"/v1/clusters/{self.place.key}/status"
        with httpx2.Client(base_url=self.place.made.url, timeout=30) as api:
            due = time.monotonic()
            while not self._stop.wait(max(0.0, due - time.monotonic())):
                due = max(due + 1 / self.rate, time.monotonic() - 1)
                began = time.monotonic()
                answer = api.get(path)
                self.took.append(time.monotonic() - began)
                self._note(answer.json()["status"])

    def _note(self, status: Mapping[str, Any]) -> None:
        self.ages.append(status["config_age_s"])
        for one in status["machines"]:
            if one["phase"] in MADE:
                self.made.setdefault(one["amphora_id"], time.time())


def delays(place: GanetiSite, known: Mapping[str, float]) -> list[float]:
    """Seconds from the end of each job that made a machine, as Ganeti has it, to when our state said so."""
    command = ("gnt-job", "list", "--no-headers", "--separator=|", "-o", "summary,status,end_ts")
    found = []
    for line in place.cluster.run(*command).splitlines():
        summary, status, ended = line.rsplit("|", 2)
        name = CREATE.fullmatch(summary)
        if status == "success" and name and name["amphora"] in known:
            seconds, micros = json.loads(ended)
            found.append(known[name["amphora"]] - seconds - micros / 1e6)
    return found


def ninety(values: Sequence[float]) -> float:
    return sorted(values)[int(0.9 * (len(values) - 1))]
