# SPDX-License-Identifier: Apache-2.0
"""Drivers of every family that act on one recorded world instead of the real one.

They serve compatibility suites and benchmarks (`caryatid up --drivers noop`), and are the test double of the whole
project: the world can be told to fail or to be slow at its n-th call.
"""

import hashlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Self, get_args

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from caryatid.model.amphora import Placed, Stamp
from caryatid.model.bundle import Material
from caryatid.model.flavor import Capabilities, FlavorData, Topology, ZoneData
from caryatid.model.gslb.words import POLICIES
from caryatid.model.healthmonitor import MonitorType
from caryatid.model.listener import HTTP_PROTOCOLS, ListenerProtocol
from caryatid.model.loadbalancer import Vip
from caryatid.model.pool import Algorithm, PoolProtocol
from caryatid.model.ratelimit import Metric, RateLimitAction
from caryatid.model.tree import Tree
from caryatid.model.types import Name
from caryatid.plan.steering import digest

from .amphora.base import AmphoraLoadBalancerDriver, OvertakenError
from .compute.base import Built
from .dns.base import Backend, DnsRefusedError, Publication, Published
from .setup import Setup

BUILD_SECONDS_MAX = 30.0
COMMON_NAME_MAX = 64
SELF_MADE = (datetime(2020, 1, 1, tzinfo=UTC), datetime(2120, 1, 1, tzinfo=UTC))
"""From when until when certificates are valid that stand for nothing."""


class NoopFlavorData(FlavorData):
    """What flavor_data may say, to the amphorae of elsewhere too."""

    amp_image_tag: Name | None = None
    """Image of the amphorae."""
    sriov_vip: bool = False
    """The VIP is attached directly."""
    allow_member_sriov: bool = False
    """Members may be attached directly."""


class NoopZoneData(ZoneData):
    """What availability_zone_data may say, to the amphorae of elsewhere too."""

    volume_zone: Name | None = None
    """Zone of the amphorae's volumes."""
    management_network: Name | None = None
    """Network of their agents."""
    valid_vip_networks: list[Name] = []
    """Networks that VIPs may be on."""


EVERYTHING = Capabilities(
    listener_protocols=frozenset(get_args(ListenerProtocol)),
    pool_protocols=frozenset(get_args(PoolProtocol)),
    algorithms=frozenset(get_args(Algorithm)),
    monitor_types=frozenset(get_args(MonitorType)),
    topologies=frozenset(get_args(Topology)),
    l7_protocols=frozenset(HTTP_PROTOCOLS),
    rate_limit_protocols=frozenset(get_args(ListenerProtocol)),
    rate_limit_actions=frozenset(get_args(RateLimitAction)),
    rate_limit_metrics=frozenset(get_args(Metric)),
    rate_limit_windows=100,
    backend_tls=True,
    tls_version_gaps=True,
    flavor_data=NoopFlavorData,
    zone_data=NoopZoneData,
)


@dataclass
class World:
    """What the noop drivers have made, and how the world shall misbehave."""

    machines: set[str] = field(default_factory=set)
    vips: dict[str, tuple[str, ...]] = field(default_factory=dict)
    trees: dict[str, Tree] = field(default_factory=dict)
    stamps: dict[str, Stamp] = field(default_factory=dict)
    calls: int = 0
    delay_s: float = 0.0
    polls: int = 0
    """How often a machine answers that it is still being built, before it is there."""
    secrets: dict[str, Material] = field(default_factory=dict)
    """What references stand for; those that are not here, for a certificate of their own (`self_made`)."""
    polled: dict[str, int] = field(default_factory=dict)
    zones: dict[str, dict[tuple[str, str], Publication]] = field(default_factory=dict)
    """What is answered in each zone, by name and type."""
    publishes: int = 0
    """How often something was published, however much at a time."""
    mishap: Callable[[int, str], None] = lambda _call, _name: None
    """Called before act number n named so; may raise or sleep."""
    lock: threading.RLock = field(default_factory=threading.RLock)

    @contextmanager
    def act(self, name: str) -> Iterator[None]:
        with self.lock:
            self.calls += 1
            number = self.calls
        if self.delay_s:
            time.sleep(min(self.delay_s, BUILD_SECONDS_MAX))  # noqa: TID251  to be slow is what it is for
        self.mishap(number, name)
        with self.lock:
            yield

    def obey(self, amphora_id: str, stamp: Stamp) -> None:
        """Whoever comes with less than was seen before is refused, as an agent does."""
        seen = self.stamps.get(amphora_id, stamp)
        if (stamp.fence, stamp.generation) < (seen.fence, seen.generation):
            raise OvertakenError(f"amphora {amphora_id} has obeyed fence {seen.fence}", seen.fence)
        self.stamps[amphora_id] = stamp

    def forget(self) -> None:
        """The world is as new."""
        self.machines.clear()
        self.vips.clear()
        self.trees.clear()
        self.secrets.clear()
        self.stamps.clear()
        self.calls = 0
        self.delay_s = 0.0
        self.polls = 0
        self.polled.clear()
        self.zones.clear()
        self.publishes = 0
        self.mishap = lambda _call, _name: None


