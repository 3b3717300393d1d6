# SPDX-License-Identifier: Apache-2.0
"""Judges silence: looks with the eyes of `plan/silence.py`, has it confirmed, writes it down. One process at a time.

Never acts itself: the load balancers of what is lost are due, and a worker does the rest. Who is lost, and whether the
operator has lifted the guard, is in the database; all else may be forgotten at any time, at the cost of one interval.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import cast

from caryatid import log, metrics
from caryatid.model import HOST
from caryatid.model.host import Host
from caryatid.plan import silence
from caryatid.plan.silence import Hearing, Look, Memory
from caryatid.store import leases, observations, rows
from caryatid.store.database import Database
from caryatid.store.observations import LOST

from . import verdicts
from .inquiry import Inquiry
from .sightings import Sightings
from .verdicts import News

DUTY = "judge"
LEASE_S = 6.0
RENEW_S = 2.0
REFRESH_S = 1.0
TURN_LATE_S = 1.0
PULSE_LATE_S = 1.5
JUMP_S = 1.0


@dataclass(frozen=True)
class Moment:
    """When a look is taken."""

    now: float
    """Seconds on this process's monotonic clock."""
    wall: float
    """Seconds since the epoch."""
    pulse_at: float
    """When, on the monotonic clock, reports were last seen to be read as they come."""


@dataclass(frozen=True)
class Known:
    """What the database said when it was read last."""

    hosts: Mapping[str, Host] = field(default_factory=dict)
    judged: frozenset[str] = frozenset()
    """Hosts of which is written how they are."""
    lost_amphorae: frozenset[str] = frozenset()
    lifted: bool = False


