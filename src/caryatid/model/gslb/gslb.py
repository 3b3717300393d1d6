# SPDX-License-Identifier: Apache-2.0
"""The gslb: a name, and how it is answered. A root: reconciled whole, with the pools that it uses."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from caryatid.errors import Fault
from caryatid.model.field import IGNORED, Access, Key, Listed, Names
from caryatid.model.kind import Kind
from caryatid.model.resource import Assigned, Dated, Described, Document
from caryatid.model.status import ProvisioningStatus
from caryatid.model.types import Bool, Cidr, Id, Int, Tags

from .words import Asn, Continent, Country, Fqdn, GslbStatus, Priority, SteeringPolicy, Weight

RecordType = Literal["A", "AAAA", "CNAME"]
OnAllDown = Literal["fail_open", "fail_closed", "fallback_pool", "last_known"]
Ttl = Annotated[Int, Field(ge=0, le=86_400)]


class PoolUse(Document):
    """A pool among those of a gslb."""

    pool_id: Annotated[Id, Names("gslb_pool")]
    """The pool."""
    priority: Priority = 0
    """The lowest that is well comes first."""
    weight: Weight = 1
    """Its part of the answers (policy `weighted`); 0: none."""


class GeoRule(Document):
    """Which pools are for clients from somewhere."""

    countries: Annotated[list[Country], Field(max_length=250)] = []
    continents: Annotated[list[Continent], Field(max_length=7)] = []
    cidrs: Annotated[list[Cidr], Field(max_length=200)] = []
    asns: Annotated[list[Asn], Field(max_length=200)] = []
    pool_ids: Annotated[list[Id], Names("gslb_pool"), Field(min_length=1, max_length=64)]
    """The first that is well answers."""

    def faults(self) -> Iterator[Fault]:
        if not (self.countries or self.continents or self.cidrs or self.asns):
            yield Fault("Validation failure: a rule names countries, continents, cidrs or asns.", "rules")


class Gslb(Described, Assigned, Dated):
    """A name that is answered with what is well, as seen from several places."""

    fqdn: Annotated[Fqdn, Access("create"), Key(), Listed()]
    """The name, within a zone of the project or a shared one."""
    record_types: Annotated[list[RecordType], Field(min_length=1, max_length=2)] = ["A", "AAAA"]
    """What it is asked for by; CNAME excludes the others."""
    ttl: Ttl = 30
    """Seconds for which resolvers may keep an answer."""
    ttl_degraded: Ttl | None = None
    """The same while something that it uses is down; null: no other."""
    steering_policy: Annotated[SteeringPolicy, Listed()] = "failover"
    """How of all that is well the answer is chosen."""
    pools: Annotated[list[PoolUse], Field(max_length=64)] = []
    """What it can be answered with."""
    rules: Annotated[list[GeoRule], Field(max_length=200)] = []
    """Policy `geo`: who gets which pools: the most specific network decides, else the autonomous system, the country,
    the continent; of several rules that name the same, the first. Whoever fits none gets `pools`."""
    geomap_id: Annotated[Id | None, Names("gslb_geomap")] = None
    """Policy `geo`: rules that several gslbs share; those of its own come first."""
    fallback_pool_id: Annotated[Id | None, Names("gslb_pool")] = None
    """What is answered when nothing else is well (`on_all_down` fallback_pool)."""
    on_all_down: OnAllDown = "fail_open"
    """What is answered when nothing is well: all members, nobody, the fallback pool, or what was answered last."""
    max_answers: Annotated[Int, Field(ge=1, le=64)] = 8
    """Addresses in one answer (where the policy chooses one, one)."""
    hash_prefix_v4: Annotated[Int, Field(ge=8, le=32)] = 24
    """Policy `source_hash`: bits of an IPv4 client's address that decide."""
    hash_prefix_v6: Annotated[Int, Field(ge=16, le=128)] = 56
    """The same of IPv6."""
    use_ecs: Bool = True
    """The client's network that a resolver tells (RFC 7871) counts, rather than the resolver's own."""
    failback: Literal["auto", "manual"] = "auto"
    """Whether a pool that comes first and is well again is answered with by itself."""
    failback_delay: Annotated[Int, Field(ge=0, le=86_400)] = 0
    """Seconds for which it must have been well."""
    admin_state_up: Annotated[Bool, Access(on_null=False)] = True
    """False: the name is not answered, as if it had no members."""
    tags: Annotated[Tags, Access(on_null=IGNORED)] = []
    """Short labels; [] clears them, null leaves them as they are."""
    zone_id: Annotated[Id | None, Access("generated"), Key(36)] = None
    """The zone that the name is in."""
    provisioning_status: Annotated[ProvisioningStatus, Access("generated"), Listed()] = "PENDING_CREATE"
    """Whether name servers answer as what is shown says."""
    operating_status: Annotated[GslbStatus, Access("generated"), Listed()] = "UNKNOWN"
    """Whether the name is answered with something that is well."""
    published_generation: Annotated[Int, Access("generated")] = 0
    """Rises with each change of what name servers answer."""
    published_at: Annotated[str | None, Access("generated")] = None
    """When they had all been seen to answer so. UTC."""

    def faults(self) -> Iterator[Fault]:
        if len(set(self.record_types)) != len(self.record_types):
            yield Fault("Validation failure: each record type may be given once.", "record_types")
        if "CNAME" in self.record_types and len(self.record_types) > 1:
            yield Fault("Validation failure: CNAME excludes other record types.", "record_types")
        if self.ttl_degraded is not None and self.ttl_degraded > self.ttl:
            yield Fault("Validation failure: ttl_degraded must not be greater than ttl.", "ttl_degraded")
        if self.on_all_down == "fallback_pool" and self.fallback_pool_id is None:
            yield Fault("Validation failure: on_all_down fallback_pool needs fallback_pool_id.", "fallback_pool_id")
        if self.steering_policy != "geo" and (self.rules or self.geomap_id):
            yield Fault(f"Validation failure: policy {self.steering_policy} has no rules; geo has.", "rules")
        used = [use.pool_id for use in self.pools]
        if len(set(used)) != len(used):
            yield Fault("Validation failure: each pool may be used once.", "pools")
        for rule in self.rules:
            yield from rule.faults()


GSLB = Kind(
    name="gslb",
    model=Gslb,
    title="GSLB",
    path="/gslb/v1/gslbs",
    plural="gslbs",
    links="gslbs_links",
    root="gslb",
    counted=True,
    unique=(("fqdn",),),
)
