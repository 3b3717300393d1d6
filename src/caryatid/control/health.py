# SPDX-License-Identifier: Apache-2.0
"""What agents report, kept in memory, and what of it is written down: only what changed, in batches.

Writes observations and nothing else. What is wanted is not changed here, nor acted upon.
"""

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast, get_args

from caryatid import metrics
from caryatid.model import AMPHORA, LOADBALANCER
from caryatid.model.status import OperatingStatus
from caryatid.plan import health as plan
from caryatid.plan.health import Picture
from caryatid.plan.silence import STALE_S, excused
from caryatid.store import observations, rows
from caryatid.store.database import Database, Tx
from caryatid.store.observations import Counters
from caryatid.wire.heartbeat import Listener, Report

from .edges import Edges, Witness, tell_roles
from .gslb.waking import wake_users_of_loadbalancers
from .sightings import Sightings

STRANGER_S = 5.0
"""Seconds for which an amphora that is not known is not looked up again."""
AMPHORAE_MAX = 200_000
CHECKS_MAX = 10_000
COUNTED_MAX = 1000
"""Listeners of an amphora of which is remembered what they have counted."""
DRIVER = "driver"
"""Epoch of counters that somebody else's driver keeps: they never begin anew."""
NUMBERS = ("bytes_in", "bytes_out", "active_connections", "total_connections", "request_errors")
HEALTHY = {"HEALTHY": "ONLINE", "UNHEALTHY": "ERROR", "UP": "ONLINE", "DOWN": "ERROR"}
WORDS = frozenset(get_args(OperatingStatus))


@dataclass
class Seen:
    """One amphora, as heard of."""

    host_id: str | None
    loadbalancer_id: str
    picture: Picture | None = None
    counted_at: int = 0
    """When its newest counters were read, in milliseconds."""
    role: str = ""
    """What VRRP makes of it."""
    role_at: int = 0
    """When that was read."""
    checks: dict[str, str] = field(default_factory=dict)
    """Member → what the check found that took it down last."""
    counted: dict[str, tuple[str, Listener]] = field(default_factory=dict)
    """Listener → epoch, and what is written, or is to be. All but one number only grow in an epoch, so what is here has
    not been something else meanwhile, whoever wrote it."""


