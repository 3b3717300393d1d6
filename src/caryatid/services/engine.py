# SPDX-License-Identifier: Apache-2.0
"""The engine: takes gslbs that are due, many at once, decides, and has each DNS backend told in a thread of its own.

A backend that hangs keeps nobody but its own names waiting; what gathers meanwhile is told together.
"""

import os
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

from caryatid import log, metrics
from caryatid.control.door import Door
from caryatid.control.gslb import engine
from caryatid.control.gslb.cases import Case
from caryatid.control.gslb.hearing import Hearing
from caryatid.control.gslb.publishing import Place
from caryatid.control.gslb.settling import settle
from caryatid.errors import Busy
from caryatid.model import GSLB
from caryatid.store import clock, work
from caryatid.store.claim import Claim, Done
from caryatid.store.wake import Wakeups

from . import loop
from .lanes import Lanes, place_of

SWEEP_S = 5.0
RENEW_S = 3.0
AT_ONCE = 200
"""Gslbs that are decided about together."""
PATIENCE_S = 0.3
"""A gslb that name servers are asked about for longer is decided about anew as soon as something is said of it."""
COALESCE_S = 0.25
"""The first change of a gslb is told at once, those within so long after it together."""
BACKENDS_AT_ONCE = 16
ASKED_AT_ONCE = 32
"""Groups of names that name servers are asked about at a time."""
SETTLE_S = 8.0
"""For so long it is tried to write down what has been told; then the lease runs out, and another does it again."""
SETTLE_PAUSE_S = 0.2


