# SPDX-License-Identifier: Apache-2.0
"""What agents report, kept in memory, and what of it is written down: only what changed, in batches.

Writes observations and nothing else. What is wanted is not changed here, nor acted upon.
"""

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast, get_args

from caryatid.model import AMPHORA
from caryatid.model.status import OperatingStatus
from caryatid.plan import health as plan
from caryatid.plan.health import Picture
from caryatid.store import observations, rows
from caryatid.store.database import Database, Tx
from caryatid.store.observations import Counters
from caryatid.wire.heartbeat import Report

STRANGER_S = 5.0
"""Seconds for which an amphora that is not known is not looked up again."""
AMPHORAE_MAX = 200_000
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
        self._written: dict[str, dict[tuple[plan.Kind, str], OperatingStatus]] = {}
        self._dirty: set[str] = set()
        self._counters: dict[str, dict[tuple[str, str], Counters]] = {}
        """Epoch → what is to be written of it, epochs in the order in which they began."""
        self.hosts: dict[str, float] = {}
        """Host → when it was last heard of, in seconds of this process's monotonic clock."""

    def take(self, report: Report) -> bool:
        """The report is in the picture. What it says of amphorae that are not its sender's is ignored.

        False when there is more to be known than was heard so far: the host shall tell everything.
        """
        known = report.host_id in self.hosts
        self.hosts[report.host_id] = time.monotonic()
        for message in report.messages:
            if "amphora_id" in message:
                known = self._take(report.host_id, message) and known
        return known

    def flush(self) -> int:
        """What has changed is written; the number of statuses that were."""
        with self._lock:
            dirty, self._dirty = self._dirty, set()
            counters, self._counters = self._counters, {}
        if not dirty and not counters:
            return 0
        try:
            with self._database.transaction() as tx:
                found = self._changes(tx, dirty)
                observations.write(tx, [(kind, key, root, status) for root, kind, key, status in found], time.time())
                for epoch in counters.values():
                    observations.write_statistics(tx, list(epoch.values()))
        except BaseException:
            with self._lock:
                self._dirty |= dirty
                self._counters = {**counters, **self._counters}
            raise
        for root, kind, key, status in found:
            self._written[root][kind, key] = status
        return len(found)

    def update_health(self, health: Mapping[str, Any]) -> None:
        """What a driver of somebody else's says of its amphorae (seed 003)."""
        for root, told in health.get("loadbalancers", {}).items():
            found = dict(_told(root, told))
            with self._database.transaction() as tx:
                statuses = [(kind, key, root, status) for (kind, key), status in found.items()]
                observations.write(tx, statuses, time.time())

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
            return True
        with self._lock:
            before = seen.picture
            after = seen.picture = plan.merge(before, message)
            self._count(seen, message)
            news = before is None or before.whole is not seen.picture.whole or before.statuses is not after.statuses
            if news:
                self._dirty.add(seen.loadbalancer_id)
        if news:
            self._changed()
        return seen.picture.whole or not seen.picture.running

    def _count(self, seen: Seen, message: Any) -> None:
        """The counters of a message, unless newer ones are here; HAProxy begins at zero in each epoch."""
        if message["at"] < seen.counted_at or not message.get("listeners"):
            return
        seen.counted_at = message["at"]
        epoch = self._counters.setdefault(f"{message['amphora_id']} {message['epoch']}", {})
        for listener, (_, *numbers) in message["listeners"].items():
            epoch[listener, message["amphora_id"]] = _counters(
                listener, message["amphora_id"], seen.loadbalancer_id, message["epoch"], numbers
            )

    def _known(self, amphora_id: str, host_id: str, loadbalancer_id: str) -> Seen | None:
        """The amphora, if it is one of ours and runs on that host."""
        seen = self._amphorae.get(amphora_id)
        if seen is None:
            if self._strangers.get(amphora_id, 0) > time.monotonic():
                return None
            seen = self._look_up(amphora_id)
            if seen is None:
                self._strangers[amphora_id] = time.monotonic() + STRANGER_S
                return None
        mine = seen.host_id == host_id and seen.loadbalancer_id == loadbalancer_id
        return seen if mine else None

    def _look_up(self, amphora_id: str) -> Seen | None:
        with self._database.read() as tx:
            document = rows.get(tx, AMPHORA, amphora_id)
            if document is None or document["loadbalancer_id"] is None:
                return None
        seen = Seen(document["compute_id"], document["loadbalancer_id"])
        with self._lock:
            if len(self._amphorae) >= AMPHORAE_MAX or len(self._strangers) >= AMPHORAE_MAX:
                for memory in (self._amphorae, self._strangers, self._serving, self._written):
                    memory.clear()
            self._amphorae[amphora_id] = seen
            self._serving.setdefault(seen.loadbalancer_id, []).append(seen)
        return seen

    def _changes(self, tx: Tx, dirty: Iterable[str]) -> list[tuple[str, plan.Kind, str, OperatingStatus]]:
        """(load balancer, kind, id, status) of everything that is not written as it is seen."""
        with self._lock:
            pictures = {
                root: [seen.picture for seen in self._serving.get(root, ()) if seen.picture is not None]
                for root in dirty
            }
        found = []
        for root, seen in pictures.items():
            if root not in self._written:
                known = observations.seen(tx, root).items()
                self._written[root] = {cast(Any, key): cast(OperatingStatus, status) for key, (status, _) in known}
            for kind, key, status in plan.certain(self._written[root], seen):
                found.append((root, kind, key, status))
        return found


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
