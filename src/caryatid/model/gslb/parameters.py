# SPDX-License-Identifier: Apache-2.0
"""What the checks that are built in want to know: a document per type, read at the wish and by checkers. Pure.

Everything here is shown to whoever may read the monitor.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final, Literal

import dns.rdata
from cryptography.x509 import load_pem_x509_certificates
from dns.exception import DNSException
from pydantic import AfterValidator, Field, ValidationError

from caryatid.errors import Fault
from caryatid.model.kind import faults_of
from caryatid.model.resource import Document
from caryatid.model.types import Bool, ContainerRef, HostName, Id, Int, Line, Port, Url, UrlPath

from .patterns import compiled

CODES: Final = re.compile(r"[1-5]\d\d(-[1-5]\d\d)?(\s*,\s*[1-5]\d\d(-[1-5]\d\d)?)*")
HEADER: Final = r"^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}$"
OURS: Final = frozenset({"host", "connection", "content-length", "transfer-encoding", "upgrade", "expect"})
"""Headers that a check sends itself, or could not be read with."""
HEX: Final = r"^([0-9a-fA-F]{2})+$"
PASSIVE: Final = "passive"
"""The type of monitors that nobody tries."""
REFERENCES: Final = ("client_cert_ref", "ca_ref")
"""What checks over TLS may name in the key store."""
OVER_TLS: Final = "checks over TLS (https, tls, grpc with tls, smtp with starttls)"


def _codes(value: str) -> str:
    if not CODES.fullmatch(value):
        raise ValueError("Value should be statuses and ranges of them: 200,301-308")
    return value


def _pattern(value: str) -> str:
    compiled(value)
    return value


def _authorities(value: str) -> str:
    try:
        load_pem_x509_certificates(value.encode())
    except ValueError:
        raise ValueError("Value should be certificates in PEM format") from None
    return value


def codes(text: str) -> tuple[tuple[int, int], ...]:
    """First and last of each range."""
    ranges = [word.strip().partition("-") for word in text.split(",")]
    return tuple((int(first), int(last or first)) for first, _, last in ranges)


Codes = Annotated[str, Field(max_length=255), AfterValidator(_codes)]
Pattern = Annotated[str, Field(min_length=1), AfterValidator(_pattern)]
Authorities = Annotated[str, Field(max_length=16_384), AfterValidator(_authorities)]
Text = Annotated[str, Field(min_length=1, max_length=4096)]
Milliseconds = Annotated[float, Field(gt=0, le=60_000, strict=False)]


class Parameters(Document):
    """What every check may be told."""

    max_rtt_ms: Milliseconds | None = None
    """Who takes longer has failed: milliseconds from connecting to the verdict; null: only `timeout` counts."""


class Ported(Parameters):
    port: Port | None = None
    """Where to; null: the member's port, else the usual one, if the check has one."""


class Secured(Ported):
    verify_tls: Bool = True
    """Its certificate must be good, and of the name that was asked for."""
    sni: HostName | None = None
    """The name that is asked for; null: `host`, else the member's, if it has one."""
    authorities: Authorities | None = None
    """Who must have signed its certificate (PEM); null: anybody whom the checker's machine trusts."""
    ca_ref: ContainerRef | None = None
    """The same as a reference to a secret or container, instead of `authorities`."""
    client_cert_ref: ContainerRef | None = None
    """Reference of the certificate, with its key, that the check shows if it is asked for one; null: none."""

    def faults(self) -> Iterator[Fault]:
        for name in ("authorities", "ca_ref"):
            if getattr(self, name) is not None and not self.verify_tls:
                yield Fault(f"Validation failure: {name} is of use only with verify_tls.", name)
        if self.authorities is not None and self.ca_ref is not None:
            yield Fault("Validation failure: authorities or ca_ref.", "ca_ref")

    def _unused(self, switch: str) -> Iterator[Fault]:
        """The references, where nothing is said over TLS."""
        for name in REFERENCES:
            if getattr(self, name) is not None and not getattr(self, switch):
                yield Fault(f"Validation failure: {name} is of use only with {switch}: set {switch} to true.", name)


