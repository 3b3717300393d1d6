# SPDX-License-Identifier: Apache-2.0
"""The listener: a port of a load balancer, what is spoken on it, and what is done with what arrives."""

from collections.abc import Iterator
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from caryatid.errors import Fault

from .field import Access, Back, Key, Listed, Ref
from .kind import Kind
from .resource import Described, Provisioned
from .tls import ALPN, CIPHERS, VERSIONS, AlpnProtocols, TlsVersions, cipher_faults
from .types import Bool, Cidr, Ciphers, ContainerRef, Id, Int, Port

ListenerProtocol = Literal["HTTP", "HTTPS", "TCP", "TERMINATED_HTTPS", "UDP", "SCTP", "PROMETHEUS"]
TIMEOUT_MAX_MS = 2_073_600_000  # 24 days
Timeout = Annotated[Int, Field(ge=0, le=TIMEOUT_MAX_MS)]

HEADERS = ("X-Forwarded-For", "X-Forwarded-Port", "X-Forwarded-Proto", "X-Forwarded-IP", "X-Client-IP", "X-Real-IP")
TLS_HEADERS = (
    "X-SSL-Client-Verify",
    "X-SSL-Client-Has-Cert",
    "X-SSL-Client-DN",
    "X-SSL-Client-CN",
    "X-SSL-Issuer",
    "X-SSL-Client-SHA1",
    "X-SSL-Client-Not-Before",
    "X-SSL-Client-Not-After",
)
L4 = {"UDP": "UDP", "SCTP": "SCTP"}
HTTP_PROTOCOLS = ("HTTP", "TERMINATED_HTTPS")
"""Of listeners where requests are read, and sent on."""