class Observer:
    """Takes reports, and writes what they mean. Safe to use from several threads."""

    def __init__(self, database: Database, changed: Callable[[], None] = lambda: None) -> None:
        """`changed` is called when there is a status to be written."""
        self._database = database
        self._changed = changed
        self._lock = threading.Lock()
        self._amphorae: dict[str, Seen] = {}
        self._serving: dict[str, list[Seen]] = {}
        """Load balancer → its amphorae."""
        self._strangers: dict[str, float] = {}
        self._edges = Edges()
        self._written: dict[str, dict[tuple[plan.Kind, str], OperatingStatus]] = {}
        self._dirty: set[str] = set()
        self._counters: dict[tuple[str, str, str], Counters] = {}
        """(listener, amphora, epoch) → what is to be written, epochs in the order in which they began."""
        self._roles: dict[str, observations.Status] = {}
        """Amphora → what is to be written of its part in its pair."""
        self.hosts: dict[str, float] = {}
        """Host → when it was last heard of, in seconds of this process's monotonic clock; or, if it has excused itself,
        until when."""
        self.heard: dict[str, float] = {}
        """Host → when it was last heard of, in seconds since the epoch; those that have not been written down since."""
        self.sightings = Sightings()

    def take(self, report: Report) -> bool:
        """The report is in the picture. What it says of amphorae that are not its sender's is ignored.

        False when there is more to be known than was heard so far: the host shall tell everything.
        """
        known = report.host_id in self.hosts
        away_s = max((message.get("away", 0) for message in report.messages if "host" in message), default=0)
        self.hosts[report.host_id] = excused(time.monotonic(), away_s)
        with self._lock:
            self.heard[report.host_id] = time.time()
        messages = [message for message in report.messages if "amphora_id" in message]
        self._meet(message["amphora_id"] for message in messages)
        for message in messages:
            known = self._take(report.host_id, message) and known
        return known

    def flush(self, *, tally: bool = True) -> int:
        """What has changed is written; the number of statuses that were. Unless `tally`, counters may wait, and when
        hosts were heard of: of what comes meanwhile only the newest is written."""
        counters: dict[tuple[str, str, str], Counters] = {}
        heard: dict[str, float] = {}
        with self._lock:
            dirty, self._dirty = self._dirty, set()
            roles, self._roles = self._roles, {}
            if tally:
                counters, self._counters = self._counters, counters
                heard, self.heard = self.heard, heard
        if not dirty and not counters and not roles and not heard:
            return 0
        try:
            with self._database.transaction() as tx:
                found = self._changes(tx, dirty)
                statuses = [(str(kind), key, root, str(status)) for root, kind, key, status in found]
                self._edges.tell(tx, statuses, self._written, self._witnesses({root for root, *_ in found}))
                tell_roles(tx, list(roles.values()))
                observations.write(tx, [*statuses, *roles.values()], time.time())
                wake_users_of_loadbalancers(tx, _roots(statuses))
                observations.write_statistics(tx, list(counters.values()))
                observations.write_heard(tx, heard)
        except BaseException:
            with self._lock:
                self.heard = {**heard, **self.heard}
                self._dirty |= dirty
                self._roles = {**roles, **self._roles}
                self._counters = {**counters, **self._counters}
            raise
        for root, kind, key, status in found:
            self._written[root][kind, key] = status
        metrics.STATUSES_WRITTEN.inc(len(found))
        return len(found)

    def update_health(self, health: Mapping[str, Any]) -> None:
        """What a driver of somebody else's says of its amphorae (seed 003)."""
        for root, told in health.get("loadbalancers", {}).items():
            found = dict(_told(root, told))
            with self._database.transaction() as tx:
                statuses = [(kind, key, root, status) for (kind, key), status in found.items()]
                known = observations.seen(tx, [root])[root]
                before = {which: status for which, (status, _) in known.items()}
                edges = [one for one in statuses if before.get(one[:2]) != one[3]]
                self._edges.tell(tx, edges, {root: before}, {})
                observations.write(tx, statuses, time.time())
                wake_users_of_loadbalancers(tx, _roots(edges))

    def update_stats(self, stats: Mapping[str, Any]) -> None:
        """What went through, as a driver of somebody else's counts it (seed 003)."""
        counters = [
            _counters(listener, root, root, DRIVER, _numbers(said))
            for root, listeners in stats.items()
            for listener, said in listeners.items()
        ]
        with self._database.transaction() as tx:
            observations.write_statistics(tx, counters)

    def _take(self, host_id: str, message: Any) -> bool:
        """False when the picture of the amphora is not whole."""
        seen = self._known(message["amphora_id"], host_id, message["loadbalancer_id"])
        if seen is None:
            self.sightings.note_stranger(host_id, message)
            return True
        self.sightings.note(host_id, message)
        with self._lock:
            before = seen.picture
            after = seen.picture = plan.merge(before, message)
            self._count(seen, message)
            _note_checks(seen, message.get("checks"))
            news = before is None or before.whole is not seen.picture.whole or before.statuses is not after.statuses
            if news:
                self._dirty.add(seen.loadbalancer_id)
            news = self._cast(seen, message) or news
        if news:
            self._changed()
        return seen.picture.whole or not seen.picture.running

    def _cast(self, seen: Seen, message: Any) -> bool:
        """Whether the part that the amphora has in its pair is news. Who was MASTER before is not any more, whether it
        can say so or not."""
        role, at = message.get("role"), message["at"]
        if role is None or at < seen.role_at:
            return False
        before, seen.role, seen.role_at = seen.role, role, at
        if role == before:
            return False
        self._note_role(message["amphora_id"], seen)
        for other in self._serving.get(seen.loadbalancer_id, ()) if role == "MASTER" else ():
            if other is not seen and other.role == "MASTER" and other.picture is not None:
                other.role = "FAULT"
                self._note_role(other.picture.amphora_id, other)
        return True

    def _note_role(self, amphora_id: str, seen: Seen) -> None:
        self._roles[amphora_id] = (observations.ROLE, amphora_id, seen.loadbalancer_id, seen.role)

    def _count(self, seen: Seen, message: Any) -> None:
        """The counters of a message, if they have moved, unless newer ones are here; HAProxy begins at zero in each
        epoch."""
        if message["at"] < seen.counted_at or not message.get("listeners"):
            return
        seen.counted_at = message["at"]
        amphora, root, epoch = message["amphora_id"], seen.loadbalancer_id, message["epoch"]
        if len(seen.counted) >= COUNTED_MAX:
            seen.counted.clear()
        for listener, said in message["listeners"].items():
            if seen.counted.get(listener) != (epoch, said):
                seen.counted[listener] = epoch, said
                self._counters[listener, amphora, epoch] = _counters(listener, amphora, root, epoch, said[1:])

    def _known(self, amphora_id: str, host_id: str, loadbalancer_id: str) -> Seen | None:
        """The amphora, if it is one of ours and runs on that host."""
        seen = self._amphorae.get(amphora_id)
        if seen is None:
            return None
        mine = seen.host_id == host_id and seen.loadbalancer_id == loadbalancer_id
        return seen if mine else None

    def forget_gone(self, *, replaced: bool = False) -> None:
        """Amphorae that are no more are strangers from now on, and what they saw no longer counts. `replaced`: only
        those beside whom another of their load balancer is heard of."""
        with self._lock:
            crowded = [key for key, seen in self._amphorae.items() if len(self._serving[seen.loadbalancer_id]) > 1]
            heard = crowded if replaced else list(self._amphorae)
        if not heard:
            return
        with self._database.read() as tx:
            gone = set(heard) - rows.existing(tx, AMPHORA, heard)
        with self._lock:
            for seen in [self._amphorae.pop(key) for key in gone if key in self._amphorae]:
                others = self._serving[seen.loadbalancer_id]
                others.remove(seen)
                if others:
                    self._dirty.add(seen.loadbalancer_id)
                else:
                    self._serving.pop(seen.loadbalancer_id)
        if gone:
            self._changed()

    def _meet(self, amphora_ids: Iterable[str]) -> None:
        """Amphorae that were not heard of before are looked up, all at once; strangers not again for a while."""
        now = time.monotonic()
        with self._lock:
            if len(self._amphorae) >= AMPHORAE_MAX or len(self._strangers) >= AMPHORAE_MAX:
                for memory in (self._amphorae, self._strangers, self._serving, self._written):
                    memory.clear()
                self._edges.forget()
        new = {key for key in amphora_ids if key not in self._amphorae and self._strangers.get(key, 0.0) <= now}
        if not new:
            return
        with self._database.read() as tx:
            found = {key: rows.get(tx, AMPHORA, key) for key in new}
        with self._lock:
            for key, document in found.items():
                if document is None or document["loadbalancer_id"] is None:
                    self._strangers[key] = now + STRANGER_S
                elif key not in self._amphorae:
                    seen = self._amphorae[key] = Seen(document["compute_id"], document["loadbalancer_id"])
                    self._serving.setdefault(seen.loadbalancer_id, []).append(seen)

    def _changes(self, tx: Tx, dirty: Iterable[str]) -> list[tuple[str, plan.Kind, str, OperatingStatus]]:
        """(load balancer, kind, id, status) of everything that is not written as it is seen."""
        with self._lock:
            pictures = {root: self._pictures(root) for root in dirty}
        unread = [root for root in pictures if root not in self._written]
        for root, known in observations.seen(tx, unread).items():
            self._written[root] = {cast(Any, key): cast(OperatingStatus, status) for key, (status, _) in known.items()}
        return [
            (root, *change) for root, seen in pictures.items() for change in plan.certain(self._written[root], seen)
        ]

    def _witnesses(self, roots: Iterable[str]) -> dict[str, Witness]:
        """Load balancer → who speaks of it."""
        serving = {root: self._serving.get(root, ()) for root in roots}
        return {
            root: Witness(
                frozenset(one.host_id for one in seen if one.host_id),
                {member: check for one in seen for member, check in one.checks.items()},
            )
            for root, seen in serving.items()
        }

    def _pictures(self, root: str) -> list[Picture]:
        """How the amphorae of a load balancer look. Whose host is silent is no witness while others are."""
        seen = [seen for seen in self._serving.get(root, ()) if seen.picture is not None]
        heard_at = time.monotonic() - STALE_S
        fresh = [one for one in seen if self.hosts.get(one.host_id or "", 0.0) > heard_at]
        return [one.picture for one in fresh or seen if one.picture is not None]