class Http(Ported):
    """A request, an answer: its status, and if wished what it says."""

    method: Literal["GET", "HEAD", "OPTIONS", "POST", "PUT"] = "GET"
    """Of the request."""
    path: UrlPath = "/"
    """Path and query."""
    host: HostName | None = None
    """Header Host; null: the member's name or address."""
    headers: Annotated[dict[Annotated[str, Field(pattern=HEADER)], Line], Field(max_length=16)] = {}
    """What else the request says."""
    body: Text | None = None
    """What is sent."""
    expected_codes: Codes = "200-399"
    """Statuses that are good: `200`, `200,204` or `200-299,401`."""
    expected_body: Pattern | None = None
    """A regular expression (RE2) that is found in the first 64 KiB of what is answered."""
    follow_redirects: Bool = False
    """Where an answer leads counts, not the answer; five times at most, and nowhere that may not be checked."""

    def faults(self) -> Iterator[Fault]:
        if self.body is not None and self.method not in ("POST", "PUT"):
            yield Fault("Validation failure: only POST and PUT send a body.", "body")
        if self.expected_body is not None and self.method == "HEAD":
            yield Fault("Validation failure: nothing comes with an answer to HEAD.", "expected_body")
        if self.follow_redirects and self.method not in ("GET", "HEAD"):
            yield Fault("Validation failure: only GET and HEAD can be led elsewhere.", "follow_redirects")
        for name in self.headers:
            if name.lower() in OURS:
                yield Fault(f"Validation failure: {name} is sent by the check itself.", "headers")


class Https(Http, Secured):
    """As `http`, over TLS."""

    def faults(self) -> Iterator[Fault]:
        yield from Http.faults(self)
        yield from Secured.faults(self)


class Said(Ported):
    """Something is sent, something expected."""

    send: Text | None = None
    """What is sent; null: nothing."""
    send_hex: Annotated[str, Field(max_length=8192, pattern=HEX)] | None = None
    """The same where it is no text: two digits a byte."""
    expect: Pattern | None = None
    """A regular expression (RE2) that is found in the first 64 KiB of what comes."""

    def faults(self) -> Iterator[Fault]:
        if self.send is not None and self.send_hex is not None:
            yield Fault("Validation failure: send or send_hex.", "send_hex")


class Tcp(Said):
    """A connection; what is said over it, if wished."""


class Udp(Said):
    """A datagram, and what comes back. Without `expect` silence is success, and only that nobody is there is not."""

    port: Port | None = None
    """Where to; null: the member's port."""

    def faults(self) -> Iterator[Fault]:
        yield from super().faults()
        if self.send is None and self.send_hex is None:
            yield Fault("Validation failure: udp needs send or send_hex.", "send")


class Tls(Secured):
    """A TLS handshake."""

    minimum_days: Annotated[Int, Field(ge=0, le=3650)] = 0
    """Its certificate must be good for so many days more."""


class Icmp(Parameters):
    """An echo. The checker's machine must let it send some (sysctl net.ipv4.ping_group_range)."""


class Dns(Ported):
    """A question to a name server."""

    qname: Annotated[HostName, Field(max_length=254)]
    """The name that is asked for."""
    qtype: Literal["A", "AAAA", "CAA", "CNAME", "DS", "MX", "NAPTR", "NS", "PTR", "SOA", "SRV", "TXT"] = "A"
    """The type."""
    transport: Literal["udp", "tcp"] = "udp"
    """UDP is followed by TCP when the answer was too long."""
    expected_rcode: Literal["NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED"] = "NOERROR"
    """How it must be answered."""
    expected_rdata: Annotated[list[Line], Field(max_length=64)] = []
    """Records that must be there, as zone files have them; []: any."""

    def faults(self) -> Iterator[Fault]:
        for text in self.expected_rdata:
            try:
                dns.rdata.from_text("IN", self.qtype, text)
            except DNSException:
                yield Fault(f"Validation failure: {text} is no record of type {self.qtype}.", "expected_rdata")


