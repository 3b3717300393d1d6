# SPDX-License-Identifier: Apache-2.0
"""What checkers have found is written, and who is concerned by an edge is looked at, in one transaction."""

import zlib
from collections.abc import Sequence

from caryatid import metrics
from caryatid.store import clock
from caryatid.store.database import Database, Tx
from caryatid.store.gslb import shares
from caryatid.store.gslb import votes as store
from caryatid.store.gslb.votes import Said
from caryatid.wire.checks import SHARES, Taken, Vote, Votes

from .waking import wake_users_of_pools


def share_of(member_id: str) -> int:
    """The share that all checks of a member are in."""
    return zlib.crc32(member_id.encode()) % SHARES


def take(database: Database, region_id: str, told: Votes) -> Taken:
    """What was said under a fence that holds is so. Nothing is said of members and monitors that are no more."""
    with database.transaction() as tx:
        fences = shares.fences(tx, region_id, told.checker, {vote.share for vote in told.votes})
        stale = {vote.share for vote in told.votes if fences.get(vote.share) != vote.fence}
        fresh = _newest([vote for vote in told.votes if vote.share not in stale])
        edges = _write(tx, region_id, told.checker, fresh)
    metrics.CHECK_VOTES.labels("stale").inc(sum(vote.share in stale for vote in told.votes))
    metrics.CHECK_VOTES.labels("taken").inc(len(fresh))
    metrics.CHECK_VOTES.labels("edge").inc(edges)
    return Taken(stale=sorted(stale))


def _newest(votes: Sequence[Vote]) -> list[Vote]:
    """Of each check; of those that are in the share that they say."""
    newest: dict[tuple[str, str], Vote] = {}
    for vote in sorted(votes, key=lambda vote: vote.seq):
        if vote.share == share_of(vote.member_id):
            newest[vote.monitor_id, vote.member_id] = vote
    return list(newest.values())


def _write(tx: Tx, region_id: str, checker: str, votes: Sequence[Vote]) -> int:
    """How many of these say something else than the region did."""
    now, members = clock.now(tx), sorted({vote.member_id for vote in votes})
    pools = store.known_pools(tx, members)
    monitors = store.known_monitors(tx, sorted({vote.monitor_id for vote in votes}))
    known = [vote for vote in votes if vote.member_id in pools and vote.monitor_id in monitors]
    before = store.of_region(tx, region_id, members) if known else {}
    said = [
        Said(
            vote.member_id,
            vote.monitor_id,
            vote.word,
            now - vote.age_s,
            vote.share,
            vote.fence,
            vote.reason,
            vote.rtt_ms,
        )
        for vote in known
    ]
    store.write(tx, region_id, checker, said, now)
    edges = [vote for vote in known if before.get((vote.monitor_id, vote.member_id)) != (vote.word, vote.fence)]
    wake_users_of_pools(tx, {pools[vote.member_id] for vote in edges})
    return sum(before.get((vote.monitor_id, vote.member_id), ("",))[0] != vote.word for vote in edges)
