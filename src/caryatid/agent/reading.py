# SPDX-License-Identifier: Apache-2.0
"""What HAProxy's statistics say, in the words of reports."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from caryatid.agent import runtime
from caryatid.wire.heartbeat import CHECK_LENGTH_MAX, Listener, MemberStatus, Pool

MEMBER_STATUS: dict[str, MemberStatus] = {
    "UP": "UP",
    "DOWN": "DOWN",
    "NOLB": "DRAIN",
    "DRAIN": "DRAIN",
    "MAINT": "MAINT",
    "no check": "no check",
}


@dataclass(frozen=True)
class Reading:
    """What one amphora said of itself."""

    epoch: str
    running: bool
    at: int
    listeners: dict[str, Listener] = field(default_factory=dict)
    pools: dict[str, Pool] = field(default_factory=dict)
    checks: dict[str, str] = field(default_factory=dict)
    """Member that is DOWN → what its check found."""
    beside: "Reading | None" = None
    """Of what it serves without HAProxy: its counters have an epoch of their own."""

    @property
    def epochs(self) -> tuple[str, ...]:
        return (self.epoch, *(self.beside.epochs if self.beside else ()))


def interpret(rows: Iterable[runtime.Row]) -> tuple[dict[str, Listener], dict[str, Pool]]:
    """Read `show stat`: frontends are listeners, backends `<pool id>:<listener id>` are pools (others only hold a table
    of clients), servers are members."""
    listeners: dict[str, Listener] = {}
    pools: dict[str, Pool] = {}
    for row in rows:
        if row.kind == runtime.FRONTEND:
            full = 0 < row.sessions_max <= row.sessions
            counters = (row.bytes_in, row.bytes_out, row.sessions, row.sessions_total, row.request_errors)
            listeners[row.proxy] = ("FULL" if full else "OPEN", *counters)
        elif row.kind == runtime.BACKEND and ":" in row.proxy:
            members = pools[row.proxy][1] if row.proxy in pools else {}
            pools[row.proxy] = ("UP" if row.status.startswith("UP") else "DOWN", members)
        elif row.kind == runtime.SERVER:
            members = pools.setdefault(row.proxy, ("DOWN", {}))[1]
            members[row.name] = _member_status(row.status)
    return listeners, pools


def failed_checks(rows: Iterable[runtime.Row]) -> dict[str, str]:
    """Member → what its check found, of those that are down."""
    return {row.name: row.check[:CHECK_LENGTH_MAX] for row in rows if row.check and row.kind == runtime.SERVER}


def _member_status(status: str) -> MemberStatus:
    """`UP 1/3` is a server about to go down; `MAINT (via …)` one that follows another."""
    return MEMBER_STATUS.get(status) or MEMBER_STATUS.get(status.partition(" ")[0], "DOWN")


def difference(old: Reading, new: Reading) -> tuple[dict[str, Listener], dict[str, Pool]]:
    """What is new. A pool carries only the members that changed."""
    listeners = {key: value for key, value in new.listeners.items() if value != old.listeners.get(key)}
    pools: dict[str, Pool] = {}
    for key, (status, members) in new.pools.items():
        was, before = old.pools.get(key, ("", {}))
        changed = {member: seen for member, seen in members.items() if before.get(member) != seen}
        if changed or status != was:
            pools[key] = (status, changed)
    return listeners, pools
