# SPDX-License-Identifier: Apache-2.0
"""What the conductor and checkers say to each other (version 1). The region is the certificate's, never the body's.

    POST /v1/checks/shares   Seat → Shares     every second: I am here, this is what I hold; that is what you have
    POST /v1/checks/wanted   Known → Wanted    long poll: the checks of my shares, when they have changed
    POST /v1/checks/votes    Votes → Taken     edges at once, the rest in batches
    POST /v1/checks/tests    Done → Trials     long poll: dry runs that were asked for, and what came of earlier ones
    POST /v1/checks/loadbalancers  LoadBalancers → Heard   how load balancers of the region are: edges, now and then all

How a checker gets its certificate: `checkers`.
"""

from typing import Annotated, Any, Final, Literal

from pydantic import Field

from caryatid.model.types import Address

from .body import Body

VERSION: Final = 1
SHARES: Final = 32
"""Into which the checks of a region are divided, by member."""
LEASE_S: Final = 3.0
"""For which a checker has a share without another word."""

Id = Annotated[str, Field(max_length=36, pattern=r"^[!-~]*$")]
Reason = Annotated[str, Field(max_length=500, pattern=r"^[^\x00]*$")]
Milliseconds = Annotated[float, Field(ge=0, le=3_600_000)]
Word = Literal["UP", "DOWN"]
Contents = Annotated[dict[str, str], Field(repr=False)]
"""What checks need of the key store (PEM, with private keys), by digest (SHA-256, hexadecimal). Kept in memory only."""


class Check(Body):
    """A monitor, tried of a member again and again."""

    monitor_id: Id
    member_id: Id
    share: int
    version: Annotated[str, Field(max_length=64)]
    """Another one: begin anew, as if nothing had been found."""
    type: str
    address: str
    """An address, or a name to be looked up."""
    port: int | None = None
    interval_s: float
    timeout_s: float
    retries: int
    rise: int
    fall: int
    rapid_recheck: bool
    inverted: bool
    parameters: dict[str, Any] = {}
    """Those that name something in the key store have the digest of it instead."""
    word: Word | None = None
    """What this region says of it already; a checker that takes a share over goes on from there."""


class Held(Body):
    """A share that a checker has."""

    share: Annotated[int, Field(ge=0, lt=SHARES)]
    fence: int
    """Of the lease; whoever has it later has a higher one."""
    on_time: bool = True
    """All checks of it have been made when they were due: what was said of them is confirmed."""


class Seat(Body):
    """A checker's sign of life."""

    version: int = VERSION
    checker: Id
    """Names this process; another one after a restart."""
    held: Annotated[list[Held], Field(max_length=SHARES)] = []
    leaving: bool = False
    """It ends, and gives back what it has."""
    quarantined: bool = False
    """Its own controls fail: it holds nothing, and what it said lately does not count."""


class Shares(Body):
    """What a checker has from now on, for LEASE_S."""

    held: list[Held]
    checks: str
    """Version of the region's checks: if it is another than known, ask for them."""


class Known(Body):
    version: int = VERSION
    checker: Id
    checks: str = ""
    shares: Annotated[list[int], Field(max_length=SHARES)]
    wait_s: Annotated[float, Field(ge=0, le=30)] = 0


class Wanted(Body):
    checks: str
    wanted: list[Check]
    allowed: list[str] = []
    """CIDRs that may be spoken to although they are not public."""
    refused: list[str] = []
    """CIDRs that may not."""
    controls: list[str] = []
    """`address:port` that must be reachable (TCP), or the network of the checker is at fault."""
    contents: Contents = {}


class Vote(Body):
    """What a region says of a check."""

    monitor_id: Id
    member_id: Id
    share: Annotated[int, Field(ge=0, lt=SHARES)]
    fence: int
    word: Word
    seq: int
    """Rises with each vote of this checker."""
    age_s: Annotated[float, Field(ge=0, le=86_400)] = 0.0
    """Since it was found: votes are kept while the conductor is away."""
    reason: Reason = ""
    rtt_ms: Milliseconds | None = None


class Votes(Body):
    version: int = VERSION
    checker: Id
    votes: Annotated[list[Vote], Field(max_length=2000)]


class Taken(Body):
    """Those whose fence is too low were not."""

    stale: list[int] = []
    """Shares that the checker has no more."""


class Trial(Body):
    """A dry run that somebody asked for: one try, of which nothing is remembered."""

    id: Id
    check: Check


class Tried(Body):
    """What came of a dry run."""

    id: Id
    word: Word
    reason: Reason = ""
    rtt_ms: Milliseconds | None = None


class Done(Body):
    """Asks for dry runs of the region, and tells what came of earlier ones."""

    version: int = VERSION
    checker: Id
    tried: Annotated[list[Tried], Field(max_length=100)] = []
    wait_s: Annotated[float, Field(ge=0, le=30)] = 0


class Trials(Body):
    trials: list[Trial]
    contents: Contents = {}


class LoadBalancer(Body):
    """A load balancer of the region, as the installation says that has it."""

    id: Id
    addresses: Annotated[list[Address], Field(max_length=64)]
    """Its VIPs, the first one first."""
    operating_status: Literal["ONLINE", "DEGRADED", "OFFLINE", "ERROR", "DRAINING", "NO_MONITOR"]
    good_s: Annotated[float, Field(gt=0, le=3600)]
    """For so long it counts, without another word."""


class LoadBalancers(Body):
    version: int = VERSION
    loadbalancers: Annotated[list[LoadBalancer], Field(max_length=1000)]


class Heard(Body):
    """They are known."""
