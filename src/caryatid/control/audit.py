# SPDX-License-Identifier: Apache-2.0
"""The drift audit: every host is asked what it has, and what should not be so is told, and mended (plan.drift)."""

import time
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from itertools import islice
from typing import cast

from caryatid import log, metrics
from caryatid.drivers.amphora.base import AmphoraDriverError
from caryatid.model import AMPHORA, HOST, LOADBALANCER
from caryatid.model.event import system
from caryatid.model.host import Host
from caryatid.plan.drift import Drift, Expected, Found, Orphan, drift
from caryatid.store import events, expected, hosts, observations, rows, work
from caryatid.store.database import Tx
from caryatid.store.hosts import Tombstone

from .door import PROVIDER, Door
from .housekeeping import removed

AUDIT = system("audit")
ASKED_AT_ONCE = 8
ANSWERS_S = 30.0
"""Seconds for all hosts to answer in; who has not is asked at the next audit."""
MENDED_MAX = 200
"""Load balancers that one audit makes due."""
REMOVED_MAX = 10
"""Orphans that one audit removes: if it is the database that is wrong, somebody has time to see it."""


class Auditor:
    """Remembers since when each orphan has been one."""

    def __init__(self) -> None:
        self._since: dict[Orphan, float] = {}

    def audit(self, door: Door, now: float | None = None) -> None:
        """Orphans are told of, and removed when they have been orphans for `orphan_grace_s`; load balancers of which an
        amphora is missing, or not as it should be, are due. `now`: seconds on a clock that only rises."""
        now = time.monotonic() if now is None else now
        with door.database.read() as tx:
            before, living = _expected(tx), _hosts(tx)
        found = _ask(door, living)
        with door.database.read() as tx:
            after, buried = _expected(tx), {stone.amphora_id for stone in hosts.tombstones(tx)}
        seen = drift(found, before, after, buried)
        new = self._note(seen.orphans, living.keys() - found.keys(), now)
        _tell(door, seen, new)
        metrics.ORPHANS.set(len(self._since))
        self._remove(door, living, now)

    def _note(self, orphans: Sequence[Orphan], silent: Collection[str], now: float) -> list[Orphan]:
        """What is an orphan still, and which ones are so for the first time. Of hosts that did not answer, what is
        known stays as it was."""
        known = {(one.host_id, one.found.amphora_id): at for one, at in self._since.items()}
        absent = {one: at for one, at in self._since.items() if one.host_id in silent}
        new = [one for one in orphans if (one.host_id, one.found.amphora_id) not in known]
        self._since = absent | {one: known.get((one.host_id, one.found.amphora_id), now) for one in orphans}
        return new

    def _remove(self, door: Door, living: Mapping[str, Host], now: float) -> None:
        driver, grace_s = door.providers[PROVIDER].amphora, door.settings.orphan_grace_s
        ripe = [one for one, since in self._since.items() if now - since >= grace_s and one.host_id in living]
        for orphan in islice(ripe, REMOVED_MAX):
            one = orphan.found
            stone = Tombstone(one.amphora_id, orphan.host_id, one.loadbalancer_id, one.generation, 0)
            if removed(driver, stone, living[orphan.host_id]):
                del self._since[orphan]
                with door.database.transaction() as tx:
                    _event(tx, "orphan_removed", orphan)


def _expected(tx: Tx) -> dict[str, Expected]:
    return {amphora_id: Expected(*wanted) for amphora_id, wanted in expected.amphorae(tx).items()}


def _hosts(tx: Tx) -> dict[str, Host]:
    """Those that may answer."""
    lost = observations.lost_hosts(tx)
    known = (cast(Host, HOST.load(document)) for document in rows.find(tx, HOST))
    return {host.id: host for host in known if host.id not in lost and host.duty != "REVOKED"}


def _ask(door: Door, living: Mapping[str, Host]) -> dict[str, Sequence[Found]]:
    """What each host has that answers in time."""
    driver = door.providers[PROVIDER].amphora

    def ask(host: Host) -> Sequence[Found] | None:
        try:
            return driver.inventory(host)
        except AmphoraDriverError as error:
            log.get().debug("host does not answer the audit", host=host.id, reason=str(error))
            return None

    pool = ThreadPoolExecutor(ASKED_AT_ONCE)
    try:
        asked = {pool.submit(ask, host): host.id for host in living.values()}
        done, _ = wait(asked, ANSWERS_S)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    answers = {asked[future]: future.result() for future in done}
    return {host_id: found for host_id, found in answers.items() if found is not None}


def _tell(door: Door, seen: Drift, new: Sequence[Orphan]) -> None:
    """Orphans are told of once, each load balancer whenever it is made due."""
    due = dict(islice(seen.due.items(), MENDED_MAX))
    if not due and not new:
        return
    metrics.DRIFTS.inc(len(due))
    with door.database.transaction() as tx:
        for orphan in new:
            _event(tx, "orphan", orphan)
        for root_id, why in due.items():
            detail = {"reason": why}
            kind = LOADBALANCER.name
            events.append(tx, "drift", kind, root_id, by=AUDIT, project_id=None, root_id=root_id, detail=detail)
        work.wake_roots(tx, due)
    log.get().warning("drift", orphans=len(new), due=len(due))


def _event(tx: Tx, action: str, orphan: Orphan) -> None:
    detail = {"host": orphan.host_id, "loadbalancer": orphan.found.loadbalancer_id}
    key = orphan.found.amphora_id
    events.append(tx, action, AMPHORA.name, key, by=AUDIT, project_id=None, root_id=None, detail=detail)
