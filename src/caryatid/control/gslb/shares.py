# SPDX-License-Identifier: Apache-2.0
"""Which checker of a region makes which of its checks: told to each when it says that it is there."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

from caryatid import metrics
from caryatid.errors import Forbidden
from caryatid.plan.seats import allot
from caryatid.store import clock
from caryatid.store.database import Database, Tx
from caryatid.store.gslb import enrolled, votes
from caryatid.store.gslb import shares as store
from caryatid.store.gslb.shares import Share
from caryatid.wire.checks import LEASE_S, SHARES, Held, Seat

from .checkers import REFUSED
from .waking import wake_users

GONE_S: Final = 10.0
"""A checker that has not been heard of for so long is none of the region's."""


def sit(
    database: Database, region_id: str, seat: Seat, *, beginning: bool = False, enrolled_id: str | None = None
) -> list[Held]:
    """The checker is there; what it has for LEASE_S. What it has found on time is confirmed. Raises Forbidden, also if
    whose certificate it shows (`enrolled_id`) has just been revoked.

    `beginning`: we have just begun to hear; who has not come yet may have been kept from it by us, and has what it had.
    """
    with database.transaction() as tx:
        known = {share.number: share for share in store.lock(tx, region_id)}
        now = clock.now(tx)
        if enrolled_id is not None and not enrolled.may_speak(tx, enrolled_id, region_id):
            raise Forbidden(REFUSED)
        if not store.seat(tx, region_id, seat.checker, now, quarantined=seat.quarantined, enrolled_id=enrolled_id):
            raise Forbidden("A checker of another region is called so.")
        table = _Table(tx, region_id, seat, known, now)
        if seat.leaving or seat.quarantined:
            table.leave()
            return []
        return table.move(GONE_S if beginning else LEASE_S)


@dataclass(frozen=True, slots=True)
class _Table:
    tx: Tx
    region_id: str
    seat: Seat
    known: Mapping[int, Share]
    now: float

    def leave(self) -> None:
        """What it had is anybody's. What it said stands if it just goes, and counts no more if it cannot be
        believed."""
        mine = {number: share.fence for number, share in self.known.items() if share.checker == self.seat.checker}
        if self.seat.quarantined:
            wake_users(self.tx, votes.forget(self.tx, self.region_id, mine))
        else:
            self._confirm(mine)
            votes.carry_over(self.tx, self.region_id, mine)
        store.give_back(self.tx, self.region_id, mine)
        if self.seat.leaving:
            store.unseat(self.tx, self.region_id, self.seat.checker)

    def move(self, patience_s: float) -> list[Held]:
        """It has its part."""
        since = self.now - patience_s
        seated = store.seated(self.tx, self.region_id)
        live = {one.id for one in seated if not one.quarantined and one.seen_at > since}
        own = allot(SHARES, self._holders(live, since), live, self.seat.checker)
        self._confirm(own.kept | own.freed)
        votes.carry_over(self.tx, self.region_id, own.freed | (own.taken & self.known.keys()))
        store.give_back(self.tx, self.region_id, own.freed)
        store.take(self.tx, self.region_id, self.seat.checker, own.taken, self.now, self.now + LEASE_S)
        metrics.CHECK_SHARES_MOVED.inc(len(own.taken))
        fences = {number: self.known[number].fence for number in own.kept}
        fences |= {number: self.known[number].fence + 1 if number in self.known else 1 for number in own.taken}
        return [Held(share=number, fence=fence) for number, fence in sorted(fences.items())]

    def _holders(self, live: Collection[str], since: float) -> dict[int, str]:
        """Who has which; what was its own and nobody else's meanwhile still is, for what it has found since counts."""
        return {
            number: share.checker
            for number, share in self.known.items()
            if share.checker in live and (share.until > since + LEASE_S or share.checker == self.seat.checker)
        }

    def _confirm(self, kept: Collection[int]) -> None:
        on_time = {
            one.share
            for one in self.seat.held
            if one.on_time and one.share in kept and self.known[one.share].fence == one.fence
        }
        store.renew(self.tx, self.region_id, kept, on_time, self.now, self.now + LEASE_S)
