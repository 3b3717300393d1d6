# SPDX-License-Identifier: Apache-2.0
"""kill -9 of anything at random moments, under traffic and changes: `python -m bench.soak --kills 200`.

Kills the API, core, agent, and masters and workers of HAProxy. Every so often it lets everything settle and compares
the API, the HAProxies, traffic and statuses with what was accepted.
"""

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from bench import figures, haproxy, truth
from bench.backends import Backends, Server
from bench.installation import Installation, installation
from bench.traffic import Traffic
from bench.waiting import TooLate, pause
from bench.wishes import Root, Wishes, held, prepare

ROOTS = 3
SERVERS = 24
"""More than a pool may have members, so that each has an address of its own."""
TARGETS = {"api": 1, "core": 1, "agent": 1, "master": 3, "worker": 3}
"""What is killed, and how often beside the others: our own processes take seconds of CPU to start."""
KILLS_A_ROUND = 100
GAP_S = 0.2
FLICKER_CHANCE = 0.2
WATCH_S = 0.05


@dataclass
class Result:
    """What a soak has found. `findings` is empty if all is well."""

    seed: int
    kills: Counter[str] = field(default_factory=Counter)
    findings: list[str] = field(default_factory=list)
    settled_s: list[float] = field(default_factory=list)
    true_s: list[float] = field(default_factory=list)
    took_s: float = 0
    changes: Counter[str] = field(default_factory=Counter)
    answered: int = 0
    failed: int = 0
    unexplained: int = 0
    outages_s: list[float] = field(default_factory=list)

    @property
    def true_after_kill_s(self) -> list[float]:
        return [settled + true for settled, true in zip(self.settled_s, self.true_s, strict=False)]

    def text(self) -> str:
        lines = [
            f"# Soak, {figures.today()}",
            "",
            figures.machine(),
            "",
            f"- seed {self.seed}; {self.took_s:.0f} s; {sum(self.kills.values())} kills: {_counts(self.kills)}",
            f"- changes: {_counts(self.changes)}",
            f"- requests: {self.answered} answered, {self.failed} failed, {self.unexplained} of these unexplained",
        ]
        if self.outages_s:
            lines.append(
                f"- a killed HAProxy was away {figures.median(self.outages_s):.2f} s (median), "
                f"{max(self.outages_s):.2f} s (longest, its agent or core being killed too)"
            )
        if self.true_s:
            lines.append(
                f"- settled {len(self.settled_s)} times; after the last kill, nothing was pending "
                f"{_spread(self.settled_s)} later, statuses were true {_spread(self.true_after_kill_s)} later"
            )
        verdict = self.findings or ["no accepted change lost, nothing stuck, no false status"]
        return "\n".join([*lines, "", "## Findings", "", *(f"- {finding}" for finding in verdict), ""])


def _spread(seconds: list[float]) -> str:
    return f"{figures.median(seconds):.1f} s (median), {max(seconds):.1f} s (longest)"


def _counts(counter: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counter.items()))


def soak(kills: int, seed: int, *, seconds: float = float("inf"), log: Path | None = None) -> Result:
    """So many kills, or for so long; then what was found. `log`: where the log goes if there are findings."""
    result, began = Result(seed), time.monotonic()
    with contextlib.ExitStack() as stack:
        backends = stack.enter_context(Backends())
        steady = [backends.make(f"steady-{number}") for number in range(SERVERS)]
        flickering = [backends.make(f"flicker-{number}") for number in range(2)]
        made = stack.enter_context(installation())
        roots = prepare(made, ROOTS, steady, flickering)
        killer = Killer(made, roots, flickering, result)
        stack.enter_context(killer.under_load(steady))
        try:
            while sum(result.kills.values()) < kills and time.monotonic() - began < seconds and not result.findings:
                killer.round(min(KILLS_A_ROUND, kills - sum(result.kills.values())), began + seconds)
                killer.judge([*steady, *flickering])
                print(f"  {_counts(result.kills)}; settled in {result.settled_s[-1]:.1f} s", flush=True)
        except TooLate as late:
            result.findings.append(str(late))
        if result.findings and log:
            shutil.copy(made.log_path, log)
    result.took_s = time.monotonic() - began
    return result


