# SPDX-License-Identifier: Apache-2.0
"""The event: something that has happened. Never changed; the log of all of them is ordered."""

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final, NamedTuple

from pydantic import BaseModel

from .field import Access, Key, Listed
from .kind import Kind
from .policy import Caller
from .resource import Row
from .types import Id, Name, ProjectId, Time

GENERATED = Access("generated")
TEXT_MAX: Final = 255
"""Longer values of changed attributes are cut."""
NEWS: Final = frozenset({"updated_at", "provisioning_status", "operating_status"})
"""Attributes whose change is no news beside that of the others."""
SYSTEM: Final = "system:"


class Cursor(NamedTuple):
    """A place in the log: behind one event, before the next. In the order of the log."""

    xid: int
    """The transaction that wrote the event; 0 where writers come one by one."""
    seq: int
    mark: str = ""
    """Tells the event from another of the same number, which there may be when a database was restored."""

    @property
    def text(self) -> str:
        """As the wire has it."""
        return f"{self.xid}.{self.seq}.{self.mark}" if self.seq else "0"


BEGINNING: Final = Cursor(-(1 << 63), 0)
"""Before all events that are kept."""


def cursor(text: str) -> Cursor:
    """What `Cursor.text` made. Raises ValueError for anything else."""
    if text == "0":
        return BEGINNING
    xid, seq, mark = text.split(".")
    found = Cursor(int(xid), int(seq), mark)
    if found.text != text or not 0 < found.seq < 1 << 63 or not BEGINNING.xid < found.xid < 1 << 63:
        raise ValueError(text)
    return found


def cursor_of(row: Mapping[str, Any]) -> Cursor:
    """The place behind an event, as the store gives it."""
    return Cursor(row["xid"], row["seq"], f"{zlib.crc32(row['at'].encode()):08x}")


def system(part: str) -> Caller:
    """Who acts where nobody asked: a part of the service, in events `system:<part>`."""
    return Caller(user_id=f"{SYSTEM}{part}", project_id=None)


WORKER: Final = system("worker")


class Event(Row):
    """Something that has happened. Kept for `event_retention_days`."""

    id: Annotated[Name, GENERATED, Listed()]
    """Its place in the log: the cursor to go on from after it."""
    at: Annotated[Time, GENERATED, Key(26), Listed()]
    """When it was written. UTC. Order is that of the log, not of this."""
    type: Annotated[Name, GENERATED, Listed()]
    """What has happened: kind of the resource and act, `loadbalancer.create`."""
    resource_type: Annotated[Name, GENERATED, Key(64)]
    """Kind of the resource."""
    resource_id: Annotated[Name, GENERATED, Key(255), Listed()]
    """Id of the resource."""
    project_id: Annotated[ProjectId | None, GENERATED, Key(36)] = None
    """The project that the resource belongs to; null: it is the operator's."""
    loadbalancer_id: Annotated[Id | None, GENERATED, Key(36)] = None
    """The load balancer that the resource belongs to."""
    user_id: Annotated[Name, GENERATED, Key(255), Listed()] = ""
    """Who did it: a user, or a part of the service (`system:worker`, `system:health`, `system:housekeeping`, …)."""
    request_id: Annotated[Name, GENERATED, Key(255)] = ""
    """X-Openstack-Request-Id of the request that asked for it."""
    job_id: Annotated[Id | None, GENERATED, Key(36)] = None
    """The job that it belongs to."""
    detail: Annotated[dict[str, Any] | None, GENERATED] = None
    """What else there is to say. `changed`: attribute → [old, new]; `reason`, `cause`: why."""


EVENT = Kind(name="event", model=Event, title="Event", path="/events", plural="events", root=None)


def shown(row: Mapping[str, Any]) -> dict[str, Any]:
    """The event as the wire has it, from its row in the store."""
    return {
        "id": cursor_of(row).text,
        "at": row["at"],
        "type": f"{row['kind']}.{row['action']}",
        "resource_type": row["kind"],
        "resource_id": row["resource_id"],
        "project_id": row["project_id"],
        "loadbalancer_id": row["loadbalancer_id"],
        "user_id": row["user_id"],
        "request_id": row["request_id"],
        "job_id": row["job_id"],
        "detail": row["detail"],
    }


@dataclass(frozen=True)
class Sought:
    """Which events somebody wants: those that are right in everything that is named here."""

    types: Sequence[str] = ()
    """Each `loadbalancer.create`, or all of a kind: `loadbalancer.*`."""
    project_id: str | None = None
    resource_type: str | None = None
    resource_id: str | None = None
    loadbalancer_id: str | None = None
    user_id: str | None = None
    since: str | None = None
    until: str | None = None
    """Before this."""

    def equal(self) -> Iterator[tuple[str, str]]:
        """(column, value) of what must be the same."""
        named = ("project_id", "resource_id", "loadbalancer_id", "user_id")
        yield from ((name, value) for name in named if (value := getattr(self, name)) is not None)
        if self.resource_type is not None:
            yield "kind", self.resource_type

    def matches(self, row: Mapping[str, Any]) -> bool:
        """Whether the event, as the store gives it, is one of them."""
        if any(row[name] != value for name, value in self.equal()):
            return False
        if self.types and not {f"{row['kind']}.{row['action']}", f"{row['kind']}.*"} & {*self.types}:
            return False
        return (self.since is None or row["at"] >= self.since) and (self.until is None or row["at"] < self.until)


def changed(kind: Kind, before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """What `detail` says of a row that was otherwise before. Secrets are left out, long values cut."""
    differ = {}
    for a in kind:
        if a.name in before and a.name in after and a.name not in NEWS and not (a.secret or a.back):
            old, new = _plain(before[a.name]), _plain(after[a.name])
            if old != new:
                differ[a.name] = [_cut(old), _cut(new)]
    return {**called(after), "changed": differ}


def called(row: Mapping[str, Any]) -> dict[str, Any]:
    """What people know a row by, beside its id; {} if it has no name."""
    if row.get("name"):
        return {"name": row["name"]}
    return {name: row[name] for name in ("address", "protocol_port") if "pool_id" in row and name in row}


def _plain(value: Any) -> Any:
    """Nested documents as they are stored."""
    if isinstance(value, BaseModel):
        return {name: _plain(inner) for name, inner in value.__dict__.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _cut(value: Any) -> Any:
    if isinstance(value, str):
        return value if len(value) <= TEXT_MAX else value[:TEXT_MAX] + "…"
    if isinstance(value, list):
        shorter = [_cut(item) for item in value[:TEXT_MAX]]
        return [*shorter, "…"] if len(value) > TEXT_MAX else shorter
    if isinstance(value, Mapping):
        return {name: _cut(item) for name, item in value.items()}
    return value
