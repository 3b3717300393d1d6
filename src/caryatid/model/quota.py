# SPDX-License-Identifier: Apache-2.0
"""Quotas: how many resources a project may have. What is used is counted, never kept."""

from typing import Annotated

from pydantic import Field

from .field import Access, Listed
from .kind import Kind
from .resource import Document, Owned
from .types import Int

UNLIMITED = -1
Limit = Annotated[Int | None, Field(ge=UNLIMITED, le=2_000_000_000), Listed()]

ALIASES = {"load_balancer": "loadbalancer", "health_monitor": "healthmonitor"}
"""Older names of two limits; openstacksdk uses them."""


class Quota(Owned):
    """How many resources a project may have; -1 is no limit, null the operator's default."""

    loadbalancer: Limit = None
    """Load balancers."""
    listener: Limit = None
    """Listeners."""
    pool: Limit = None
    """Pools."""
    member: Limit = None
    """Members."""
    healthmonitor: Limit = None
    """Health monitors."""
    l7policy: Limit = None
    """L7 policies."""
    l7rule: Limit = None
    """L7 rules."""
    gslb: Limit = None
    """Names that are answered with what is well."""
    gslb_pool: Limit = None
    """Their pools."""
    gslb_member: Limit = None
    """Members of these."""
    gslb_monitor: Limit = None
    """Monitors of these."""


class Statistics(Document):
    """What went through, summed over listeners and amphorae."""

    bytes_in: Annotated[Int, Access("generated")] = 0
    """Bytes from clients."""
    bytes_out: Annotated[Int, Access("generated")] = 0
    """Bytes to clients."""
    active_connections: Annotated[Int, Access("generated")] = 0
    """Connections open now."""
    total_connections: Annotated[Int, Access("generated")] = 0
    """Connections ever."""
    request_errors: Annotated[Int, Access("generated")] = 0
    """Requests that made no sense."""


QUOTA = Kind(
    name="quota",
    model=Quota,
    title="Quotas",
    path="/lbaas/quotas",
    plural="quotas",
    links="quotas_links",
    root=None,
    key="project_id",
    unique=(("project_id",),),
)
