# SPDX-License-Identifier: Apache-2.0
"""What a process can give to the drivers that it loads."""

import ssl
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from caryatid.model.cluster import Machine, MachineWish
from caryatid.model.host import Host
from caryatid.model.tls import TlsPolicy
from caryatid.plan.haproxy import LogSettings
from caryatid.wire.agent import AgentClient


class Agents:
    """Clients for the agents of hosts, one each, shared by all drivers of a process and by its threads."""

    def __init__(self, context: Callable[[], ssl.SSLContext], timeout_s: float) -> None:
        self._context = context
        self._timeout_s = timeout_s
        self._clients: dict[tuple[str, str], AgentClient] = {}
        self._current: ssl.SSLContext | None = None
        self._replaced: list[AgentClient] = []
        self._lock = threading.Lock()

    def of(self, host: Host) -> AgentClient:
        """The client for the host's agent, where it is now."""
        with self._lock:
            self._follow()
            client = self._clients.get((host.id, host.agent_url))
            if client is None:
                client = AgentClient(host.agent_url, host.id, self._current or self._context(), self._timeout_s)
                self._clients[host.id, host.agent_url] = client
            return client

    def _follow(self) -> None:
        """With another certificate or other authorities, clients are made anew. Those before are closed at the next
        such change: by then nobody is using them any more."""
        context = self._context()
        if context is self._current:
            return
        for client in self._replaced:
            client.close()
        self._replaced, self._clients = list(self._clients.values()), {}
        self._current = context


@dataclass(frozen=True)
class Keystone:
    """Who vouches for us towards other services."""

    url: str
    user: str
    user_domain: str
    project: str
    project_domain: str
    password: str = field(repr=False)


@dataclass(frozen=True)
class KeyManager:
    """A Barbican."""

    url: str
    """Without the version."""
    names: tuple[str, ...] = ()
    """What references to it may begin with; none: with `url`."""
    authorities: str = ""
    """PEM, against which its certificate and Keystone's are checked; empty: the machine's."""
    keystone: Keystone | None = None
    """None: it lets everybody in, whatever project they name."""
    timeout_s: float = 4.0
    """For one request to either."""


@dataclass(frozen=True)
class Identity:
    """The Keystone that says who asks."""

    keystone: Keystone
    public_url: str = ""
    """Where users reach it; empty: as we do."""
    authorities: str = ""
    """PEM, against which its certificate is checked; empty: the machine's."""
    timeout_s: float = 4.0
    """For one request."""
    cache_s: float = 60.0
    """What it has said of a token is believed for so long."""


class Keep(Protocol):
    """What this installation keeps itself (`control/secrets.py`). Both raise `drivers.secrets.base.SecretsError`."""

    def secret(self, key: str, project_id: str) -> bytes:
        """What the project's secret is."""

    def container(self, key: str, project_id: str) -> Mapping[str, str]:
        """References of the secrets in the project's container, by name."""


@dataclass(frozen=True)
class Holder:
    """Whose a token is that is believed."""

    token_id: str
    user_id: str
    project_id: str
    roles: frozenset[str]
    until: float
    """When it ends, in seconds since the epoch; infinity: never."""


@dataclass(frozen=True)
class Membership:
    """A project, and what a user may do there."""

    id: str
    name: str
    roles: frozenset[str]


@dataclass(frozen=True)
class Account:
    """A user that may log in."""

    user_id: str
    hash: str | None
    """Of its password; None: it has none."""
    default_project_id: str | None
    projects: Sequence[Membership]


class Accounts(Protocol):
    """Users and tokens that this installation knows itself (`control/accounts.py`)."""

    def holder(self, digest: str, now: float) -> Holder | None:
        """Whose the token of this digest is; that it was used is kept. None: it is not, or not any more, to be
        believed."""

    def account(self, name: str) -> Account | None:
        """The user of that name, if it is enabled."""

    def project(self, called: str) -> str | None:
        """The id of the enabled project of that id or name."""


class Machines(Protocol):
    """Machines of amphorae that have one each (`control/ganeti/desk.py`). None of it asks a cluster anything."""

    def want(self, amphora_id: str, wish: MachineWish) -> Machine:
        """The amphora's machine is wanted from now on, and this is how far it is. Raises
        `drivers.compute.base.ComputeError` if nobody can make it, or the amphora is on its way out."""

    def said(self, amphora_id: str) -> Sequence[str]:
        """What Ganeti's jobs had to say of making it: a sentence each."""

    def unwant(self, amphora_id: str) -> None:
        """It is to be removed, if it is there or comes to be."""


@dataclass(frozen=True)
class Setup:
    """Handed to a driver when it is loaded."""

    agents: Agents
    """Of this installation's hosts."""
    connection_limit: int = 50_000
    """Connections of a listener that sets no limit."""
    hard_stop_after_s: int = 1800
    """Seconds after which a replaced HAProxy ends, whatever connections it still has."""
    vrrp_interval_s: float = 0.1
    """Seconds between two words of the amphora that has the VIPs to the other of its pair."""
    logs: LogSettings = field(default_factory=LogSettings)
    """Who gets logs of amphorae, and how they are written."""
    tls: TlsPolicy = field(default_factory=TlsPolicy)
    """What the operator does not want spoken."""
    keep: Keep | None = None
    """Secrets that this installation keeps itself."""
    key_manager: KeyManager | None = None
    """The Barbican of the settings."""
    identity: Identity | None = None
    """The Keystone of the settings."""
    noop_delay_s: float = 0.0
    """Seconds that the noop world takes for each act."""
    accounts: Accounts | None = None
    """Users that this installation knows itself."""
    machines: Machines | None = None
    """Machines that are made for amphorae."""
