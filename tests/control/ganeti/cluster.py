# SPDX-License-Identifier: Apache-2.0
"""A cluster that lives by the clock, for whoever watches it: jobs go on by themselves, and can be held, asked from any
thread."""

import threading
import time
from contextlib import contextmanager

from caryatid.wire.rapi.answers import Problem, Waited
from tests.rapi_world import RapiWorld

WAIT_S = 0.5
"""Shorter than a real one's ten seconds, so that no test waits for it when it ends."""


class LivingWorld(RapiWorld):
    """RapiWorld, whose jobs go on whenever somebody asks; `held`: they do not."""

    def __init__(self):
        super().__init__(time.time())
        self.held = False
        self.away = False
        """Nobody answers."""
        self.drained = False
        """The queue takes nothing."""
        self.post_faults = []
        """What goes wrong with the next requests that change something."""
        self.lock = threading.RLock()
        self.under_way = 0
        self.most_under_way = 0
        self.asked = []
        """Who asked when: (call, monotonic)."""

    def go_on(self):
        self.now = time.time()
        self.pass_time(0)
        if not self.held:
            for job_id in self.unended():
                self.step(job_id)

    @contextmanager
    def asking(self, call):
        with self.lock:
            self.under_way += 1
            self.most_under_way = max(self.most_under_way, self.under_way)
            self.asked.append((call, time.monotonic()))
            self.go_on()
        try:
            yield
        finally:
            with self.lock:
                self.under_way -= 1

    def count(self, call):
        with self.lock:
            return sum(one == call for one, _ in self.asked)

    def end_all(self):
        with self.lock:
            self.settle()

    def crash(self, name, status="ERROR_down"):
        with self.lock:
            self.things[name].status = status


def _locked(call):
    def answer(world, *given):
        with world.asking(call):
            if world.away:
                return Problem("unreachable", f"{call}: nobody listens.")
            with world.lock:
                if call in ("create", "delete"):
                    world.faults.extend(["drained"] if world.drained else world.post_faults[:1])
                    del world.post_faults[:1]
                return getattr(RapiWorld, call)(world, *given)

    return answer


for _call in ("info", "nodes", "instances", "live", "create", "delete", "job", "jobs", "unfinished", "cancel"):
    setattr(LivingWorld, _call, _locked(_call))


def _wait(world, job_id, status, serial):
    deadline = time.monotonic() + WAIT_S
    while True:
        with world.asking("wait"):
            if world.away:
                return Problem("unreachable", "wait: nobody listens.")
            with world.lock:
                waited = RapiWorld.wait(world, job_id, status, serial)
        if not isinstance(waited, Waited) or waited.status != status or time.monotonic() > deadline:
            return waited
        threading.Event().wait(0.02)


LivingWorld.wait = _wait


class Unreliable:
    """The same world, badly reached: some questions get no answer, some answers are lost."""

    def __init__(self, world, chance):
        self._world = world
        self._chance = chance

    def __getattr__(self, call):
        def ask(*given):
            with self._world.lock:
                fate = self._chance.random()
            if fate < 0.1:
                return Problem("unreachable", f"{call}: nobody listens.")
            answer = getattr(self._world, call)(*given)
            if fate > 0.8 and call in ("create", "delete"):
                return Problem("ambiguous", f"{call}: there was no answer.")
            return Problem("unreachable", f"{call}: the connection broke.") if fate > 0.9 else answer

        return ask
