# SPDX-License-Identifier: Apache-2.0
"""What a wish is made of when it comes in, and what is given back for it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from caryatid import tracing
from caryatid.model import LOADBALANCER
from caryatid.model.kind import Kind
from caryatid.model.policy import Caller
from caryatid.store import events, idempotency, jobs, traces
from caryatid.store.database import Tx

DEFAULT_PROJECT = "default"
MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True)
class Accepted:
    """A wish was accepted: the resource as it now stands, and the job that carries it out (None: nothing to do)."""

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
class Effect:
    """What happened to one row, as events tell it."""

    action: str
    kind: str
    key: str
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Wish:
    """What has been asked for, as jobs and events tell it."""

    action: str
    kind: str
    key: str
    root_id: str | None
    """None: it takes effect at once."""
    project_id: str | None
    generation: int = 0
    detail: Mapping[str, Any] = field(default_factory=dict)
    effects: Sequence[Effect] = ()
    """What happens to other rows with it."""
    undo: Mapping[str, Any] | None = None
    """What cancelling it has to put back."""
    root_kind: Kind = LOADBALANCER


def note(tx: Tx, caller: Caller, wish: Wish) -> str:
    """There is a job for the wish, and an event, and one for each effect; the job's id."""
    job_id = jobs.open(
        tx,
        action=wish.action,
        kind=wish.kind,
        resource_id=wish.key,
        root_id=wish.root_id,
        root_kind=wish.root_kind,
        project_id=wish.project_id,
        generation=wish.generation,
        user_id=caller.user_id,
        request_id=caller.request_id,
        undo=wish.undo,
    )
    if trace := tracing.current():
        traces.keep(tx, job_id, trace)
    own = Effect(wish.action, wish.kind, wish.key, wish.detail)
    events.append_all(tx, [_told(one, caller, wish, job_id) for one in (own, *wish.effects)])
    return job_id


def _told(effect: Effect, caller: Caller, wish: Wish, job_id: str) -> dict[str, Any]:
    return events.happened(
        effect.action,
        effect.kind,
        effect.key,
        by=caller,
        project_id=wish.project_id,
        root_id=wish.root_id if wish.root_kind is LOADBALANCER else None,
        job_id=job_id,
        detail=effect.detail,
    )


def accepted(tx: Tx, caller: Caller, wish: Wish, document: dict[str, Any] | None = None) -> Accepted:
    """The receipt for the wish: `document` is what is shown of it. Given again if the request comes again."""
    job_id = note(tx, caller, wish)
    idempotency.keep(tx, caller, job_id, document, moment())
    return Accepted(document, job_id)


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