def _roots(statuses: Iterable[observations.Status]) -> set[str]:
    """The load balancers of which themselves something else is seen."""
    return {key for kind, key, *_ in statuses if kind == LOADBALANCER.name}


def _note_checks(seen: Seen, checks: Mapping[str, str] | None) -> None:
    if checks:
        if len(seen.checks) >= CHECKS_MAX:
            seen.checks.clear()
        seen.checks.update(checks)


def _told(root: str, told: Mapping[str, Any]) -> Iterable[tuple[tuple[plan.Kind, str], OperatingStatus]]:
    if "loadbalancer-status" in told:
        yield ("loadbalancer", root), _word(told["loadbalancer-status"])
    for listener, said in told.get("listeners", {}).items():
        if "listener-status" in said:
            yield ("listener", listener), _word(said["listener-status"])
        for node, status in said.get("nodes", {}).items():
            yield ("member", node), _word(status)


def _word(said: str) -> OperatingStatus:
    word = HEALTHY.get(said, said)
    if word not in WORDS:
        raise ValueError(f"{said!r} is no operating status.")
    return cast(OperatingStatus, word)


def _counters(listener: str, amphora: str, root: str, epoch: str, numbers: Sequence[int]) -> Counters:
    """`numbers`: bytes_in, bytes_out, active_connections, total_connections, request_errors."""
    return Counters(listener, amphora, root, epoch, *numbers)


def _numbers(said: Mapping[str, int]) -> list[int]:
    named = {name.replace("-", "_"): value for name, value in said.items()}
    return [named.get(name, 0) for name in NUMBERS]