class Engine:
    """One thread that decides, some that tell and ask name servers, and one that renews leases."""

    def __init__(self, door: Door, wakeups: Wakeups) -> None:
        self._door = door
        self._bell = loop.Bell()
        self._stop = threading.Event()
        self._never = threading.Event()
        self._name = f"{socket.gethostname()}:{os.getpid()}"
        self._held: dict[str, Claim] = {}
        self._published: dict[str, float] = {}
        """When it was published last (monotonic), as long as that matters."""
        self._waiting: list[Claim] = []
        self._seeing: dict[str, tuple[Case, float]] = {}
        """What name servers are being asked about, and since when (monotonic)."""
        self._lock = threading.Lock()
        self._hearing = Hearing()
        self._lanes = Lanes(self._tell, BACKENDS_AT_ONCE)
        self._askers = ThreadPoolExecutor(ASKED_AT_ONCE, "ask")
        self._log = log.get(service="engine")
        self._unpublished: dict[str, str] = {}
        """Gslb → the backend that has not taken it."""
        wakeups.subscribe(work.CHANNELS[GSLB.name], self._bell.ring)

    def start(self) -> None:
        """Names are answered as they shall be until `stop`."""
        self._thread = loop.start("engine", lambda: loop.forever("engine", self.turn, self._stop))
        loop.start("engine leases", lambda: loop.every("engine leases", RENEW_S, self._renew, self._stop))

    def stop(self, timeout_s: float = 10.0) -> None:
        """Nothing new is begun; what is under way is waited for, for `timeout_s`; its lease runs out otherwise."""
        self._stop.set()
        self._bell.ring()
        deadline = time.monotonic() + timeout_s
        self._thread.join(timeout_s)
        while (under_way := self._under_way()) and time.monotonic() < deadline:
            self._never.wait(0.02)
        self._lanes.close(wait=not under_way)
        self._askers.shutdown(wait=not under_way, cancel_futures=True)

    def _under_way(self) -> bool:
        with self._lock:
            return bool(self._held.keys() - {claim.root_id for claim in self._waiting})

    def turn(self) -> None:
        """What is due is begun; or it is waited for something to be."""
        try:
            due_in = self._begin()
        except Exception:
            self._hearing.lost()  # the database was away, perhaps: what was said meanwhile has not come
            raise
        if due_in:
            self._bell.wait(due_in)

    def _begin(self) -> float:
        """Seconds for which there is nothing to do."""
        database = self._door.database
        self._take_again()
        new = work.claim_some(database, self._name, GSLB, AT_ONCE)
        with self._lock:
            self._held.update({claim.root_id: claim for claim in new})
        ready = self._first_or_late(new)
        if not ready:
            return self._pause_s()
        try:
            with database.read() as tx:
                since = self._hearing.since(clock.now(tx), time.monotonic())
            cases = engine.begin(self._door, ready, since)
        except Busy:
            with self._lock:
                self._waiting += ready  # fences tell whether they are still ours when it is back
            raise
        except Exception:
            self._drop(ready)
            raise
        to_tell = [case for case in cases if case.publications and not case.lost]
        self._lanes.add(to_tell)
        self._end([case for case in cases if case not in to_tell])
        return 0.0

    def _first_or_late(self, new: Iterable[Claim]) -> list[Claim]:
        """Those that may be decided about now; those that were told something a moment ago are put aside."""
        now = time.monotonic()
        with self._lock:
            self._published = {key: at for key, at in self._published.items() if at + COALESCE_S > now}
            known = {claim.root_id: claim for claim in (*self._waiting, *new)}.values()
            self._waiting = [claim for claim in known if claim.root_id in self._published]
            return [claim for claim in known if claim.root_id not in self._published]

    def _pause_s(self) -> float:
        due_in = work.next_due(self._door.database, GSLB)
        pause = SWEEP_S if due_in is None else min(SWEEP_S, max(0.01, due_in))
        with self._lock:
            aside = [self._published.get(claim.root_id, 0.0) for claim in self._waiting]
        if self._seeing:
            pause = min(pause, PATIENCE_S)
        if aside:
            pause = min(pause, max(0.001, min(aside) + COALESCE_S - time.monotonic()))
        return pause

    def _tell(self, place: Place, cases: list[Case]) -> None:
        """One zone is told; then others ask its name servers, while the next is told."""
        try:
            engine.publish(self._door, place, cases)
            for case, other in _elsewhere(place, cases):
                engine.publish(self._door, other, [case])
            now = time.monotonic()
            with self._lock:
                self._published.update({case.id: now for case in cases})
                self._seeing.update({case.id: (case, now) for case in cases})
            self._askers.submit(self._ask, place, cases)
        except Exception:
            self._drop(case.claim for case in cases)
            raise

    def _ask(self, place: Place, cases: list[Case]) -> None:
        """Name servers are asked; what came of those that nobody has decided about anew meanwhile is written down."""
        try:
            engine.verify(self._door, place, cases)
            for case, other in _elsewhere(place, cases):
                engine.verify(self._door, other, [case])
            self._end(self._seen(cases))
        except Exception:  # noqa: BLE001  leases run out, and it is done again
            self._log.exception("not settled", zone=place[1])
            self._drop(case.claim for case in self._seen(cases))

    def _drop(self, claims: Iterable[Claim]) -> None:
        """They are not kept any longer: their leases run out, and they are taken anew."""
        with self._lock:
            for claim in claims:
                if self._held.get(claim.root_id) is claim:
                    del self._held[claim.root_id]

    def _seen(self, cases: Iterable[Case]) -> list[Case]:
        """Those that are still to be settled; they are not being asked about any more."""
        with self._lock:
            mine = [case for case in cases if self._seeing.get(case.id, (None,))[0] is case]
            for case in mine:
                del self._seeing[case.id]
        return mine

    def _take_again(self) -> None:
        """Those of whom something was said while name servers, one of which may be dead, are asked for long already,
        are decided about anew. What has been told is written down; what they say is of no account any more."""
        late = time.monotonic() - PATIENCE_S
        with self._lock:
            slow = {key: case for key, (case, since) in self._seeing.items() if since < late}
        if not slow:
            return
        again = work.asked_again(self._door.database, [case.claim for case in slow.values()])
        cases = self._seen([slow[claim.root_id] for claim in again])
        for case in cases:
            case.early = True
        try:
            settle(self._door, cases, give_back=False)
        except Exception:
            self._drop(case.claim for case in cases)
            raise
        mine = {case.id for case in cases if not case.lost}
        with self._lock:
            claims = [claim for claim in again if claim.root_id in mine]
            self._held.update({claim.root_id: claim for claim in claims})
            self._waiting += claims

    def _end(self, cases: list[Case]) -> None:
        if not cases:
            return
        try:
            self._settle(cases)
        finally:
            self._drop(case.claim for case in cases)
            self._bell.ring()  # those that were asked for meanwhile
        for case in cases:
            self._tell_what_came(case)

    def _settle(self, cases: list[Case]) -> None:
        """Name servers have been told: it is worth some patience with the database."""
        deadline = time.monotonic() + SETTLE_S
        while True:
            try:
                settle(self._door, cases)
            except Busy:
                if time.monotonic() > deadline:
                    raise
                self._hearing.lost()
                self._stop.wait(SETTLE_PAUSE_S)
            else:
                return

    def _tell_what_came(self, case: Case) -> None:
        if case.lost:
            self._log.warning("lease lost", root=case.id)
            return
        outcome = case.outcome
        told = isinstance(outcome, Done)
        self._note(case, told=told)
        if told and case.publications:
            metrics.GSLB_SECONDS.observe(max(0.0, time.time() - case.claim.due_at))
        if case.publications or not told:
            said = {"reason": outcome.reason} if not isinstance(outcome, Done) else {}
            kind = type(outcome).__name__.lower()
            self._log.info("answered", root=case.id, generation=case.generation, outcome=kind, **said)

    def _note(self, case: Case, *, told: bool) -> None:
        """When a backend takes something again, those that it has not taken before need not wait any longer."""
        waiting: list[str] = []
        with self._lock:
            if told:
                self._unpublished.pop(case.id, None)
            elif case.publications:
                self._unpublished[case.id] = place_of(case)[0] if case.failed else ""
            if told and case.publications:
                backend_id = place_of(case)[0]
                waiting = [key for key, other in self._unpublished.items() if other == backend_id]
                self._unpublished.update(dict.fromkeys(waiting, ""))
            metrics.GSLB_UNPUBLISHED.set(len(self._unpublished))
        if waiting:
            with self._door.database.transaction() as tx:
                work.wake_roots(tx, waiting, kind=GSLB)

    def _renew(self) -> None:
        with self._lock:
            held = list(self._held.values())
        if held:
            work.renew_some(self._door.database, held)


def _elsewhere(place: Place, cases: Iterable[Case]) -> Iterator[tuple[Case, Place]]:
    """What has to be told in other zones than this: names that have moved."""
    for case in cases:
        for other in case.publications:
            if other != place:
                yield case, other
