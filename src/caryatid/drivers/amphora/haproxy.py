# SPDX-License-Identifier: Apache-2.0
"""Amphorae that are HAProxy under our own agent: the whole configuration is rendered here and pushed there."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import sha256
from typing import Any, ClassVar, Self

from caryatid.drivers.setup import Setup
from caryatid.model.amphora import Placed, Stamp
from caryatid.model.bundle import Bundle
from caryatid.model.datagrams import DATAGRAM_POOLS, FAMILIES
from caryatid.model.flavor import Capabilities, FlavorData, ZoneData
from caryatid.model.host import Host
from caryatid.model.network import NAMESPACED
from caryatid.model.tree import Tree
from caryatid.plan import keepalived, nftables
from caryatid.plan.drift import Found
from caryatid.plan.haproxy import RenderSettings, Unrenderable, ratelimit, render
from caryatid.wire.agent import (
    SECRETS_BYTES_MAX,
    AgentClient,
    AgentError,
    AgentRefused,
    AgentStale,
    AgentTimeout,
    AgentUnauthorized,
    AgentUnreachable,
    AgentWanting,
    Configuration,
    How,
    Secrets,
    Server,
)

from . import datagrams
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
from .diagnosis import diagnosis

FLOWS_ARE_HASHED = "Flows are shared out by their hash, whatever members have already; ROUND_ROBIN does so evenly."
CAPABILITIES = Capabilities(
    listener_protocols=frozenset({"HTTP", "HTTPS", "TCP", "TERMINATED_HTTPS", "UDP", "SCTP", "PROMETHEUS"}),
    pool_protocols=frozenset({"HTTP", "HTTPS", "TCP", "PROXY", "PROXYV2", "UDP", "SCTP"}),
    algorithms=frozenset({"ROUND_ROBIN", "LEAST_CONNECTIONS", "SOURCE_IP"}),
    datagram_algorithms=frozenset({"ROUND_ROBIN", "SOURCE_IP", "SOURCE_IP_PORT"}),
    datagram_flows_max=5_000,
    datagram_attachments=NAMESPACED,
    datagram_families_apart=True,
    monitor_types=frozenset({"HTTP", "HTTPS", "TCP", "TLS-HELLO", "UDP-CONNECT", "SCTP"}),
    topologies=frozenset({"SINGLE", "ACTIVE_STANDBY"}),
    l7_protocols=frozenset({"HTTP", "TERMINATED_HTTPS"}),
    backend_tls=True,
    tls_versions=frozenset({"TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"}),
    rate_limit_protocols=frozenset({"HTTP", "HTTPS", "TCP", "TERMINATED_HTTPS"}),
    rate_limit_actions=frozenset({"DENY", "REJECT", "SILENT_DROP"}),
    rate_limit_metrics=frozenset({"REQUESTS", "REQUESTS_PER_URL", "KBYTES"}),
    rate_limit_windows=ratelimit.WINDOWS,
    flavor_data=FlavorData,
    zone_data=ZoneData,
    reasons=(
        (FAMILIES, "Datagrams are sent on as they are; give the load balancer an additional VIP of that family."),
        ("connection_limit", "The kernel needs the longer to count flows the more there are; -1 sets no limit."),
        *((f"{protocol} LEAST_CONNECTIONS", FLOWS_ARE_HASHED) for protocol in DATAGRAM_POOLS),
        ("SSLv3", "OpenSSL speaks it no more."),
        ("tls_version_gaps", "HAProxy speaks a range of versions; name those between, or leave out those beyond."),
        ("QUEUE", "HAProxy holds no requests back by their rate; DENY tells clients when to come again."),
        ("PACKETS", "HAProxy sees requests and bytes, not packets; KBYTES is nearest to it."),
        ("rate_limit_windows", "HAProxy counts each request in three tables at most."),
        ("PING", "A ping needs a privilege that HAProxy's checks do not have here."),
    ),
)

DIAGNOSTICS_S = 5.0
"""Seconds that an agent may take for each of three questions about an amphora."""
INVENTORY_S = 5.0
"""Seconds that an agent may take to say what it has."""
HOW: dict[How, str] = {
    "unchanged": "it was so already",
    "runtime": "applied at run time, without a reload",
    "reloaded": "HAProxy has reloaded",
    "started": "HAProxy has started",
    "stopped": "no listener needs an HAProxy",
}


class HaproxyDriver(AmphoraLoadBalancerDriver):
    """Pushes one configuration a load balancer to the agent of each of its amphorae."""

    capabilities: ClassVar[Capabilities] = CAPABILITIES

    def __init__(self, setup: Setup) -> None:
        self._agents = setup.agents
        self._render = RenderSettings(
            default_connection_limit=setup.connection_limit,
            hard_stop_after_s=setup.hard_stop_after_s,
            tls=setup.tls,
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
        contents = dict(_contents(rendered.keys))
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
            datagrams=datagrams.told(tree) if amphora.legs else None,
            keys={name: digest for name, (digest, _) in contents.items()},
        )
        with self._reach(amphora) as agent:
            return HOW[_pushed(agent, wanted, dict(contents.values()))]

    def delete_load_balancer(self, amphora: Placed, tree: Tree, stamp: Stamp) -> None:  # noqa: ARG002  all goes
        with self._reach(amphora) as agent:
            agent.delete_amphora(amphora.id, stamp.generation, stamp.fence)
        self._breaker.forget(amphora.id)

    def get_info(self, amphora: Placed) -> Mapping[str, Any]:
        with self._reach(amphora) as agent:
            return {**agent.info().model_dump(), "amphora": _dumped(agent.amphora(amphora.id))}

    def get_diagnostics(self, amphora: Placed) -> Mapping[str, Any]:
        with self._reach(amphora) as agent:
            about, details = agent.info(DIAGNOSTICS_S), agent.amphora(amphora.id, DIAGNOSTICS_S)
            found = agent.diagnostics(amphora.id, DIAGNOSTICS_S)
        if found is None or details is None:
            raise InfoException(f"Host {amphora.amphora.compute_id} does not have amphora {amphora.id}.")
        return diagnosis(about, details, found)

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


def _contents(keys: Mapping[str, Bundle]) -> Iterator[tuple[str, tuple[str, str]]]:
    """What the names of a configuration stand for: name, SHA-256, content. What is stapled stands beside."""
    for name, bundle in keys.items():
        yield name, (bundle.digest, bundle.pem)
        if bundle.staple:
            yield f"{name}.ocsp", (sha256(bundle.staple.encode()).hexdigest(), bundle.staple)


def _pushed(agent: AgentClient, wanted: Configuration, contents: Mapping[str, str]) -> How:
    """It is in effect. Of the contents that it names, the agent gets those that it has not."""
    try:
        return agent.put_configuration(wanted).how
    except AgentWanting as lack:
        for part in _parts({digest: contents[digest] for digest in lack.wanting if digest in contents}):
            agent.put_secrets(
                Secrets.model_construct(
                    amphora_id=wanted.amphora_id,
                    loadbalancer_id=wanted.loadbalancer_id,
                    generation=wanted.generation,
                    fence=wanted.fence,
                    contents=part,
                )
            )
    return agent.put_configuration(wanted).how


def _parts(contents: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """As few as what may be in one request allows."""
    part: dict[str, str] = {}
    size = 0
    for digest, content in contents.items():
        needed = len(content) + content.count("\n") + 100  # JSON writes a line's end as two characters
        if part and size + needed > SECRETS_BYTES_MAX:
            yield part
            part, size = {}, 0
        part[digest] = content
        size += needed
    if part:
        yield part


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