class Judge:
    """Looks a few times a second; forgets nothing that it has not written."""

    def __init__(
        self, database: Database, heard: Mapping[str, float], sightings: Sightings, inquiry: Inquiry, holder: str
    ) -> None:
        """`heard`: host → when it last spoke, on the monotonic clock; kept up to date by whoever takes reports."""
        self._database = database
        self._heard = heard
        self._sightings = sightings
        self._inquiry = inquiry
        self._holder = holder
        self._known = Known()
        self._memory: Memory | None = None
        self._last: Moment | None = None
        self._broken = False
        self._refresh_at = 0.0
        self._renew_at = 0.0
        self._lease_until = 0.0
        self._marked_until = 0.0

    def turn(self, moment: Moment) -> None:
        """One look. Never raises: when the database does not answer, that is a fault like others of ours."""
        memory = self._memory or Memory(floor=moment.now)
        fault = own_fault(self._last, moment)
        self._last = moment
        try:
            memory = self._read(memory, moment)
            judges = moment.now < self._lease_until
            self._memory = self._look(memory, fault, moment.now) if judges else _waits(memory, fault, moment)
            self._broken = False
        except Exception as error:  # noqa: BLE001  nobody is lost by it, and the next turn comes
            if not self._broken:
                log.get(service="judge").warning("nobody is judged", reason=str(error).partition("\n")[0])
            self._broken = True
            self._memory = replace(memory, floor=moment.now)
            self._refresh_at = self._renew_at = 0.0

    def close(self) -> None:
        """Nobody is judged any more by this process; another one may at once."""
        self._inquiry.close()
        self._mark(frozen=False, now=0.0)
        if self._lease_until:
            self._lease_until = 0.0
            leases.release(self._database, DUTY, self._holder)

    def _read(self, memory: Memory, moment: Moment) -> Memory:
        """The lease is renewed, and the database read, when it is time."""
        if moment.now >= self._renew_at:
            mine = leases.acquire(self._database, DUTY, self._holder, LEASE_S)
            self._lease_until = moment.now + LEASE_S if mine else 0.0
            self._renew_at = moment.now + RENEW_S
        if moment.now < self._refresh_at:
            return memory
        with self._database.read() as tx:
            hosts = [cast(Host, HOST.load(document)) for document in rows.find(tx, HOST)]
            standing = observations.standing(tx, observations.HOST)
            lost_amphorae = observations.lost_amphorae(tx)
            lifted = verdicts.lifted(tx)
        believed = {host.id: host for host in hosts if host.duty != "REVOKED"}
        self._known = Known(believed, frozenset(standing), lost_amphorae, lifted)
        self._sightings.awaited = lost_amphorae
        self._refresh_at = moment.now + REFRESH_S
        lost = {host: moment.now - max(0.0, moment.wall - at) for host, (word, at) in standing.items() if word == LOST}
        return replace(memory, lost={host: memory.lost.get(host, at) for host, at in lost.items()})

    def _look(self, memory: Memory, fault: str, now: float) -> Memory:
        """What is found is written, and only then remembered: if it cannot be, it will be found again."""
        known = self._known
        heard = dict(self._heard)
        begun = [host for host in known.hosts if host in heard or host in known.judged]
        hearing = Hearing(begun, heard, fault, known.lifted)  # a host is judged from its first word on
        memory = silence.told(memory, self._inquiry.take())
        found = silence.look(memory, hearing, now)
        news = self._news(found, memory, hearing, now)
        if news.any:
            self._write(news)
        _show(found.memory, hearing)
        self._mark(frozen=found.memory.frozen == "mass", now=now)
        for host in found.suspects:
            others = [known.hosts[other] for other in silence.others(host, hearing, now)]
            self._inquiry.begin(known.hosts[host], others)
        return found.memory

    def _mark(self, *, frozen: bool, now: float) -> None:
        """Others see that failovers are frozen, for as long as it is said again and again."""
        if frozen and now >= self._marked_until - LEASE_S + RENEW_S:
            leases.acquire(self._database, verdicts.FROZEN, self._holder, LEASE_S)
            self._marked_until = now + LEASE_S
        elif not frozen and self._marked_until:
            leases.release(self._database, verdicts.FROZEN, self._holder)
            self._marked_until = 0.0

    def _news(self, found: Look, before: Memory, hearing: Hearing, now: float) -> News:
        known, sightings = self._known, self._sightings
        fresh = [h for h in known.hosts if h not in known.judged and now - hearing.heard.get(h, 0.0) < silence.STALE_S]
        failed = [seen for key, seen in list(sightings.failed.items()) if key not in known.lost_amphorae]
        return News(
            silent=found.silent,
            lost=found.lost,
            back=found.back,
            heard=sorted(set(fresh) - set(found.lost) - set(found.back)),
            failed=failed if not found.memory.frozen else (),
            mended=frozenset(sightings.mended),
            wanting=list(sightings.wanting.values()),
            strangers=sightings.strangers(),
            before=before.frozen,
            frozen=found.memory.frozen,
            fault=hearing.fault,
        )

    def _write(self, news: News) -> None:
        with self._database.transaction() as tx:
            verdicts.write(tx, news)
        for seen in news.failed:
            self._sightings.failed.pop(seen.amphora_id, None)  # it is reported again as long as it is so
        self._sightings.mended.difference_update(news.mended)
        for seen in news.wanting:
            self._sightings.wanting.pop(seen.amphora_id, None)
        self._refresh_at = 0.0
        _say(news)


def own_fault(before: Moment | None, moment: Moment) -> str:
    """What is wrong with this process or its machine, so that what it hears proves nothing; empty: nothing."""
    if before is not None and moment.now - before.now > TURN_LATE_S:
        return "the judge was late"
    if before is not None and abs((moment.wall - before.wall) - (moment.now - before.now)) > JUMP_S:
        return "the clock jumped"
    return "reports are read late" if moment.now - moment.pulse_at > PULSE_LATE_S else ""


def _waits(memory: Memory, fault: str, moment: Moment) -> Memory:
    """Another process judges. This one is ready to take over: it has heard since its floor."""
    metrics.FAILOVERS_FROZEN.set(0)
    floor = moment.now if fault else memory.floor
    return Memory(floor=floor, lost=memory.lost, met=memory.met, silent=frozenset(memory.lost))


def _show(memory: Memory, hearing: Hearing) -> None:
    lost = len(memory.lost)
    silent = len(memory.silent - memory.lost.keys())
    metrics.FAILOVERS_FROZEN.set(bool(memory.frozen))
    for state, number in (("lost", lost), ("silent", silent), ("speaking", len(hearing.hosts) - lost - silent)):
        metrics.HOSTS.labels(state).set(number)


def _say(news: News) -> None:
    logger = log.get(service="judge")
    if news.silent or news.lost or news.back:
        logger.warning("hosts", silent=news.silent, lost=news.lost, back=news.back)
    if news.frozen != news.before:
        logger.warning("failovers", frozen=news.frozen, reason=news.fault)
