# SPDX-License-Identifier: Apache-2.0
"""What has to be done from time to time, by one process at a time: one table."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import cast

from caryatid import log, metrics
from caryatid.drivers.amphora.base import AmphoraDriverError, AmphoraLoadBalancerDriver
from caryatid.drivers.compute.base import own_hosts
from caryatid.model import HOST
from caryatid.model.amphora import Amphora, Placed, Stamp
from caryatid.model.host import Host
from caryatid.model.loadbalancer import LoadBalancer
from caryatid.model.tree import Tree
from caryatid.store import (
    access,
    attempts,
    clock,
    events,
    hosts,
    idempotency,
    jobs,
    leases,
    observations,
    rows,
    subscriptions,
    traces,
)
from caryatid.store.database import Database
from caryatid.store.ganeti import jobs as cluster_jobs
from caryatid.store.ganeti import machines
from caryatid.store.hosts import Tombstone

from .door import PROVIDER, Door
from .hosts import wake_evacuated
from .legs import release_own
from .reconcile import release
from .repeating import KEPT_HOURS

NOBODYS = 1 << 53
"""Fence for removing what nobody wants any more, whoever asked for it last."""
ARCHIVED_AT_ONCE = 500
"""Jobs that are archived in one transaction."""
ARCHIVE_TURNS_MAX = 1000
EXPIRED_HOURS = 1
"""Tokens that ended so long ago are forgotten."""
DUTY_S = 10.0
"""Seconds after which somebody else may do a duty that one process has begun."""


@dataclass(frozen=True)
class Duty:
    """Something done every `period_s` seconds by whoever holds its lease."""

    name: str
    period_s: float
    act: Callable[[Door], None]


def remove_buried(door: Door) -> None:
    """Amphorae that a host still had when it could not be reached are removed there, now that it answers, or are gone
    with their machines; then the addresses that were kept back are free."""
    driver = door.providers[PROVIDER].amphora
    own = own_hosts(door.compute)
    with door.database.read() as tx:
        buried = hosts.tombstones(tx)
        there = {machine.amphora_id for machine in machines.of_amphorae(tx, [stone.amphora_id for stone in buried])}
        known = {document["id"]: cast(Host, HOST.load(document)) for document in rows.find(tx, HOST)}
        away = {key for key, host in known.items() if host.duty == "REVOKED"} | observations.lost_hosts(tx)
    metrics.TOMBSTONES.set(len(buried))
    for stone in buried:
        host = known.get(stone.host_id)
        gone = stone.amphora_id not in there if own else host is None and door.compute.has_agents
        if not gone and (stone.host_id in away or (own and host is None)):
            continue  # not to be asked (again); its addresses stay kept back
        if not gone and not removed(driver, stone, host):
            away.add(stone.host_id)
            continue
        with door.database.transaction() as tx:
            hosts.remove_tombstone(tx, stone.amphora_id)
            release_own(tx, stone.amphora_id)
            if rows.lock_root(tx, stone.loadbalancer_id) is None:
                release(tx, stone.loadbalancer_id)


def removed(driver: AmphoraLoadBalancerDriver, stone: Tombstone, host: Host | None) -> bool:
    """Whether the host has answered that nothing of the amphora is left."""
    amphora = Amphora.model_construct(id=stone.amphora_id, compute_id=stone.host_id)
    root = LoadBalancer.model_construct(id=stone.loadbalancer_id)
    try:
        driver.delete_load_balancer(Placed(amphora, host), Tree(root, deleted=True), Stamp(NOBODYS, stone.generation))
    except AmphoraDriverError as error:
        log.get().debug("host still away", host=stone.host_id, reason=str(error))
        return False
    return True


def forget_history(door: Door) -> None:
    """Jobs that ended longer than `event_retention_days` ago are archived, and no more after `job_archive_days`;
    attempts, events, jobs in clusters and dead deliveries as old are no more, nor what was given for yesterday's keys,
    nor tokens that have expired, nor credentials of hosts that are no more, nor what was still heard of load balancers
    after they went."""
    before = _ago(days=door.settings.event_retention_days)
    for _ in range(ARCHIVE_TURNS_MAX):
        if _archived(door.database, before) < ARCHIVED_AT_ONCE:
            break
    with door.database.transaction() as tx:
        attempts.purge(tx, before)
        jobs.purge_archive(tx, _ago(days=door.settings.job_archive_days))
        idempotency.purge(tx, _ago(hours=KEPT_HOURS))
        events.purge(tx, before)
        subscriptions.purge(tx, before)
        access.purge(tx, _ago(hours=EXPIRED_HOURS))
        hosts.purge_enrolments(tx)
        hosts.purge_credentials(tx)
        observations.purge(tx)
        traces.purge(tx, before)
        cluster_jobs.purge(tx, clock.epoch_s(before))


def _archived(database: Database, before: str) -> int:
    with database.transaction() as tx:
        return jobs.archive(tx, before, ARCHIVED_AT_ONCE)


def _ago(**past: float) -> str:
    """The moment so long ago, as the wire writes it."""
    return (datetime.now(UTC) - timedelta(**past)).replace(tzinfo=None).isoformat(timespec="microseconds")


DUTIES: tuple[Duty, ...] = (
    Duty("remove buried amphorae", 1.0, remove_buried),
    Duty("find places for amphorae that should move", 30.0, wake_evacuated),
    Duty("forget history", 3600.0, forget_history),
)


class Housekeeper:
    """Does what is due, and knows when to look again."""

    def __init__(self, door: Door, holder: str, duties: Sequence[Duty] = DUTIES) -> None:
        self._door = door
        self._holder = holder
        self._duties = duties
        self._due = {duty.name: 0.0 for duty in duties}

    def turn(self) -> None:
        """Every duty that is due is done, if nobody else does it; one that fails does not keep the others."""
        for duty in self._duties:
            if self._due[duty.name] > time.monotonic():
                continue
            self._due[duty.name] = time.monotonic() + duty.period_s
            if leases.acquire(self._door.database, duty.name, self._holder, DUTY_S):
                try:
                    duty.act(self._door)
                except Exception:  # noqa: BLE001  one duty's fault is not another's
                    log.get().exception("duty failed", duty=duty.name)
                # no longer than until it is due again: this process may be no more by then
                leases.acquire(self._door.database, duty.name, self._holder, duty.period_s)