WORLD = World()


class NoopAmphoraDriver(AmphoraLoadBalancerDriver):
    """Records which tree each amphora has."""

    capabilities = EVERYTHING

    def update_load_balancer(self, amphora: Placed, tree: Tree, stamp: Stamp) -> None:
        with WORLD.act("update"):
            WORLD.obey(amphora.id, stamp)
            WORLD.trees[amphora.id] = tree

    def delete_load_balancer(self, amphora: Placed, tree: Tree, stamp: Stamp) -> None:
        with WORLD.act("delete"):
            WORLD.obey(amphora.id, stamp)
            WORLD.trees.pop(amphora.id, None)

    def get_info(self, amphora: Placed) -> Mapping[str, Any]:
        with WORLD.act("info"):
            return {"amphora_id": amphora.id, "configured": amphora.id in WORLD.trees}

    def get_diagnostics(self, amphora: Placed) -> Mapping[str, Any]:
        return self.get_info(amphora)


class NoopComputeDriver:
    """Records which machines there are."""

    makes_machines = True
    has_agents = False

    @classmethod
    def connect(cls, setup: Setup) -> Self:  # noqa: ARG003  the world is one
        return cls()

    def build(self, amphora: Placed) -> Built:
        with WORLD.act("build"):
            WORLD.machines.add(amphora.id)
            WORLD.polled[amphora.id] = WORLD.polled.get(amphora.id, -1) + 1
            if WORLD.polled[amphora.id] < WORLD.polls:
                return Built("building")
            return Built("ready", "127.0.0.1")

    def delete(self, amphora: Placed) -> None:
        with WORLD.act("destroy"):
            WORLD.machines.discard(amphora.id)


class NoopNetworkDriver:
    """Records which VIPs each amphora has, and knows every subnet, network and port."""

    takes_any_reference = True

    @classmethod
    def connect(cls, setup: Setup) -> Self:
        if setup.noop_delay_s:
            WORLD.delay_s = setup.noop_delay_s
        return cls()

    def ensure_vips(self, amphora: Placed, vips: Sequence[Vip], stamp: Stamp) -> None:
        with WORLD.act("plug"):
            WORLD.vips[amphora.id] = tuple(vip.ip_address for vip in vips)

    def remove_vips(self, amphora: Placed, vips: Sequence[Vip], stamp: Stamp) -> None:
        with WORLD.act("unplug"):
            WORLD.vips.pop(amphora.id, None)


class NoopSecretsDriver:
    """Every reference stands for something that serves any purpose."""

    @classmethod
    def connect(cls, setup: Setup) -> Self:  # noqa: ARG003  there is nobody to connect to
        return cls()

    def read(self, reference: str, project_id: str) -> Material:
        with WORLD.act("read"):
            return WORLD.secrets.get(reference) or Material(payload=self_made(reference))


class NoopDnsDriver:
    """Records what is answered, and answers it at once."""

    policies = frozenset(POLICIES)

    def __init__(self, backend: Backend) -> None:
        pass

    def ensure_zone(self, zone: str) -> None:
        with WORLD.act("zone"):
            WORLD.zones.setdefault(zone, {})

    def publish(self, zone: str, wanted: Sequence[Publication]) -> None:
        with WORLD.act("publish"):
            WORLD.publishes += 1
            names = WORLD.zones.setdefault(zone, {})
            late: dict[tuple[str, str], str] = {}
            for each in wanted:
                key = each.fqdn, each.rrtype
                if names.get(key, each).generation > each.generation:
                    late[key] = f"{each.fqdn} {each.rrtype} has generation {names[key].generation}."
                elif each.answers is None:
                    names.pop(key, None)
                else:
                    names[key] = each
            if late:
                raise DnsRefusedError(" ".join(late.values()), late)

    def verify(self, zone: str, wanted: Sequence[Publication]) -> Mapping[tuple[str, str], str]:
        with WORLD.act("verify"):
            names = WORLD.zones.get(zone, {})
            found = {key: published.answers for key, published in names.items()}
            keys = {(each.fqdn, each.rrtype): each.answers for each in wanted}
            return {key: "is answered otherwise" for key, answers in keys.items() if found.get(key) != answers}

    def published(self, zone: str) -> Sequence[Published]:
        with WORLD.act("published"):
            return [
                Published(each.fqdn, each.rrtype, each.generation, digest(each.answers))
                for each in WORLD.zones.get(zone, {}).values()
                if each.answers is not None
            ]


def self_made(reference: str) -> bytes:
    """A certificate, its key, and its list of what it has revoked: nothing. The same for the same reference, in every
    process; so the key is no secret. `noop:NAME` is for that name."""
    key = ed25519.Ed25519PrivateKey.from_private_bytes(hashlib.sha256(reference.encode()).digest())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, reference.removeprefix("noop:")[:COMMON_NAME_MAX])])
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, *SELF_MADE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, None)
    )
    revoked = x509.CertificateRevocationListBuilder(name, *SELF_MADE).sign(key, None)
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return certificate.public_bytes(Encoding.PEM) + private + revoked.public_bytes(Encoding.PEM)
