# SPDX-License-Identifier: Apache-2.0
"""VIPs on real networks: the agent of the amphora's host connects it to them (seed 000, the network driver)."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from ipaddress import ip_address
from typing import Literal, Self, cast

from caryatid.drivers.setup import Agents, Setup
from caryatid.model.amphora import Leg, Placed, Stamp
from caryatid.model.loadbalancer import Vip
from caryatid.model.network import NAMESPACED
from caryatid.wire.agent import AgentClient, AgentError
from caryatid.wire.network import Plug, WireLeg

from .base import NetworkError


class BridgeDriver:
    """Has the agent make a network namespace for each amphora whose VIPs are on a network.

    Addresses that the host has anyhow (attachments `loopback` and `host`) need no namespace.
    """

    takes_any_reference = False

    def __init__(self, agents: Agents) -> None:
        self._agents = agents

    @classmethod
    def connect(cls, setup: Setup) -> Self:
        return cls(setup.agents)

    def ensure_vips(self, amphora: Placed, vips: Sequence[Vip], stamp: Stamp) -> None:
        legs = [leg for leg in amphora.legs if leg.subnet.attachment in NAMESPACED]
        if not legs:
            _check(amphora, vips)
            return
        if len(legs) < len(amphora.legs):
            raise NetworkError("VIPs on a network and VIPs that the host has anyhow do not go together.")
        plug = Plug(
            amphora_id=amphora.id,
            loadbalancer_id=amphora.amphora.loadbalancer_id or "",
            generation=stamp.generation,
            fence=stamp.fence,
            legs=[_wire(leg) for leg in legs],
            shared=amphora.amphora.role != "STANDALONE",
        )
        with self._reach(amphora) as agent:
            agent.put_network(plug)

    def remove_vips(self, amphora: Placed, vips: Sequence[Vip], stamp: Stamp) -> None:
        """What the agent made goes with the amphora, which is cleared before."""

    @contextmanager
    def _reach(self, amphora: Placed) -> Iterator[AgentClient]:
        if amphora.host is None:
            raise NetworkError(f"The host of amphora {amphora.id} is not enrolled.")
        try:
            yield self._agents.of(amphora.host)
        except AgentError as error:
            raise NetworkError(f"Host {amphora.host.name} did not connect amphora {amphora.id}: {error}") from error


def _check(amphora: Placed, vips: Sequence[Vip]) -> None:
    hosted = {vip for leg in amphora.legs if leg.subnet.attachment == "host" for vip in leg.vips}
    for vip in vips:
        if vip.ip_address not in hosted and not ip_address(vip.ip_address).is_loopback:
            raise NetworkError(f"{vip.ip_address} is no address of the host of amphora {amphora.id}.")


def _wire(leg: Leg) -> WireLeg:
    return WireLeg(
        attachment=cast(Literal["uplink", "routed"], leg.subnet.attachment),
        physical_network=leg.physical_network,
        cidr=leg.subnet.cidr,
        gateway_ip=leg.subnet.gateway_ip,
        vips=list(leg.vips),
        address=leg.address,
        proxy_arp=leg.subnet.proxy_arp,
    )
