# SPDX-License-Identifier: Apache-2.0
"""What has been judged of hosts and amphorae, written in one transaction: who is lost, whose load balancers are due,
what the operator is told. And the operator's own word on the guard."""

import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from caryatid import metrics
from caryatid.model import AMPHORA, HOST
from caryatid.model.event import system
from caryatid.model.policy import Caller, require
from caryatid.plan.silence import Freeze
from caryatid.store import clock, events, hosts, observations, rows, work
from caryatid.store.database import Tx
from caryatid.store.observations import FOUND, LOST

from .door import Door
from .gslb.waking import wake_users_of_loadbalancers
from .receipt import Accepted, Wish, accepted, rule
from .sightings import Sighting

PRIORITY = 100
"""What is lost goes before what an operator asks for (80) and before creates (40) (octavia.md §1.13)."""
LIFTED = "failovers lifted until"
LIFTED_S = 600.0
FROZEN = "failovers frozen"
"""Lease that the judge holds while so many hosts are silent that nobody is lost."""
FAILOVERS = "failovers"
"""What a freeze is about, where events name a resource."""
JUDGE = system("judge")
WHY = "half of the hosts or more fell silent together"


@dataclass(frozen=True)
class News:
    """What is to be written. Hosts and amphorae by their ids."""

    silent: Sequence[str] = ()
    lost: Sequence[str] = ()
    back: Sequence[str] = ()
    heard: Sequence[str] = ()
    """Hosts that were never judged before, and speak."""
    failed: Sequence[Sighting] = ()
    mended: Collection[str] = ()
    wanting: Sequence[Sighting] = ()
    strangers: Sequence[Sighting] = ()
    before: Freeze = ""
    frozen: Freeze = ""
    fault: str = ""
    """What is wrong with us, if that is why. Mostly over in a moment: a line in the log, and no event."""

    @property
    def any(self) -> bool:
        seen = (self.silent, self.lost, self.back, self.heard, self.failed, self.mended, self.wanting, self.strangers)
        return any(seen) or self.before != self.frozen


def write(tx: Tx, news: News) -> None:
    """It is known, and what has to be done is due."""
    lost = sorted(set(news.lost) - observations.lost_hosts(tx))
    standing = [(observations.HOST, host, "", LOST) for host in lost]
    standing += [(observations.HOST, host, "", FOUND) for host in (*news.back, *news.heard)]
    observations.write(tx, standing, time.time())
    said = [_event("silent", HOST.name, host) for host in news.silent]
    said += _hosts(tx, "lost", lost, PRIORITY) + _hosts(tx, "back", news.back, 0)
    said += _failed(tx, news.failed) + _mended(tx, news.mended) + _strangers(tx, news.strangers)
    wanting = {one.loadbalancer_id for one in news.wanting if _runs_there(tx, one)}
    work.wake_roots(tx, wanting, priority=PRIORITY)  # whoever configures them has the keys
    if "mass" in (news.frozen, news.before) and news.frozen != news.before:
        word = "freeze" if news.frozen == "mass" else "unfreeze"
        said.append(_event(word, FAILOVERS, FAILOVERS, detail={"reason": WHY} if news.frozen == "mass" else None))
    events.append_all(tx, said)


def lift(door: Door, caller: Caller) -> Accepted:
    """For ten minutes hosts are judged one by one, however many are silent: the operator says that they are dead.

    Each is still asked after first.
    """
    require(caller, rule(HOST, "put"), None)
    with door.database.transaction() as tx:
        hosts.write_setting(tx, LIFTED, str(clock.now(tx) + LIFTED_S).encode())
        return accepted(tx, caller, Wish("lift", FAILOVERS, FAILOVERS, None, None))


def lifted(tx: Tx) -> bool:
    """Whether the operator has said so in the last ten minutes."""
    until = hosts.setting(tx, LIFTED)
    return until is not None and float(until) > clock.now(tx)


def _hosts(tx: Tx, word: str, changed: Iterable[str], priority: int) -> list[dict[str, Any]]:
    """Load balancers with amphorae there are due: those that were lost first of all."""
    said = []
    for host in changed:
        there = rows.find(tx, AMPHORA, compute_id=host)
        roots = {one["loadbalancer_id"] for one in there if one["loadbalancer_id"]}
        work.wake_roots(tx, roots, priority=priority)
        wake_users_of_loadbalancers(tx, roots)
        said.append(_event(word, HOST.name, host, detail={"amphorae": len(there)}))
        if word == "lost":
            said += [_event(word, AMPHORA.name, one["id"], one["loadbalancer_id"]) for one in there]
            metrics.FAILOVERS.labels("host").inc(len(there))
    return said


def _failed(tx: Tx, failed: Iterable[Sighting]) -> list[dict[str, Any]]:
    """Amphorae that their hosts could not start again; unless they went meanwhile."""
    known = observations.lost_amphorae(tx)
    there = [one for one in failed if one.amphora_id not in known and _runs_there(tx, one)]
    lost = [(observations.AMPHORA, one.amphora_id, one.loadbalancer_id, LOST) for one in there]
    observations.write(tx, lost, time.time())
    work.wake_roots(tx, {one.loadbalancer_id for one in there}, priority=PRIORITY)
    metrics.FAILOVERS.labels("amphora").inc(len(there))
    return [_event("lost", AMPHORA.name, one.amphora_id, one.loadbalancer_id, {"host": one.host_id}) for one in there]


def _mended(tx: Tx, mended: Iterable[str]) -> list[dict[str, Any]]:
    said = []
    for amphora_id in sorted(mended):
        document = rows.get(tx, AMPHORA, amphora_id)
        if document is not None:
            root = document["loadbalancer_id"]
            observations.write(tx, [(observations.AMPHORA, amphora_id, root, FOUND)], time.time())
            work.wake_root(tx, root)
            said.append(_event("back", AMPHORA.name, amphora_id, root))
    return said


def _strangers(tx: Tx, strangers: Iterable[Sighting]) -> list[dict[str, Any]]:
    """They are told of. The audit asks the hosts themselves, and has them removed when they have had their grace."""
    buried = {stone.amphora_id for stone in hosts.tombstones(tx)}
    new = [one for one in strangers if one.amphora_id not in buried and not _runs_there(tx, one)]
    metrics.STRANGERS.inc(len(new))
    return [_event("stranger", AMPHORA.name, one.amphora_id, detail={"host": one.host_id}) for one in new]


def _runs_there(tx: Tx, seen: Sighting) -> bool:
    document = rows.get(tx, AMPHORA, seen.amphora_id)
    if document is None:
        return False
    return (document["compute_id"], document["loadbalancer_id"]) == (seen.host_id, seen.loadbalancer_id)


def _event(
    action: str,
    kind: str,
    key: str,
    root_id: str | None = None,
    detail: dict[str, Any] | None = None,
    by: Caller = JUDGE,
) -> dict[str, Any]:
    return events.happened(action, kind, key, by=by, project_id=None, root_id=root_id, detail=detail)
