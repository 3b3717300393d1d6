# SPDX-License-Identifier: Apache-2.0
"""What a wish is made of when it comes in, and what is given back for it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from caryatid.model.kind import Kind
from caryatid.model.policy import Caller
from caryatid.store import events, jobs
from caryatid.store.database import Tx

DEFAULT_PROJECT = "default"
MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True)
class Accepted:
    """A wish was accepted: the resource as it now stands, and the job that carries it out (None: done)."""

    document: dict[str, Any] | None
    job_id: str | None


@dataclass(frozen=True)
class Wanted:
    """One resource of a fully populated create: its body, and what it refers to under ids already made."""

    kind: Kind
    id: str
    body: Mapping[str, Any]
    given: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Wish:
    """What has been asked for, as jobs and events tell it."""

    action: str
    kind: str
    key: str
    root_id: str
    project_id: str
    generation: int


def note(tx: Tx, caller: Caller, wish: Wish) -> str:
    """There is a job for the wish, and an event; the job's id."""
    events.append(tx, wish.action, wish.kind, wish.key, project_id=wish.project_id, root_id=wish.root_id)
    return jobs.open(
        tx,
        action=wish.action,
        kind=wish.kind,
        resource_id=wish.key,
        root_id=wish.root_id,
        project_id=wish.project_id,
        generation=wish.generation,
        user_id=caller.user_id,
        request_id=caller.request_id,
    )


def moment() -> str:
    """Now, as the wire writes it (model.types.Time)."""
    return datetime.now(UTC).replace(tzinfo=None).isoformat(timespec="microseconds")


def moments(first: str) -> Iterator[str]:
    """Moments after `first`, a microsecond apart: what is made at once is listed in the order in which it was named."""
    at = datetime.fromisoformat(first)
    while True:
        at += MICROSECOND
        yield at.isoformat(timespec="microseconds")


def project_of(caller: Caller, body: Any) -> str:
    """The project that the body names, else the caller's, else `default`."""
    named = body.get("project_id") if isinstance(body, Mapping) else None
    return named if isinstance(named, str) and named else caller.project_id or DEFAULT_PROJECT


def rule(kind: Kind, action: str) -> str:
    """Name of the policy rule of an action on a kind (octavia.md §3.2)."""
    family = "os_load-balancer_api" if kind.path.startswith(("/lbaas", "/octavia")) else "caryatid_api"
    return f"{family}:{kind.policy or kind.name}:{action}"
