# SPDX-License-Identifier: Apache-2.0
"""Blows at random under traffic, one after the other and into each other's recovery; then everything settles."""

import contextlib
import os
import random
import signal

from bench.site import Host
from bench.waiting import pause
from tests.system.site.town import Town, traffic

SEED = int(os.environ.get("SITE_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 20)
ROUNDS = 20
PAUSE_MAX_S = 3.0
DEAD_S = 6.0


def kill(pids: list[int]) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


class Blows:
    """Each takes a machine; those that take something away put it back."""

    def __init__(self, town: Town, chance: random.Random) -> None:
        self._town = town
        self._chance = chance

    def some(self, host: Host, name: str) -> None:
        pids = sorted(host.processes(name))
        kill(self._chance.sample(pids, min(len(pids), self._chance.randint(1, 2))))

    def haproxy(self, host: Host) -> None:
        self.some(host, "haproxy")

    def keepalived(self, host: Host) -> None:
        self.some(host, "keepalived")

    def agent(self, host: Host) -> None:
        kill([pid for pid in [host.agent()] if pid])

    def outside(self, host: Host) -> None:
        host.cut(manage=False)
        pause(self._chance.uniform(0.2, 2))
        host.mend()

    def manage(self, host: Host) -> None:
        host.cut(outside=False)
        pause(self._chance.uniform(0.5, DEAD_S))
        host.mend()

    def machine(self, host: Host) -> None:
        host.kill()
        pause(self._chance.uniform(0.5, DEAD_S))
        host.mend()
        host.start()

    def core(self, host: Host) -> None:
        del host
        kill([pid for name, pid in self._town.made.made.services().items() if name == "core"])

    def failover(self, host: Host) -> None:
        del host
        root = self._chance.choice(self._town.kept)
        self._town.made.made.api.put(f"/v2/lbaas/loadbalancers/{root['id']}/failover")


WEIGHTS = {"haproxy": 6, "keepalived": 4, "agent": 3, "outside": 2, "manage": 2, "machine": 1, "core": 1, "failover": 2}


def test_after_twenty_blows_at_random_everything_is_as_it_should_be(town):
    chance = random.Random(SEED)
    print(f"SITE_SEED={SEED}")
    blows = Blows(town, chance)
    with traffic(*town.kept) as requests:
        for _ in range(ROUNDS):
            [word] = chance.choices(list(WEIGHTS), list(WEIGHTS.values()))
            host = chance.choice(town.made.hosts)
            print(word, host.name)
            getattr(blows, word)(host)
            pause(chance.uniform(0, PAUSE_MAX_S))
        town.settles()
    assert all(path.good for path in requests.paths.values())