class Listener(Described, Provisioned):
    """A port on the load balancer's addresses, and what happens to what arrives there."""

    loadbalancer_id: Annotated[Id, Access("create"), Ref("loadbalancer", shown="loadbalancers")]
    """The load balancer it belongs to."""
    protocol: Annotated[ListenerProtocol, Access("create"), Key(16), Listed()]
    """What is spoken on the port."""
    protocol_port: Annotated[Port, Access("create"), Key(), Listed()]
    """The port. Two listeners may share it if one is UDP and the other TCP."""
    connection_limit: Annotated[Int, Field(ge=-1)] = -1
    """Connections at a time; more wait. -1: the operator's limit."""
    default_pool_id: Annotated[Id | None, Ref("pool", nested="default_pool"), Listed()] = None
    """Where everything goes that no L7 policy claims."""
    default_tls_container_ref: ContainerRef | None = None
    """Reference of the certificate and key, for TERMINATED_HTTPS."""
    sni_container_refs: Annotated[list[ContainerRef], Field(max_length=1000)] = []
    """References of further certificates, chosen by server name."""
    client_ca_tls_container_ref: ContainerRef | None = None
    """Reference of the CA certificate that signs clients."""
    client_authentication: Literal["NONE", "OPTIONAL", "MANDATORY"] = "NONE"
    """Whether clients must show a certificate."""
    client_crl_container_ref: ContainerRef | None = None
    """Reference of the list of revoked client certificates."""
    insert_headers: dict[str, str] = {}
    """Headers added to requests on their way to members: name → "true" or "false"."""
    timeout_client_data: Timeout = 50_000
    """Longest silence of a client, in milliseconds."""
    timeout_member_connect: Timeout = 5_000
    """Longest wait for a member to accept a connection, in milliseconds."""
    timeout_member_data: Timeout = 50_000
    """Longest silence of a member, in milliseconds."""
    timeout_tcp_inspect: Timeout = 0
    """How long to wait for more of a TCP stream before judging it, in milliseconds; 0: not at all."""
    allowed_cidrs: Annotated[list[Cidr] | None, Field(max_length=1000)] = None
    """Networks that may connect; null: all."""
    tls_ciphers: Ciphers | None = None
    """OpenSSL cipher list."""
    tls_versions: TlsVersions | None = None
    """TLS versions spoken."""
    alpn_protocols: AlpnProtocols | None = None
    """Protocols offered by ALPN, best first."""
    hsts_max_age: Annotated[Int, Field(ge=0)] | None = None
    """Seconds for which browsers shall only use HTTPS; null sends no header."""
    hsts_include_subdomains: Bool = False
    """HSTS holds for subdomains too."""
    hsts_preload: Bool = False
    """The domain may be put on browsers' HSTS preload lists."""
    l7policies: Annotated[list[Id], Access("generated"), Back("l7policy", "listener_id", nested="l7policies")] = []
    """What is decided about requests before the default pool."""
    rate_limit_policies: Annotated[
        list[Id], Access("generated"), Back("ratelimitpolicy", "listener_id", nested="rate_limit_policies")
    ] = []
    """How much a client may ask of it."""

    @model_validator(mode="after")
    def _fill_tls(self) -> Self:
        if self.protocol == "TERMINATED_HTTPS" or self.certificates:
            self.tls_ciphers = self.tls_ciphers or CIPHERS
            self.tls_versions = self.tls_versions or list(VERSIONS)
            self.alpn_protocols = self.alpn_protocols or list(ALPN)
        return self

    @property
    def l4(self) -> str:
        """The protocol below: ports are unique within it."""
        return L4.get(self.protocol, "TCP")

    @property
    def certificates(self) -> tuple[str, ...]:
        """References of the certificates that clients are shown, the default one first, each once; none: no TLS."""
        if self.protocol not in ("TERMINATED_HTTPS", "PROMETHEUS"):
            return ()
        named = (self.default_tls_container_ref, *self.sni_container_refs)
        return tuple(dict.fromkeys(reference for reference in named if reference))

    def faults(self) -> Iterator[Fault]:
        yield from self._header_faults()
        yield from self._reference_faults()
        yield from self._hsts_faults()
        if self.certificates:
            yield from cipher_faults(self.tls_ciphers, self.tls_versions)
        if self.protocol == "PROMETHEUS" and self.default_pool_id:
            yield Fault("Protocol PROMETHEUS listeners cannot have child objects.", "default_pool_id")

    def _header_faults(self) -> Iterator[Fault]:
        if self.insert_headers and self.protocol not in HTTP_PROTOCOLS:
            yield Fault(f"insert_headers is not a valid option for {self.protocol} listeners.", "insert_headers")
            return
        known = HEADERS + (TLS_HEADERS if self.protocol == "TERMINATED_HTTPS" else ())
        for name, value in self.insert_headers.items():
            if name not in known:
                yield Fault(
                    f"{name} is not a valid option for insert_headers of a {self.protocol} listener.", "insert_headers"
                )
            elif value.lower() not in ("true", "false"):
                yield Fault(f"{value} is not a valid option for {name}: it takes 'true' or 'false'.", "insert_headers")

    def _reference_faults(self) -> Iterator[Fault]:
        server = self.default_tls_container_ref or self.sni_container_refs
        if self.protocol == "TERMINATED_HTTPS" and not server:
            yield Fault(
                "Validation failure: An SNI or default certificate container reference must be provided for "
                "TERMINATED_HTTPS protocol listeners.",
                "default_tls_container_ref",
            )
        if self.protocol not in ("TERMINATED_HTTPS", "PROMETHEUS") and (server or self.client_ca_tls_container_ref):
            yield Fault(
                f"Validation failure: Certificate container references are not allowed on {self.protocol} protocol "
                "listeners.",
                "default_tls_container_ref",
            )
        if self.client_ca_tls_container_ref and not server:
            yield Fault(
                "Validation failure: An SNI or default certificate container reference must be provided with a client "
                "CA container reference.",
                "client_ca_tls_container_ref",
            )
        if self.client_authentication != "NONE" and not self.client_ca_tls_container_ref:
            yield Fault(
                f"Validation failure: Client authentication setting {self.client_authentication} requires a client CA "
                "container reference.",
                "client_authentication",
            )
        if self.client_crl_container_ref and not self.client_ca_tls_container_ref:
            yield Fault(
                "Validation failure: A client authentication CA reference is required to specify a client "
                "authentication revocation list.",
                "client_crl_container_ref",
            )

    def _hsts_faults(self) -> Iterator[Fault]:
        flags = self.hsts_include_subdomains or self.hsts_preload
        if flags and self.hsts_max_age is None:
            yield Fault(
                "Validation failure: HSTS configuration options hsts_include_subdomains and hsts_preload only make "
                "sense if hsts_max_age is set as well.",
                "hsts_max_age",
            )
        if (flags or self.hsts_max_age is not None) and self.protocol != "TERMINATED_HTTPS":
            yield Fault(
                "Validation failure: The HSTS feature can only be used for listeners using the TERMINATED_HTTPS "
                "protocol.",
                "hsts_max_age",
            )


LISTENER = Kind(
    name="listener",
    model=Listener,
    title="Listener",
    path="/lbaas/listeners",
    plural="listeners",
    links="listeners_links",
    counted=True,
)
