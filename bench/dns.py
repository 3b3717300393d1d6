# SPDX-License-Identifier: Apache-2.0
"""What DNS servers cost: names published and seen to be, by a PowerDNS configured as the embedded one; and what it
answers in a second by each policy, against what it answers of plain records, by dnsperf."""

import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.figures import Figure, median, spread
from caryatid.drivers.dns.base import Publication
from caryatid.drivers.dns.powerdns import PowerDnsDriver
from caryatid.model.gslb.answers import Answers, Candidate, Choice, Clients, Variant
from caryatid.model.gslb.words import POLICIES
from tests.drivers.powerdns_server import Server, powerdns

ZONE = "bench.test."
TOTAL_LIMIT_S = 2.0
ONE_LIMIT_MS = 100.0
LEAST_RATIO = 0.2
QPS = re.compile(r"Queries per second:\s+([\d.]+)")
LOST = re.compile(r"Queries lost:\s+(\d+)")
PLACES = ((50.1, 8.7), (39.0, -77.5), (1.35, 103.8))


def run(*, quick: bool) -> Iterator[Figure]:
    with powerdns(geo=True) as server:
        driver = PowerDnsDriver(server.backend)
        driver.ensure_zone(ZONE)
        yield from _published(driver, 200 if quick else 1_000, 3 if quick else 5)
        yield from _one_of_many(driver, 1_000 if quick else 10_000)
        yield from _answered(driver, server, 2 if quick else 5, 3)


def _published(driver: PowerDnsDriver, count: int, rounds: int) -> Iterator[Figure]:
    """All of them changed, told and seen to be."""
    generation = 0
    for policy, limit in (("plain", TOTAL_LIMIT_S * count / 1_000), ("weighted", None)):
        taken = []
        for _ in range(rounds + 1):
            generation += 1
            wanted = [_wish(f"n{number}.{ZONE}", policy, generation) for number in range(count)]
            taken.append(_settled_s(driver, wanted))
        figures = taken[1:]  # the first makes them
        title = f"{count:,} changed names published and verified, {policy} answers"
        yield Figure(title, median(figures), "s", limit, note=spread(figures, "s"))


def _one_of_many(driver: PowerDnsDriver, count: int) -> Iterator[Figure]:
    batch = 1_000
    for first in range(0, count, batch):
        driver.publish(ZONE, [_wish(f"m{first + number}.{ZONE}", "plain", 1) for number in range(batch)])
    figures = [_settled_s(driver, [_wish(f"m7.{ZONE}", "plain", generation)]) * 1e3 for generation in range(2, 32)]
    title = f"one changed name of a zone of {count:,} published and verified"
    yield Figure(title, median(figures), "ms", ONE_LIMIT_MS, note=spread(figures, "ms"))


def _answered(driver: PowerDnsDriver, server: Server, seconds: int, rounds: int) -> Iterator[Figure]:
    """In turns, so that what else the machine does is shared."""
    kinds = ("plain", *(policy for policy in POLICIES if policy in CHOICES), "200 rules")
    for kind in kinds:
        _settled_s(driver, [_wish(f"{_label(kind)}.{ZONE}", kind, 1)])
    found: dict[str, list[float]] = {kind: [] for kind in kinds}
    for _ in range(rounds):
        for kind in kinds:
            found[kind].append(_qps(server, f"{_label(kind)}.{ZONE}", seconds))
    plain = median(found["plain"])
    yield Figure("queries/s, plain answers", plain, "/s", note=f"one client; {spread(found['plain'], '/s')}")
    for kind in kinds[1:]:
        limit = LEAST_RATIO if kind == "weighted" else None
        note = f"{median(found[kind]):,.0f}/s; {spread(found[kind], '/s')}"
        title = f"queries/s of {kind} answers against plain ones"
        yield Figure(title, median(found[kind]) / plain, "", limit, at_least=True, note=note)


def _label(kind: str) -> str:
    return kind.replace(" ", "-").replace("_", "-")


def _settled_s(driver: PowerDnsDriver, wanted: Sequence[Publication]) -> float:
    began = time.perf_counter()
    driver.publish(ZONE, wanted)
    wrong = driver.verify(ZONE, wanted)
    taken = time.perf_counter() - began
    if wrong:
        raise AssertionError(next(iter(wrong.values())))
    return taken


def _wish(fqdn: str, kind: str, generation: int) -> Publication:
    candidates = tuple(
        Candidate(f"192.0.2.{number + generation % 100}", number, *PLACES[number % 3]) for number in range(1, 5)
    )
    answers = Answers(fqdn, "A", 30, Choice(candidates))
    if kind in CHOICES:
        answers = Answers(fqdn, "A", 30, Choice(candidates, CHOICES[kind], 1))
    elif kind == "200 rules":
        choices = [Choice((candidate,)) for candidate in candidates]
        rules = (Variant(Clients(cidrs=(f"10.{n}.0.0/16",)), choices[n % len(choices)]) for n in range(200))
        answers = Answers(fqdn, "A", 30, Choice(candidates), tuple(rules))
    return Publication(answers, fqdn, "A", generation)


CHOICES = {"weighted": "weighted", "source_hash": "hash", "proximity": "nearest"}


def _qps(server: Server, name: str, seconds: int) -> float:
    program = shutil.which("dnsperf")
    if program is None:
        raise AssertionError("dnsperf is not installed: make system")
    questions = Path(server.nameserver.directory) / "questions"
    questions.write_text(f"{name} A\n")
    ((address, port),) = server.backend.name_servers
    words = [program, "-s", address, "-p", str(port), "-d", str(questions), "-l", str(seconds), "-T", "1", "-c", "1"]
    said = subprocess.run(words, capture_output=True, text=True, timeout=60 + seconds, check=True).stdout
    figure, lost = QPS.search(said), LOST.search(said)
    if figure is None or lost is None or "NOERROR" not in said or "SERVFAIL" in said:
        raise AssertionError(said)
    return float(figure[1])
