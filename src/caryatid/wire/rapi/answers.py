# SPDX-License-Identifier: Apache-2.0
"""What a RAPI's answers mean, as values. Pure. Times are seconds since the epoch, sizes MiB."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Trouble = Literal["unreachable", "ambiguous", "denied", "refused", "missing", "drained", "full", "broken"]
"""unreachable: nothing was carried out. ambiguous: nobody knows whether it was (a time-out, 504). denied: user,
password or right. refused: the request itself (400, 415, 501, 502). missing: 404. drained, full: the job queue takes
nothing. broken: any other 500, or what makes no sense."""
FINAL = frozenset({"success", "error", "canceled"})
"""Statuses in which a job stays."""


@dataclass(frozen=True)
class Problem:
    """Why there is no answer. `text`: a sentence that names RAPI, request and status; no secret."""

    trouble: Trouble
    text: str
    status: int = 0
    """Of HTTP; 0: there was none."""


@dataclass(frozen=True)
class Info:
    """The cluster (`/2/info`)."""

    name: str
    master: str
    software_version: str
    default_hypervisor: str
    enabled_hypervisors: Sequence[str] = ()
    disk_templates: Sequence[str] = ()
    tags: Sequence[str] = ()
    features: Sequence[str] = ()
    """`/2/features`."""


@dataclass(frozen=True)
class Node:
    """A node, as a live query has it. None: not known now."""

    name: str
    group: str = ""
    offline: bool = False
    drained: bool = False
    vm_capable: bool = True
    free_memory_mib: int | None = None
    free_disk_mib: int | None = None
    tags: Sequence[str] = ()


@dataclass(frozen=True)
class Instance:
    """An instance as the configuration has it: no node is asked for that."""

    name: str
    uuid: str = ""
    node: str = ""
    secondaries: Sequence[str] = ()
    admin_state: str = "up"
    tags: Sequence[str] = ()
    addresses: Sequence[str] = ()
    """Of its interfaces, in their order; empty where there is none."""
    created_at: float = 0.0
    changed_at: float = 0.0
    """Its configuration; a crash does not change it."""


@dataclass(frozen=True)
class Live:
    """How an instance is, as its node says."""

    name: str
    status: str
    """running, ADMIN_down, ERROR_down, ERROR_nodedown, …; empty: not known now."""
    node: str = ""


@dataclass(frozen=True)
class LogLine:
    serial: int
    at: float
    text: str


@dataclass(frozen=True)
class Job:
    """A job. `status` is empty when the cluster does not know it."""

    id: int
    status: str
    summary: str = ""
    received_at: float | None = None
    started_at: float | None = None
    ended_at: float | None = None
    log: Sequence[LogLine] = ()
    error: str = ""
    """What went wrong, as Ganeti says; empty: nothing."""
    error_kind: str = ""
    """`OpPrereqError` (nothing was changed), `OpExecError` (something may be there), ….."""
    error_code: str = ""
    """Ganeti's word for it: insufficient_resources, already_exists, unknown_entity, …."""
    result: Any = None
    """Of its operation; of several, theirs. A creation's is the list of the instance's nodes."""
    instances: Sequence[str] = ()
    """That its operations name; only where unfinished jobs are asked for, or one by its id."""

    @property
    def final(self) -> bool:
        return self.status in FINAL


@dataclass(frozen=True)
class Waited:
    """What `/wait` has brought: the job's status and new lines. May be as before: compare."""

    status: str
    lines: Sequence[LogLine] = ()


@dataclass(frozen=True)
class Wanted:
    """An instance to be made: the body of the request, whose secrets are in no `repr`."""

    name: str
    body: Mapping[str, Any] = field(repr=False)