class Smtp(Secured):
    """A mail server's greeting."""

    helo: HostName = "checker.invalid"
    """How the checker calls itself."""
    starttls: Bool = False
    """It must speak TLS, too."""

    def faults(self) -> Iterator[Fault]:
        yield from super().faults()
        yield from self._unused("starttls")


class Grpc(Secured):
    """The health protocol of gRPC (grpc.health.v1): SERVING is up."""

    service: Line = ""
    """Whose health is asked for; empty: the server's."""
    tls: Bool = False
    """Over TLS."""

    def faults(self) -> Iterator[Fault]:
        yield from super().faults()
        yield from self._unused("tls")


class Exec(Parameters):
    """A program of the operator's, on the checker's machine: it ends with 0. It is told CARYATID_ADDRESS,
    CARYATID_PORT and CARYATID_TIMEOUT_S; the first line that it writes is the reason."""

    program: Annotated[str, Field(max_length=255, pattern=r"^/[^\x00-\x1f\x7f]+$")]
    """Its path; one of those that the checker's operator lets be started."""
    arguments: Annotated[list[Line], Field(max_length=32)] = []
    """What it is started with."""


class OctaviaLb(Parameters):
    """The operating status of a load balancer, asked of its own Octavia: ONLINE and DEGRADED are up. Nothing is sent to
    the member."""

    url: Url
    """Of the load-balancing API, without `/v2`."""
    id: Id
    """The load balancer."""
    token: Annotated[str, Field(min_length=1, max_length=8192, pattern=r"^[\x21-\x7e]+$")] | None = None
    """Shown as X-Auth-Token; null: none, for APIs that ask for none. Whoever may read the monitor sees it."""
    verify_tls: Bool = True
    """The API's certificate must be good."""
    authorities: Authorities | None = None
    """Who must have signed it (PEM); null: anybody whom the checker's machine trusts."""


class Passive(Document):
    """Nobody tries anything: users tell how members are (`PUT /gslb/v1/monitors/{id}/votes`)."""

    valid_s: Annotated[float, Field(ge=1, le=604_800)] | None = None
    """For so many seconds it counts what was told; then nothing is known. null: three times `interval`."""


PARAMETERS: Final[dict[str, type[Document]]] = {
    "http": Http,
    "https": Https,
    "tcp": Tcp,
    "tls": Tls,
    "icmp": Icmp,
    "udp": Udp,
    "dns": Dns,
    "smtp": Smtp,
    "grpc": Grpc,
    "exec": Exec,
    "octavia_lb": OctaviaLb,
    PASSIVE: Passive,
}
"""By type. What is not here is a plugin's."""


def references(check: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the parameters that name something in the key store; {}: nothing that is ours to read."""
    document = PARAMETERS.get(check)
    if document is None or not issubclass(document, Secured):
        return {}
    return {name: parameters[name] for name in REFERENCES if parameters.get(name)}


def faults(check: str, parameters: Mapping[str, Any]) -> Iterator[Fault]:
    """What is wrong with the parameters of a check of that type. A plugin's are the plugin's to judge."""
    document = PARAMETERS.get(check)
    if document is None:
        return
    strange = [name for name in REFERENCES if name in parameters and name not in document.model_fields]
    for name in strange:
        yield Fault(f"Validation failure: {name} is of {OVER_TLS}; a check {check} has none.", f"parameters.{name}")
    try:
        made = document.model_validate({name: value for name, value in parameters.items() if name not in strange})
    except ValidationError as error:
        yield from faults_of(error, "parameters")
        return
    for fault in made.faults():
        yield Fault(fault.message, f"parameters.{fault.attribute}", fault.status)