class Killer:
    """Kills, watches what comes back, and has it judged."""

    def __init__(self, made: Installation, roots: list[Root], flickering: list[Server], result: Result) -> None:
        self._made = made
        self._roots = roots
        self._flickering = flickering
        self._result = result
        self._random = random.Random(result.seed)
        self._traffic = Traffic({root.id: root.address for root in roots})
        self._dead: set[int] = set()
        """Masters that were killed, or whose worker was: they may still be seen for a moment."""

    @contextlib.contextmanager
    def under_load(self, servers: list[Server]) -> Iterator[None]:
        self._wishes = Wishes(self._made, self._roots, servers, self._result.seed + 1)
        self._traffic.start()
        self._wishes.start()
        try:
            yield
        finally:
            self._wishes.stop()
            self._traffic.stop()
            self._count()

    def round(self, kills: int, deadline: float) -> None:
        done = 0
        while done < kills and time.monotonic() < deadline:
            self._watch(self._random.expovariate(1 / GAP_S))
            if self._random.random() < FLICKER_CHANCE:
                self._flicker()
            done += self._kill(*self._random.choices([*TARGETS], [*TARGETS.values()]))

    def judge(self, servers: list[Server]) -> None:
        """Nothing is asked for meanwhile; traffic goes on."""
        with held(self._wishes):
            self._result.settled_s.append(truth.settle(self._made))
            self._watch(0)
            self._result.true_s.append(truth.statuses_true(self._made, self._roots, servers))
            self._result.findings += truth.lost(self._made, self._wishes, servers)
        self._count()

    def _kill(self, target: str) -> int:
        """1 if there was something to kill."""
        if target in {"api", "core", "agent"}:
            pid = self._made.services().get(target)
        else:
            root = self._random.choice(self._roots)
            found = self._made.haproxies().get(haproxy.amphora_of(self._made, root.id))
            pid = found and (found.master if target == "master" else found.workers[-1])
            if pid:
                self._dead.add(found.master)  # a master ends with its worker
                self._traffic.killed(root.id)
        if not pid:
            return 0
        self._note("killed", target=target, pid=pid)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            self._result.kills[target] += 1
            return 1
        return 0

    def _note(self, event: str, **what: object) -> None:
        """A line in the installation's own log, to be read beside what its processes say."""
        at = datetime.now(UTC).isoformat()
        with self._made.log_path.open("a") as log:
            log.write(json.dumps({"service": "soak", **what, "event": event, "timestamp": at}) + "\n")

    def _flicker(self) -> None:
        server = self._random.choice(self._flickering)
        server.close() if server.alive else server.open()

    def _watch(self, seconds: float) -> None:
        """Note what lives again."""
        deadline = time.monotonic() + seconds
        while True:
            running = self._made.haproxies()
            for root in self._roots:
                amphora_id = haproxy.amphora_of(self._made, root.id)
                fresh = amphora_id in running and running[amphora_id].master not in self._dead
                serves = fresh and haproxy.worker(haproxy.stats_socket(self._made, amphora_id))
                if serves and self._traffic.lives(root.id):
                    self._note("lives", amphora=amphora_id, master=running[amphora_id].master)
            if time.monotonic() >= deadline:
                return
            pause(min(WATCH_S, max(0.0, deadline - time.monotonic())))

    def _count(self) -> None:
        result, traffic = self._result, self._traffic
        result.changes = self._wishes.outcomes
        result.answered, result.failed = traffic.good, len(traffic.failures)
        unexplained = traffic.unexplained()
        result.unexplained = len(unexplained)
        result.outages_s = traffic.outage_s()
        wrong = [f"a request failed unexplained: {failure}" for failure in unexplained[:5]]
        known = set(result.findings)
        result.findings += [finding for finding in (*self._wishes.findings[:10], *wrong) if finding not in known]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="end after so long, whatever the kills")
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument(
        "--log", type=Path, default=None, help="where the processes' log is copied to if there are findings"
    )
    arguments = parser.parse_args()
    seed = arguments.seed if arguments.seed is not None else random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}", flush=True)
    result = soak(arguments.kills, seed, seconds=arguments.seconds, log=arguments.log)
    print(result.text())
    print(f"Written to {figures.write(f'soak-{figures.today()}', result.text())}")
    sys.exit(1 if result.findings else 0)


if __name__ == "__main__":
    main()
