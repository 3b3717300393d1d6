# SPDX-License-Identifier: Apache-2.0
"""Rate limits: how much a client may ask of a listener in a while, and what is done with what is too much.

Octavia has specified them (version 15) and not built them; names and meanings are the specification's.
"""

from collections.abc import Iterator
from typing import Annotated, Literal, NamedTuple, Self

from pydantic import Field, model_validator

from caryatid.errors import Fault

from .field import Access, Back, Listed, Ref
from .kind import Kind
from .resource import Described, Named, Provisioned
from .types import Id, Int, UrlPath

RateLimitAction = Literal["DENY", "REJECT", "SILENT_DROP", "QUEUE"]
Metric = Literal["REQUESTS", "REQUESTS_PER_URL", "KBYTES", "PACKETS"]
HTTP_ONLY = ("DENY", "REQUESTS", "REQUESTS_PER_URL")
"""What makes sense only where requests are read."""
THRESHOLD_MAX = 4_000_000  # kB of a counter of 32 bits
INTERVAL_MAX_S = 86_400


class Window(NamedTuple):
    """A way of counting: what is counted apart, and for how long."""

    per_url: bool
    interval_s: int


class RateLimitPolicy(Described, Provisioned):
    """What is done with a client that is beyond all of its rules."""

    listener_id: Annotated[Id, Access("create"), Ref("listener")]
    """The listener whose clients it limits."""
    action: Annotated[RateLimitAction, Listed()]
    """`DENY`: an answer of status 429. `REJECT`: the connection is closed. `SILENT_DROP`: the client is not told.
    `QUEUE`: it waits."""
    rules: Annotated[list[Id], Access("generated"), Back("ratelimitrule", "ratelimitpolicy_id", nested="rules")] = []
    """What a client must be beyond."""


class RateLimitRule(Named, Provisioned):
    """How much of one thing a client, known by its source address, may have."""

    ratelimitpolicy_id: Annotated[Id, Ref("ratelimitpolicy", shown=None)]
    """The policy it belongs to."""
    metric: Annotated[Metric, Listed()]
    """What is counted: requests, requests for each URL path, kilobytes (of 1,000 bytes, in either direction) or
    packets."""
    threshold: Annotated[Int, Field(ge=1, le=THRESHOLD_MAX), Listed()]
    """How much of it a client may have in one interval."""
    interval: Annotated[Int, Field(ge=1, le=INTERVAL_MAX_S), Listed()] = 30
    """Length of the sliding interval, in seconds."""
    urls: Annotated[list[Annotated[UrlPath, Field(max_length=255)]], Field(max_length=100), Listed()] = []
    """The URL paths whose requests are counted, for REQUESTS_PER_URL; []: all, each for itself."""

    @property
    def window(self) -> Window:
        return Window(self.metric == "REQUESTS_PER_URL", self.interval)

    @model_validator(mode="after")
    def _drop_urls_nobody_reads(self) -> Self:
        if self.metric != "REQUESTS_PER_URL":
            self.urls = []
        return self

    def faults(self) -> Iterator[Fault]:
        for url in self.urls:
            if "?" in url or "#" in url:
                yield Fault(f"Validation failure: {url} is not a path alone: requests are counted by path.", "urls")


RATELIMITPOLICY = Kind(
    name="ratelimitpolicy",
    model=RateLimitPolicy,
    title="RateLimitPolicy",
    path="/lbaas/ratelimitpolicies",
    plural="ratelimitpolicies",
    links="ratelimitpolicies_links",
)
RATELIMITRULE = Kind(
    name="ratelimitrule",
    model=RateLimitRule,
    title="RateLimitRule",
    path="/lbaas/ratelimitpolicies/{ratelimitpolicy_id}/rules",
    plural="rules",
    links="rules_links",
    parent="ratelimitpolicy_id",
    envelope="rule",
)
