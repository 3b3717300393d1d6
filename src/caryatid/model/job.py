# SPDX-License-Identifier: Apache-2.0
"""The job: a receipt for an accepted change. Its state is read off the generations of its root."""

from typing import Annotated, Literal

from .field import Access, Key, Listed
from .kind import Kind
from .resource import Document, Row
from .types import Id, Int, Name, ProjectId, Time

JobState = Literal["queued", "running", "retrying", "succeeded", "failed"]
GENERATED = Access("generated")


class LogLine(Document):
    """One line of an attempt's log."""

    at: Time
    attempt: Int
    text: str


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
    loadbalancer_id: Annotated[Id | None, GENERATED, Key(36)] = None
    """The load balancer it belongs to."""
    generation: Annotated[Int, GENERATED, Key()] = 0
    """Of the load balancer: what it was raised to."""
    state: Annotated[JobState, GENERATED, Listed()] = "queued"
    """How far it is."""
    attempts: Annotated[Int, GENERATED] = 0
    """How often it was tried."""
    reason: Annotated[str | None, GENERATED] = None
    """What stands in the way, and what would help."""
    created_at: Annotated[Time, GENERATED, Key(26), Listed()]
    """When it was accepted. UTC."""
    started_at: Annotated[Time | None, GENERATED] = None
    """When it was first tried. UTC."""
    ended_at: Annotated[Time | None, GENERATED, Key(26)] = None
    """When it was in effect, or given up. UTC."""
    log: Annotated[list[LogLine], GENERATED] = []
    """What the attempts that covered it did."""


JOB = Kind(name="job", model=Job, title="Job", path="/jobs", plural="jobs", links="jobs_links", root=None)
