# SPDX-License-Identifier: Apache-2.0
"""How an amphora is connected: what the agent is told before it is given a configuration. Part of the agent's API.

    PUT    /1/amphorae/{id}/network   Plug → 204: the namespace is there, with its interfaces and own addresses
    DELETE /1/amphorae/{id}/network   → 204: it is not

VIPs come with the configuration: when HAProxy serves, the agent claims them (adds them to the interface and tells the
neighbours), unless the amphora is one of a pair, where VRRP says who has them.
"""

from typing import Literal

from pydantic import Field

from caryatid.wire.body import AmphoraId, Body

Name = Field(max_length=255)
LEGS_MAX = 64
LEG_MARKS_FROM = 0x10000
"""Packets that a ruleset marks with this plus i leave by leg i, where it has a way of its own out."""


class WireLeg(Body):
    """One subnet that the amphora is on. Interface number i of the namespace is `eth<i>`, in the order of the legs."""

    attachment: Literal["uplink", "routed"]
    physical_network: str = Name
    """Name of the host's uplink."""
    cidr: str = Name
    gateway_ip: str | None = None
    """Default route of this family; None: none. Routed legs have their host as gateway whatever this says."""
    vips: list[str] = Field(max_length=64)
    address: str | None = None
    """The amphora's own address within `cidr`."""
    proxy_arp: bool = False
    """Routed: the host answers ARP or NDP for the VIPs on the uplink."""


class Plug(Body):
    """What the amphora is connected to. `(fence, generation)` never falls, together with those of configurations."""

    amphora_id: str = AmphoraId
    loadbalancer_id: str = AmphoraId
    generation: int = Field(ge=0)
    fence: int = Field(ge=0)
    legs: list[WireLeg] = Field(min_length=1, max_length=LEGS_MAX)
    shared: bool = False
    """It is one of a pair: VRRP decides who has the VIPs, not the agent."""
