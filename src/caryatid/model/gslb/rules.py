# SPDX-License-Identifier: Apache-2.0
"""What gslbs and their parts must satisfy beyond their own attributes. Pure."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Final

from caryatid.errors import Fault

from . import parameters
from .gslb import Gslb
from .member import BUILT_IN, GslbMember
from .monitor import GslbMonitor
from .place import GslbBackend, GslbZone
from .pool import GslbPool
from .targets import Targets
from .words import SteeringPolicy

TO_THE_POOL: Final = frozenset({"failover", "geo", "latency"})
"""Policies that leave it to the pool which of its members are answered."""
CHOOSING: Final[Mapping[str, SteeringPolicy]] = {"weighted": "weighted", "source_hash": "source_hash"}
"""What a pool's way to choose members needs of DNS servers, where it is more than a set of records."""
SPEAKING: Final[Mapping[str, tuple[str, ...]]] = {
    "powerdns": ("url",),
    "designate": ("url",),
    "rfc2136": ("server",),
}
"""What drivers cannot be without."""
WHAT_IS_ANSWERED: Final[Mapping[str, tuple[str, ...]]] = {
    "address": ("ip",),
    "hostname": ("hostname",),
    "loadbalancer_id": ("load_balancer", "octavia_lb"),
    "region_id": ("load_balancer", "octavia_lb", "neutron_port"),
    "port_id": ("neutron_port",),
}
"""Attributes that say what is answered, and the types of members that have them from their owner."""
ELSEWHERE: Final = ("region_id", "port_id")
"""Those of them that members of plugins' types do not have either."""


def within(fqdn: str) -> list[str]:
    """The names of zones that the name can be in, the longest first."""
    labels = fqdn.removeprefix("*.").removesuffix(".").split(".")
    return [".".join(labels[start:]) + "." for start in range(len(labels))]


def gslb_faults(gslb: Gslb, zone: GslbZone) -> Iterator[Fault]:
    """What is wrong with the name in its zone."""
    if "CNAME" in gslb.record_types and gslb.fqdn == zone.name:
        yield Fault(
            f"Validation failure: {gslb.fqdn} is the name of its zone, which can have no CNAME: use A and AAAA, or a "
            "name within it.",
            "record_types",
        )


def needed(gslb: Gslb, pools: Collection[GslbPool]) -> set[SteeringPolicy]:
    """What DNS servers must be able to do."""
    found: set[SteeringPolicy] = {gslb.steering_policy}
    if gslb.steering_policy in TO_THE_POOL:
        found |= {CHOOSING[pool.member_policy] for pool in pools if pool.member_policy in CHOOSING}
        if any(pool.shed_percent for pool in pools) and len(pools) > 1:
            found.add("weighted")
    return found


def monitor_faults(monitor: GslbMonitor, types: Collection[str]) -> Iterator[Fault]:
    """`types`: all that there are."""
    if monitor.type not in types:
        known = ", ".join(sorted(types))
        yield Fault(f"Validation failure: there is no check {monitor.type}; there are: {known}.", "type")
        return
    yield from parameters.faults(monitor.type, monitor.parameters)


def member_faults(member: GslbMember, targets: Targets, plugins: Collection[str]) -> Iterator[Fault]:
    """`plugins`: types of members beside those that are built in."""
    if member.type not in (*BUILT_IN, *plugins):
        known = ", ".join(sorted((*BUILT_IN, *plugins)))
        yield Fault(f"Validation failure: there is no type of member {member.type}; there are: {known}.", "type")
        return
    strange = WHAT_IS_ANSWERED if member.type in BUILT_IN else ELSEWHERE
    for attribute in strange:
        types = WHAT_IS_ANSWERED[attribute]
        if getattr(member, attribute) is not None and member.type not in types:
            several = "types" if len(types) > 1 else "type"
            yield Fault(f"Validation failure: {attribute} is of members of {several} {', '.join(types)}.", attribute)
    for attribute in ("address", "monitor_address"):
        address = getattr(member, attribute)
        if address is not None and (why := targets.refusal(address)):
            yield Fault(f"Validation failure: {why}", attribute)


def place(member: GslbMember) -> tuple[str | int | None, ...]:
    """What no two members of a pool share."""
    name = (member.hostname or "").rstrip(".").lower()
    address = member.address if member.type in BUILT_IN else member.type
    return address, name, member.loadbalancer_id, member.port_id, member.region_id, member.port, *_plugged(member)


def _plugged(member: GslbMember) -> Sequence[str]:
    """Two of a plugin are told apart by what it was told."""
    return () if member.type in BUILT_IN else [f"{name}={text}" for name, text in sorted(member.parameters.items())]


def backend_faults(backend: GslbBackend) -> Iterator[Fault]:
    """What its driver cannot be without."""
    for name in SPEAKING.get(backend.driver, ()):
        if getattr(backend, name) is None:
            yield Fault(f"Validation failure: driver {backend.driver} needs {name}.", name)
