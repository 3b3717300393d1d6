# SPDX-License-Identifier: Apache-2.0
"""The job: a receipt for an accepted change. Its state is read off the generations of its root."""

from typing import Annotated, Literal

from .field import Access, Key, Listed
from .kind import Kind
from .resource import Document, Row
from .types import Bool, Id, Int, Name, ProjectId, Time

JobState = Literal["queued", "running", "retrying", "succeeded", "failed", "superseded", "cancelled"]
STATES: dict[str, str] = {
    "queued": "Accepted; no attempt has begun.",
    "running": "An attempt is under way.",
    "retrying": "An attempt has failed, or is to be repeated; `reason` says why.",
    "succeeded": "It is in effect.",
    "failed": "It was given up; `reason` says why, `remedy` what helps. It is tried further all the same.",
    "superseded": "A later change made it moot: what it is about was deleted.",
    "cancelled": "It was taken back before it had begun.",
}
"""What each state means."""
GENERATED = Access("generated")


class LogLine(Document):
    """One line of an attempt's log."""

    position: str
    """Where it stands: `<attempt>.<line>`."""
    at: Time
    """When it was said. UTC."""
    attempt: Int
    """Of the attempts that covered the job, counted from 1."""
    text: str
    """What was said."""


class Progress(Document):
    """How far an attempt is."""

    done: Int
    """Steps that are done."""
    known: Int
    """Steps that there are, as far as is known."""


class Job(Row):
    """A receipt for an accepted change: done once the generation it asked for is in effect."""

    project_id: Annotated[ProjectId | None, GENERATED, Key(36), Listed()] = None
    """The project of the resource."""
    user_id: Annotated[Name, GENERATED] = ""
    """Who asked."""
    request_id: Annotated[Name, GENERATED] = ""
    """X-Openstack-Request-Id of the request."""
    action: Annotated[Name, GENERATED, Listed()]
    """What was asked: `create`, `update`, `delete`, `failover`, …"""
    resource_type: Annotated[Name, GENERATED, Key(), Listed()]
    """Kind of the resource that was named."""
    resource_id: Annotated[Name, GENERATED, Key(36), Listed()]
    """Id of the resource that was named."""
    root_id: Annotated[Id | None, GENERATED, Key(36)] = None
    """The load balancer or GSLB that is reconciled for it; null: it took effect at once."""
    loadbalancer_id: Annotated[Id | None, GENERATED, Key(36)] = None
    """The same, if it is a load balancer."""
    generation: Annotated[Int, GENERATED, Key()] = 0
    """Of that: what it was raised to."""
    state: Annotated[JobState, GENERATED, Listed()] = "queued"
    """How far it is, or how it ended."""
    progress: Annotated[Progress, GENERATED] = Progress.model_construct(done=0, known=0)
    """Steps of the latest attempt that covers it."""
    attempts: Annotated[Int, GENERATED] = 0
    """How often it was tried."""
    reason: Annotated[str | None, GENERATED] = None
    """What stands in the way, or why it ended as it did."""
    remedy: Annotated[str | None, GENERATED] = None
    """What would help, where that is known."""
    serial: Annotated[Int, GENERATED] = 0
    """Rises with all that is new of the job, and never falls; `since` of a wait."""
    created_at: Annotated[Time, GENERATED, Key(26), Listed()]
    """When it was accepted. UTC."""
    started_at: Annotated[Time | None, GENERATED] = None
    """When it was first tried. UTC."""
    ended_at: Annotated[Time | None, GENERATED, Key(26)] = None
    """When it was in effect, or given up. UTC."""
    archived: Annotated[Bool, GENERATED] = False
    """It ended longer ago than `event_retention_days`: its log is no more, and lists leave it out unless they are asked
    for `archived=true`."""
    log: Annotated[list[LogLine], GENERATED] = []
    """What the attempts that covered it did."""


JOB = Kind(name="job", model=Job, title="Job", path="/jobs", plural="jobs", links="jobs_links", root=None)
