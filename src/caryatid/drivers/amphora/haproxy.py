# SPDX-License-Identifier: Apache-2.0
"""Amphorae that are HAProxy under our own agent: the whole configuration is rendered here and pushed there."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, Self

from caryatid.drivers.setup import Setup
from caryatid.model.amphora import Placed, Stamp
from caryatid.model.flavor import Capabilities, FlavorData, ZoneData
from caryatid.model.host import Host
from caryatid.model.tree import Tree
from caryatid.plan import keepalived, nftables
from caryatid.plan.drift import Found
from caryatid.plan.haproxy import RenderSettings, Unrenderable, render
from caryatid.wire.agent import (
    AgentClient,
    AgentError,
    AgentRefused,
    AgentStale,
    AgentTimeout,
    AgentUnauthorized,
    AgentUnreachable,
    Configuration,
    How,
    Server,
)

from .base import (
    AmphoraDriverError,
    AmphoraLoadBalancerDriver,
    InfoException,
    OvertakenError,
    ProvisioningErrors,
    TimeOutException,
    UnauthorizedException,
    UnavailableException,
)
from .breaker import Breaker

CAPABILITIES = Capabilities(
    listener_protocols=frozenset({"HTTP", "HTTPS", "TCP", "PROMETHEUS"}),
    pool_protocols=frozenset({"HTTP", "HTTPS", "TCP", "PROXY", "PROXYV2"}),
    algorithms=frozenset({"ROUND_ROBIN", "LEAST_CONNECTIONS", "SOURCE_IP"}),
    monitor_types=frozenset({"HTTP", "HTTPS", "TCP", "TLS-HELLO"}),
    topologies=frozenset({"SINGLE", "ACTIVE_STANDBY"}),
    l7_protocols=frozenset({"HTTP"}),
    flavor_data=FlavorData,
    zone_data=ZoneData,
    reasons=(
        ("TERMINATED_HTTPS", "TLS is not terminated yet; HTTPS passes it through to the members."),
        ("UDP", "Datagrams are not carried yet."),
        ("SCTP", "SCTP is not carried yet."),
        ("tls_enabled", "TLS towards members is not spoken yet."),
        ("PING", "A ping needs a privilege that HAProxy's checks do not have here."),
    ),
)

INVENTORY_S = 5.0
"""Seconds that an agent may take to say what it has."""
HOW: dict[How, str] = {
    "unchanged": "it was so already",
    "runtime": "applied at run time, without a reload",
    "reloaded": "HAProxy has reloaded",
    "started": "HAProxy has started",
    "stopped": "there is no listener, and no HAProxy",
}


class HaproxyDriver(AmphoraLoadBalancerDriver):
    """Pushes one configuration a load balancer to the agent of each of its amphorae."""

    capabilities: ClassVar[Capabilities] = CAPABILITIES

    def __init__(self, setup: Setup) -> None:
        self._agents = setup.agents
        self._render = RenderSettings(
            default_connection_limit=setup.connection_limit,
            hard_stop_after_s=setup.hard_stop_after_s,
            logs=setup.logs,
        )
        self._advert_interval_s = setup.vrrp_interval_s
        self._breaker = Breaker()

    @classmethod
    def connect(cls, setup: Setup) -> Self:
        return cls(setup)

    def update_load_balancer(self, amphora: Placed, tree: Tree, stamp: Stamp) -> str:
        try:
            rendered = render(tree, settings=self._render, placed=amphora)
        except Unrenderable as error:
            raise ProvisioningErrors(str(error), {error.id: str(error)}) from error
        wanted = Configuration.model_construct(
            amphora_id=amphora.id,
            loadbalancer_id=tree.loadbalancer.id,
            generation=stamp.generation,
            fence=stamp.fence,
            text=rendered.text,
            servers=[Server(*server) for server in rendered.servers],
            hash=rendered.hash,
            base_hash=rendered.base_hash,
            files=dict(rendered.files),
            keepalived=keepalived.render(tree, amphora, advert_interval_s=self._advert_interval_s),
            nftables=nftables.render(tree, amphora),
        )
        with self._reach(amphora) as agent:
            return HOW[agent.put_configuration(wanted).how]

    def delete_load_balancer(self, amphora: Placed, tree: Tree, stamp: Stamp) -> None:  # noqa: ARG002  all goes
        with self._reach(amphora) as agent:
            agent.delete_amphora(amphora.id, stamp.generation, stamp.fence)
        self._breaker.forget(amphora.id)

    def get_info(self, amphora: Placed) -> Mapping[str, Any]:
        with self._reach(amphora) as agent:
            return {**agent.info().model_dump(), "amphora": _dumped(agent.amphora(amphora.id))}

    def get_diagnostics(self, amphora: Placed) -> Mapping[str, Any]:
        with self._reach(amphora) as agent:
            found = agent.diagnostics(amphora.id)
        if found is None:
            raise InfoException(f"Host {amphora.amphora.compute_id} does not have amphora {amphora.id}.")
        return found.model_dump()

    def inventory(self, host: Host) -> Sequence[Found]:
        try:
            states = self._agents.of(host).amphorae(INVENTORY_S)
        except AgentError as error:
            raise _translated(error) from error
        return [Found(one.amphora_id, one.loadbalancer_id, one.generation, bool(one.hash)) for one in states]

    @contextmanager
    def _reach(self, amphora: Placed) -> Iterator[AgentClient]:
        """The agent of the amphora's host, its failures in the interface's words."""
        if amphora.host is None:
            raise UnavailableException(f"The host of amphora {amphora.id} is not enrolled.")
        with self._breaker.guard(amphora.id):
            try:
                yield self._agents.of(amphora.host)
            except AgentError as error:
                raise _translated(error) from error


def _translated(error: AgentError) -> AmphoraDriverError:
    match error:
        case AgentRefused():
            return ProvisioningErrors(error.reason, dict.fromkeys(error.culprits, error.reason))
        case AgentTimeout():
            return TimeOutException(str(error))
        case AgentUnauthorized():
            return UnauthorizedException(str(error))
        case AgentUnreachable():
            return UnavailableException(str(error))
        case AgentStale():
            return OvertakenError(str(error), error.fence)
        case _:
            return AmphoraDriverError(str(error))


def _dumped(body: Any) -> Any:
    return body.model_dump() if body is not None else None
