# SPDX-License-Identifier: Apache-2.0
"""The pool: members that do the same work, and how the work is shared out."""

import re
from collections.abc import Iterator
from ipaddress import ip_address
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from caryatid.errors import Fault

from .field import Access, Back, Listed, Ref
from .kind import Kind
from .resource import Described, Document, Provisioned
from .tls import ALPN, CIPHERS, VERSIONS, AlpnProtocols, TlsVersions, cipher_faults
from .types import Bool, Ciphers, ContainerRef, Id, Int

PoolProtocol = Literal["HTTP", "HTTPS", "PROXY", "PROXYV2", "TCP", "UDP", "SCTP"]
Algorithm = Literal["ROUND_ROBIN", "LEAST_CONNECTIONS", "SOURCE_IP", "SOURCE_IP_PORT"]
COOKIE_NAME = re.compile(r"^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$")  # token, RFC 6265 §4.1.1


class SessionPersistence(Document):
    """How a client comes back to the member it had."""

    type: Literal["SOURCE_IP", "HTTP_COOKIE", "APP_COOKIE"]
    """What a client is known by."""
    cookie_name: Annotated[str, Field(max_length=255)] | None = None
    """The application's cookie, for APP_COOKIE."""
    persistence_timeout: Annotated[Int, Field(ge=0, le=31_536_000)] | None = None
    """Seconds for which a silent client is remembered at least (UDP and SCTP)."""
    persistence_granularity: Annotated[str, Field(max_length=64, pattern=r"^[0-9a-fA-F:.]+$")] | None = None
    """Netmask within which clients count as one (UDP and SCTP)."""


class Pool(Described, Provisioned):
    """Members that do the same work, and how it is shared out among them."""

    loadbalancer_id: Annotated[Id | None, Access("create"), Ref("loadbalancer", shown="loadbalancers")] = None
    """The load balancer it belongs to. This or listener_id must be given."""
    listener_id: Annotated[Id | None, Access("create", shown=False)] = None
    """The listener whose default pool it becomes."""
    protocol: Annotated[PoolProtocol, Access("create"), Listed()]
    """What is spoken to the members."""
    lb_algorithm: Annotated[Algorithm, Listed()]
    """How the next member is chosen."""
    session_persistence: SessionPersistence | None = None
    """How a client comes back to the member it had; null: not at all."""
    tls_enabled: Bool = False
    """TLS is spoken to the members."""
    tls_container_ref: ContainerRef | None = None
    """Reference of the certificate shown to members."""
    ca_tls_container_ref: ContainerRef | None = None
    """Reference of the CA certificate that members' certificates are checked against; null: not checked."""
    crl_container_ref: ContainerRef | None = None
    """Reference of the list of revoked member certificates."""
    tls_ciphers: Ciphers | None = None
    """OpenSSL cipher list."""
    tls_versions: TlsVersions | None = None
    """TLS versions spoken."""
    alpn_protocols: AlpnProtocols | None = None
    """Protocols offered by ALPN, best first."""
    listeners: Annotated[list[Id], Access("generated"), Back("listener", "default_pool_id")] = []
    """The listeners that send here, by default or by an L7 policy."""
    members: Annotated[list[Id], Access("generated"), Back("member", "pool_id", nested="members")] = []
    """Who does the work."""
    healthmonitor_id: Annotated[
        Id | None,
        Access("generated", unset_shown=False),
        Back("healthmonitor", "pool_id", one=True, nested="healthmonitor"),
    ] = None
    """What checks the members."""

    @model_validator(mode="after")
    def _fill_tls(self) -> Self:
        if self.tls_enabled:
            self.tls_ciphers = self.tls_ciphers or CIPHERS
            self.tls_versions = self.tls_versions or list(VERSIONS)
            self.alpn_protocols = self.alpn_protocols or list(ALPN)
        return self

    def faults(self) -> Iterator[Fault]:
        if not (self.loadbalancer_id or self.listener_id):
            yield Fault(
                "Validation failure: Must provide at least one of: loadbalancer_id, listener_id", "loadbalancer_id"
            )
        if self.crl_container_ref and not self.ca_tls_container_ref:
            yield Fault(
                "Validation failure: A CA reference is required to specify a certificate revocation list.",
                "crl_container_ref",
            )
        if self.tls_enabled:
            yield from cipher_faults(self.tls_ciphers, self.tls_versions)
            if self.protocol in ("UDP", "SCTP"):
                yield Fault(
                    f"Validation failure: TLS is not spoken over datagrams, to which pools of protocol {self.protocol} "
                    "belong.",
                    "tls_enabled",
                )
        if self.session_persistence:
            yield from self._persistence_faults(self.session_persistence)

    def _persistence_faults(self, persistence: SessionPersistence) -> Iterator[Fault]:
        about = "session_persistence"
        name = persistence.cookie_name
        if persistence.type == "APP_COOKIE" and not name:
            yield Fault(
                'Validation failure: Field "cookie_name" must be specified when using the "APP_COOKIE" session '
                "persistence type.",
                about,
            )
        if persistence.type != "APP_COOKIE" and name:
            yield Fault(
                'Validation failure: Field "cookie_name" can only be specified with session persistence of type '
                '"APP_COOKIE".',
                about,
            )
        if name and not COOKIE_NAME.fullmatch(name):
            yield Fault('Validation failure: Supplied "cookie_name" is invalid.', about)
        datagrams = self.protocol in ("UDP", "SCTP")
        timed = persistence.persistence_timeout is not None or persistence.persistence_granularity is not None
        if timed and not datagrams:
            yield Fault(
                "Validation failure: persistence_timeout and persistence_granularity is only for UDP and SCTP protocol "
                "pools.",
                about,
            )
        if persistence.persistence_granularity is not None and not _is_address(persistence.persistence_granularity):
            yield Fault(
                f"Validation failure: {persistence.persistence_granularity} is not a valid option for "
                "persistence_granularity: a netmask is, such as 255.255.255.0 or ffff:ffff::.",
                about,
            )
        if datagrams and persistence.type != "SOURCE_IP":
            yield Fault(
                f"Validation failure: session persistence of type {persistence.type} is not for {self.protocol} pools; "
                "SOURCE_IP is.",
                about,
            )


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


POOL = Kind(
    name="pool", model=Pool, title="Pool", path="/lbaas/pools", plural="pools", links="pools_links", counted=True
)
