# SPDX-License-Identifier: Apache-2.0
"""Types of members of which others know where they are: an Octavia, a Neutron, or a plugin.

Plugins are entry points `caryatid.member_types`, each called with the member's `parameters`; it gives the address that
is answered, or raises ValueError with a sentence.
"""

from collections.abc import Mapping
from ipaddress import ip_address
from typing import Final, NamedTuple

from caryatid import log
from caryatid.drivers import installed, load
from caryatid.drivers.elsewhere import Elsewhere, Missing, Outcome, Silent, There
from caryatid.errors import Fault
from caryatid.model.gslb.member import BUILT_IN, GslbMember
from caryatid.model.gslb.place import GslbRegion


class Asked(NamedTuple):
    """Who knows of members of a type that others have."""

    whom: str
    attribute: str
    """Of a member: what it is called there."""
    url: str
    """Of a region: where they are."""
    title: str


ELSEWHERE: Final[Mapping[str, Asked]] = {
    "octavia_lb": Asked("Octavia", "loadbalancer_id", "octavia_url", "Load Balancer"),
    "neutron_port": Asked("Neutron", "port_id", "neutron_url", "Port"),
}


class Question(NamedTuple):
    """What is asked about a member; of two members that are the same, once."""

    type: str
    url: str = ""
    key: str = ""
    project_id: str = ""
    parameters: tuple[tuple[str, str], ...] = ()

    @property
    def whom(self) -> tuple[str, str]:
        """Who is asked."""
        return self.type, self.url


def plugins() -> list[str]:
    """Their types; what is built in is no plugin's."""
    return [name for name in installed("member_types") if name not in BUILT_IN]


def question(member: GslbMember, region: GslbRegion | None) -> Question | Fault | None:
    """What there is to ask about the member, in its region; or why nobody can be. None: it is where it says."""
    if member.type in plugins():
        return Question(member.type, parameters=tuple(sorted(member.parameters.items())))
    asked = ELSEWHERE.get(member.type)
    if asked is None or region is None:
        return None
    url = getattr(region, asked.url)
    if url is None:
        missing = f"Region {region.name} does not say where its {asked.whom} is ({asked.url})"
        remedy = f"caryatid gslb-region set {region.name} --{asked.url.replace('_', '-')} URL"
        return Fault(f"{missing}; an administrator can: {remedy}.", "region_id")
    return Question(member.type, url, getattr(member, asked.attribute) or "", member.project_id)


def ask(elsewhere: Elsewhere, asked: Question) -> Outcome:
    """What is answered. May take as long as others do."""
    try:
        if asked.type == "octavia_lb":
            return elsewhere.loadbalancer(asked.url, asked.key, asked.project_id)
        if asked.type == "neutron_port":
            return elsewhere.port(asked.url, asked.key, asked.project_id)
        return _plugged(asked)
    except Exception as error:  # noqa: BLE001  of one member, or of somebody else's program: not of the others
        log.get().exception("a member cannot be asked for", type=asked.type)
        return Silent(f"{asked.type}: {type(error).__name__}; the log says more.")


def _plugged(asked: Question) -> Outcome:
    try:
        found = ip_address(str(load("member_types", asked.type)(dict(asked.parameters))))
    except ValueError as error:
        return Missing(str(error))
    return There((str(found),), None)


def fault(member: GslbMember, region: GslbRegion | None, missing: Missing) -> Fault:
    """What is told to who wishes for a member that is not there."""
    asked = ELSEWHERE.get(member.type)
    if asked is None:
        return Fault(f"Validation failure: {member.type}: {missing.why}", "parameters")
    where = region.name if region is not None else "?"
    key = getattr(member, asked.attribute)
    return Fault(f"{asked.title} {key} not found in region {where}.", asked.attribute)
