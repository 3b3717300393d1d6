# SPDX-License-Identifier: Apache-2.0
"""Types of members that plugins bring: entry points `caryatid.member_types`, each called with the member's
`parameters`; it gives the address that is answered, or raises ValueError with a sentence."""

from typing import Final

from caryatid.drivers import installed, load
from caryatid.errors import Fault, Refused, Unsupported
from caryatid.model.consequences import replace
from caryatid.model.gslb.member import BUILT_IN, GslbMember

REMEDIES: Final = {
    "octavia_lb": "Use type ip with its VIP, and a monitor of type octavia_lb for its status.",
    "neutron_port": "Use type ip with the port's address.",
}
"""What to do instead of a type whose addresses nobody here finds out."""


def plugins() -> list[str]:
    """Their types; what is built in is no plugin's."""
    return [name for name in installed("member_types") if name not in BUILT_IN]


def refuse_unbuilt(member: GslbMember) -> None:
    """Raises Unsupported for a type whose addresses nobody here finds out."""
    if member.type in REMEDIES:
        raise Unsupported(f"Members of type {member.type} are not built yet. {REMEDIES[member.type]}")


def found_out(member: GslbMember) -> GslbMember:
    """The member with the address that its plugin finds. May ask others: not within a transaction. Raises Refused."""
    if member.type not in plugins():
        return member
    try:
        return replace(member, address=str(load("member_types", member.type)(dict(member.parameters))))
    except ValueError as error:
        raise Refused([Fault(f"Validation failure: {member.type}: {error}", "parameters")]) from None
