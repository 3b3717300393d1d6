# SPDX-License-Identifier: Apache-2.0
"""Checkers that have enrolled: who speaks for which region."""

from typing import Annotated

from caryatid.model.field import Access, Listed, Names
from caryatid.model.kind import Kind
from caryatid.model.resource import Row
from caryatid.model.types import Bool, Id, Name, Time

GENERATED = Access("generated")


class GslbChecker(Row):
    """A checker, or an installation that reports its load balancers, that has a certificate of ours."""

    name: Annotated[Name, GENERATED, Listed()]
    """Of its machine, as it says."""
    region_id: Annotated[Id, GENERATED, Names("gslb_region"), Listed()]
    """The region that its certificate names."""
    release: Annotated[Name, GENERATED, Listed()] = ""
    """Version of its program, as it says; empty: it has not said so yet."""
    certificate_expiration: Annotated[Time, GENERATED]
    """When its certificate ends. UTC. It renews it long before; who does not is forgotten after that."""
    revoked: Annotated[Bool, GENERATED, Listed()] = False
    """It is refused, for good."""
    seen_at: Annotated[Time | None, GENERATED, Listed()] = None
    """When it last asked for something, to within ten seconds. UTC; null: never since it enrolled."""


GSLB_CHECKER = Kind(
    name="gslb_checker",
    model=GslbChecker,
    title="GSLB Checker",
    envelope="checker",
    path="/gslb/v1/checkers",
    plural="checkers",
    links="checkers_links",
    root=None,
)
