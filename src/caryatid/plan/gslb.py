# SPDX-License-Identifier: Apache-2.0
"""What a decision about a gslb is made from: what of its parts matters for it, what regions say, what is remembered.

Plain values, made by the hundred thousand. All times are seconds since the epoch. `plan/steering.py` decides.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Self

import orjson

from caryatid.model.gslb.gslb import OnAllDown, RecordType
from caryatid.model.gslb.member import ServeMode
from caryatid.model.gslb.monitor import InsufficientData, PerRegion
from caryatid.model.gslb.words import SteeringPolicy

Word = Literal["UP", "DOWN", "UNKNOWN"]
MemberPolicy = Literal["multivalue", "failover", "weighted", "source_hash"]
OWN: str = ""
"""Stands for a monitor's id where a load balancer's own status is meant."""


@dataclass(frozen=True, slots=True)
class Vote:
    """What one checker says of a check."""

    region_id: str
    checker: str
    word: Word
    at: float
    """When it became so."""
    confirmed_at: float
    """When that was last found, or known to be, unchanged."""
    reason: str = ""
    rtt_ms: float | None = None


@dataclass(frozen=True, slots=True)
class Region:
    """A place that members are checked from; only those that are enabled are handed in."""

    id: str
    name: str = ""
    latitude: float | None = None
    longitude: float | None = None


@dataclass(frozen=True, slots=True)
class Monitor:
    """What of a monitor matters here."""

    id: str
    name: str = ""
    interval_s: float = 10.0
    timeout_s: float = 5.0
    regions: tuple[str, ...] = ()
    """None: all."""
    quorum: Literal["majority", "any", "all", "percent", "count"] = "majority"
    quorum_value: int = 0
    per_region: PerRegion = "majority"
    insufficient_data: InsufficientData = "last_known"
    enabled: bool = True
    told_s: float | None = None
    """For so long it counts what users tell of it; None: it is tried."""


@dataclass(frozen=True, slots=True)
class MonitorUse:
    """A monitor among those of a pool."""

    monitor: Monitor
    must_be_healthy: bool = False
    observe_only: bool = False


@dataclass(frozen=True, slots=True)
class Member:
    """What of a member matters here."""

    id: str
    name: str = ""
    addresses: tuple[str, ...] = ()
    """What is answered, IPv4 and IPv6."""
    hostname: str = ""
    """What is answered as CNAME."""
    weight: int = 1
    priority: int = 0
    backup: bool = False
    serve_mode: ServeMode = "obey"
    enabled: bool = True
    drain_until: float | None = None
    revision: str = ""
    """Another one: its owner has changed it."""
    votes: Mapping[str, Sequence[Vote]] = field(default_factory=dict)
    """By monitor; `OWN`: its own status."""
    own_good_s: float | None = None
    """It has a status of its own, which counts for so long after it was confirmed. None: it has none."""

    @property
    def label(self) -> str:
        return self.name or self.hostname or next(iter(self.addresses), self.id)


@dataclass(frozen=True, slots=True)
class MemberMemory:
    """What is remembered of a member from one look to the next."""

    word: str = ""
    """What its checks came to: UP, DOWN; nothing yet."""
    since: float = 0.0
    penalty: float = 0.0
    """For flapping, as it was at `penalty_at`; halves every `HALF_LIFE_S`."""
    penalty_at: float = 0.0
    damped: bool = False
    """UP is not believed until the penalty is low."""
    sticky: str | None = None
    """The revision in which it went down and stays so."""
    checks: Mapping[str, Word] = field(default_factory=dict)
    """Each check's word."""


@dataclass(frozen=True, slots=True)
class Pool:
    """What of a pool matters here."""

    id: str
    name: str = ""
    members: tuple[Member, ...] = ()
    monitors: tuple[MonitorUse, ...] = ()
    monitor_policy: str = "all"
    minimum_healthy: str = "1"
    member_policy: MemberPolicy = "multivalue"
    shed_percent: int = 0
    enabled: bool = True
    region_id: str | None = None
    latitude: float | None = None
    longitude: float | None = None
    bias: int = 0

    @property
    def label(self) -> str:
        return self.name or self.id


@dataclass(frozen=True, slots=True)
class Rule:
    """Which pools are for clients from somewhere."""

    pool_ids: tuple[str, ...]
    cidrs: tuple[str, ...] = ()
    countries: tuple[str, ...] = ()
    continents: tuple[str, ...] = ()
    asns: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class PoolUse:
    """A pool among those of a gslb."""

    pool_id: str
    priority: int = 0
    weight: int = 1


@dataclass(frozen=True, slots=True)
class Gslb:
    """What of a gslb matters here."""

    id: str
    fqdn: str
    record_types: tuple[RecordType, ...] = ("A", "AAAA")
    policy: SteeringPolicy = "failover"
    uses: tuple[PoolUse, ...] = ()
    rules: tuple[Rule, ...] = ()
    """Its own, then those of its geomap."""
    ttl: int = 30
    ttl_degraded: int | None = None
    fallback_pool_id: str | None = None
    on_all_down: OnAllDown = "fail_open"
    max_answers: int = 8
    hash_prefix_v4: int = 24
    hash_prefix_v6: int = 56
    use_ecs: bool = True
    failback: Literal["auto", "manual"] = "auto"
    failback_delay: int = 0
    enabled: bool = True
    revision: str = ""
    """Another one: its owner has changed it; whatever waited for that is over."""


@dataclass(frozen=True, slots=True)
class Memory:
    """What is remembered of a gslb from one look to the next."""

    members: Mapping[str, MemberMemory] = field(default_factory=dict)
    pools: Mapping[str, float] = field(default_factory=dict)
    """Pools that are well, and since when."""
    tier: str = ""
    """The pool (or priority) in force."""
    revision: str = ""
    """Of the gslb when it came into force."""
    fastest: Mapping[str, str] = field(default_factory=dict)
    """Policy `latency`: for each region the pool that it finds fastest; "": over all regions."""
    last: tuple[str, ...] = ()
    """Members that were answered with when last something was well (`on_all_down` last_known)."""

    def document(self) -> dict[str, Any]:
        """As JSON."""
        document: dict[str, Any] = orjson.loads(orjson.dumps(self))
        return document

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Self:
        """What another version has written besides is passed over."""
        own = {key: value for key, value in document.items() if key in cls.__slots__}
        members = {
            member_id: MemberMemory(**{key: value for key, value in said.items() if key in MemberMemory.__slots__})
            for member_id, said in own.get("members", {}).items()
        }
        return cls(**{**own, "members": members, "last": tuple(own.get("last", ()))})
