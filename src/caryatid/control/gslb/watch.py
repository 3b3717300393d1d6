# SPDX-License-Identifier: Apache-2.0
"""Silence changes what holds, and wakes nobody by itself: somebody looks, twice a second, one process at a time.

A vote expires when neither it nor its share has been confirmed for a while (plan/votes.py). As long as a share is
confirmed, nothing of it is looked at but that. What is remembered here may be lost at any time: who begins, has all
gslbs looked at once.
"""

import time
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from math import inf
from typing import Final, cast

from caryatid import metrics
from caryatid.control.door import Door
from caryatid.model import GSLB, GSLB_MONITOR
from caryatid.model.gslb.monitor import GslbMonitor
from caryatid.plan.votes import good_s
from caryatid.store import clock, leases, work
from caryatid.store.database import Database, Tx
from caryatid.store.gslb import bundles, checks, elsewhere, enrolled, loadbalancers, parts, shares, trees, trials, votes
from caryatid.store.gslb.shares import Share
from caryatid.store.gslb.votes import Aging

from .shares import GONE_S
from .waking import wake_users, wake_users_of_loadbalancers
from .wanted import monitor_of

DUTY: Final = "watch votes"
TURN_S: Final = 0.5
LEASE_S: Final = 6.0
RENEW_S: Final = 2.0
UNREPORTED_S: Final = 86_400.0
"""Load balancers of other regions that have not been reported for so long are forgotten."""
Key = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Looked:
    """A share, as it was when its votes were looked at last."""

    fence: int
    seen_at: float
    others_until: float
    """When the next of those votes expires that nobody confirms any more."""
    until: float
    """When the next of all of them does, if the share is not confirmed."""


class Watch:
    """Used by one thread."""

    def __init__(self, database: Database, holder: str) -> None:
        self._database, self._holder = database, holder
        self._renew_at = self._mine_until = 0.0
        self._looked: dict[Key, Looked] = {}
        self._good: dict[str, float] = {}
        """By monitor: seconds for which a vote counts."""
        self._monitors: Hashable = None
        self._last: float | None = None
        """When the turn before was, by the database's clock; None: there was none."""

    def turn(self) -> None:
        """Who is concerned by what has expired since the last turn, or is confirmed again, is looked at."""
        if not self._is_mine():
            self._last = None
            return
        with self._database.read() as tx:
            now = clock.now(tx)
            self._read_monitors(tx)
            concerned = self._concerned(tx, now)
            before = now if self._last is None else self._last
            remote = loadbalancers.expired(tx, before, now)
            concerned |= set(elsewhere.expired(tx, before, now))
            concerned |= votes.expired(tx, before, now)
            silent = shares.any_silent(tx, now - GONE_S)
        if self._last is None:
            self._begin()
        elif concerned or remote or silent:
            with self._database.transaction() as tx:
                woken = wake_users(tx, concerned) + wake_users_of_loadbalancers(tx, remote)
                shares.unseat_silent(tx, now - GONE_S)
            metrics.CHECK_WATCH_WOKEN.inc(woken)
        self._last = now

    def close(self) -> None:
        """Another process may watch."""
        if self._mine_until:
            leases.release(self._database, DUTY, self._holder)

    def _is_mine(self) -> bool:
        now = time.monotonic()
        if now >= self._renew_at:
            mine = leases.acquire(self._database, DUTY, self._holder, LEASE_S)
            self._mine_until = now + LEASE_S if mine else 0.0
            self._renew_at = now + RENEW_S
        return now < self._mine_until

    def _begin(self) -> None:
        """What expired, or was confirmed again, while nobody looked, is found out by those whom it concerns."""
        with self._database.transaction() as tx:
            work.wake_roots(tx, parts.living(tx), kind=GSLB)

    def _read_monitors(self, tx: Tx) -> None:
        seen = checks.monitors_fingerprint(tx)
        if seen != self._monitors:
            self._monitors = seen
            self._looked.clear()
            known = cast(Iterable[GslbMonitor], trees.every(tx, GSLB_MONITOR))
            self._good = {one.id: good_s(monitor_of(one)) for one in known if one.told_s is None}

    def _concerned(self, tx: Tx, now: float) -> set[str]:
        """Members."""
        found: set[str] = set()
        shortest = min(self._good.values(), default=inf)
        present = {(share.region_id, share.number): share for share in shares.every(tx)}
        for key in self._looked.keys() - present.keys():
            del self._looked[key]
        for key, share in present.items():
            known = self._looked.get(key)
            if known is None or self._is_due(known, share, shortest, now):
                aging = votes.aging(tx, *key)
                found |= self._changed(known, share, aging, now)
                self._looked[key] = self._noted(share, aging, now, now + shortest)
            elif share.seen_at != known.seen_at:
                self._looked[key] = Looked(share.fence, share.seen_at, known.others_until, share.seen_at + shortest)
        return found

    def _is_due(self, known: Looked, share: Share, shortest: float, now: float) -> bool:
        if share.fence != known.fence or now >= known.others_until:
            return True
        if share.seen_at == known.seen_at:
            return now >= known.until
        return share.seen_at - known.seen_at > shortest or now >= share.seen_at + shortest

    def _changed(self, known: Looked | None, share: Share, aging: Iterable[Aging], now: float) -> set[str]:
        """Members of whom a vote has expired since the last turn, or that had expired and was confirmed again."""
        last = now if self._last is None else self._last
        back_s = share.seen_at - known.seen_at if known is not None and known.fence == share.fence else 0.0
        found = set()
        for vote in aging:
            lasts_s = self._good.get(vote.monitor_id, inf)
            if last < vote.confirmed_at + lasts_s <= now or (vote.kept and lasts_s < back_s):
                found.add(vote.member_id)
        return found

    def _noted(self, share: Share, aging: Iterable[Aging], now: float, at_least: float) -> Looked:
        """`at_least`: votes that are yet to come do not expire before."""
        until, others = at_least, inf
        for vote in aging:
            ends = vote.confirmed_at + self._good.get(vote.monitor_id, inf)
            if ends > now:
                until = min(until, ends)
                others = others if vote.kept else min(others, ends)
        return Looked(share.fence, share.seen_at, others, until)


def forget(door: Door) -> None:
    """What was said of, by, or in what is no more is gone, and what nobody waits for."""
    with door.database.transaction() as tx:
        now = clock.now(tx)
        votes.purge(tx)
        shares.purge(tx)
        loadbalancers.purge(tx, now - UNREPORTED_S)
        elsewhere.purge(tx)
        enrolled.purge(tx, now)
        bundles.purge(tx)
        trials.purge(tx)
