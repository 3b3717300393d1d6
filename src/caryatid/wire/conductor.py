# SPDX-License-Identifier: Apache-2.0
"""Enrolment: how a host becomes one of ours. Bodies, the token, and the client; version 1, under `/1`.

The token pins our authority, so a host trusts nothing before the authority's fingerprint matches, and the conductor
trusts nobody before the token's secret does. Afterwards both speak mutual TLS.
"""

import base64
import hashlib
import secrets
import ssl
from http import HTTPStatus
from typing import Annotated, Any, Self, TypeVar

import httpx2
import orjson
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from pydantic import Field, ValidationError

from caryatid.errors import CaryatidError
from caryatid.wire.body import AmphoraId, Body

VERSION = 1
TOKEN_PREFIX = "cye1"  # noqa: S105 - names the format
SECRET_BYTES = 32
CONDUCTOR_NAME = "controller"
"""What a conductor's certificate must name: only controllers' certificates do."""
RENEWAL = b"caryatid renewal\n"
"""What a key signs before a request, so that the signature means nothing else."""
TIMEOUT = httpx2.Timeout(10.0, connect=3.0)
AnswerT = TypeVar("AnswerT", bound=Body)


class ConductorError(CaryatidError):
    """The conductor did not do what was asked."""


class ConductorUnreachable(ConductorError):
    """No connection, or no answer in time; to be tried again."""


class ConductorRefused(ConductorError):
    """It said no, and will again."""


class HostUnknown(ConductorRefused):
    """It does not know this host (any more)."""


class EnrolmentToken(Body):
    """All that a new host needs to know. Contains a secret: hand it over in a file or a pipe, never as an argument."""

    url: str = Field(pattern=r"^https://[^\s]+$")
    """The conductor."""
    authority: str = Field(pattern=r"^[0-9a-f]{64}$")
    """SHA-256 of the authority's certificate (DER)."""
    id: str = AmphoraId
    secret: str = Field(min_length=43, max_length=43, repr=False)
    """256 bits, base64url without padding."""

    def encode(self) -> str:
        """As one word."""
        return f"{TOKEN_PREFIX}." + base64.urlsafe_b64encode(self.model_dump_json().encode()).decode().rstrip("=")

    @classmethod
    def decode(cls, word: str) -> Self:
        """Raises ConductorRefused, without repeating any of it, if this is no token."""
        prefix, _, body = word.strip().partition(".")
        try:
            content = base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)) if prefix == TOKEN_PREFIX else b""
            return cls.model_validate_json(content)
        except ValueError:
            raise ConductorRefused("This is not an enrolment token.") from None


def new_secret() -> str:
    """256 random bits, base64url."""
    return base64.urlsafe_b64encode(secrets.token_bytes(SECRET_BYTES)).decode().rstrip("=")


def fingerprints(bundle_pem: str) -> list[str]:
    """Of each certificate: SHA-256 of its DER form, in lower-case hexadecimal. Raises ConductorRefused."""
    try:
        certificates = x509.load_pem_x509_certificates(bundle_pem.encode())
    except ValueError as error:
        raise ConductorRefused("The conductor did not send authorities' certificates.") from error
    return [one.fingerprint(SHA256()).hex() for one in certificates]


def key_fingerprint(key: bytes) -> str:
    """What may be said of a heartbeat key."""
    return hashlib.sha256(b"heartbeat key\n" + key).hexdigest()


def hash_of(secret: str) -> str:
    """What is stored of a token's secret. It has 256 random bits, so a plain hash is not guessable."""
    return hashlib.sha256(secret.encode()).hexdigest()


class HostFacts(Body):
    """What a host says of itself."""

    name: str = Field(min_length=1, max_length=255)
    agent_url: str = Field(pattern=r"^https://[^\s]{1,240}$")
    capacity: int = Field(ge=0, le=100_000)
    labels: dict[str, str] = {}
    bindable_from: int = Field(ge=1, le=65536)
    agent_version: str = Field(max_length=64)
    haproxy_version: str = Field(max_length=64)
    trusts: list[Annotated[str, Field(max_length=64)]] = Field(default=[], max_length=16)
    """Fingerprints of the authorities that it trusts."""
    heartbeat_key: str = Field(default="", max_length=64)
    """Fingerprint of the key with which it signs its reports (`key_fingerprint`)."""
    attachments: list[Annotated[str, Field(max_length=16)]] = Field(default=[], max_length=16)
    """Of subnets: how amphorae here can be connected to them."""
    uplinks: list[Annotated[str, Field(max_length=64)]] = Field(default=[], max_length=64)
    """Names of the physical networks that it is on."""
    protocols: list[Annotated[str, Field(max_length=16)]] = Field(default=[], max_length=16)
    """Of datagrams, which amphorae in namespaces here can carry."""
    addresses: list[Annotated[str, Field(max_length=64)]] = Field(default=[], max_length=64)
    """Its own, loopback and link-local apart."""


class Enrolment(Body):
    """POST /1/enrolments: a new host, without a certificate yet."""

    token_id: str = AmphoraId
    secret: str = Field(min_length=43, max_length=43, repr=False)
    csr_pem: str = Field(max_length=8192)
    host: HostFacts


class Enrolled(Body):
    """The answer (201)."""

    host_id: str = AmphoraId
    certificate_pem: str
    ca_pem: str
    heartbeat_key: str = Field(repr=False)
    """Base64 of the key with which the host's reports are signed."""
    health_addresses: list[str]
    """`ip:port` of whoever takes reports (UDP)."""
    report_interval: float = Field(gt=0)
    """Seconds."""
    snapshot_interval: float = Field(gt=0)
    """Seconds."""


class Refreshed(Body):
    """The answer to PUT /1/hosts/{id}: what may have changed since enrolment."""

    health_addresses: list[str]
    report_interval: float = Field(gt=0)
    snapshot_interval: float = Field(gt=0)
    ca_pem: str = ""
    """Certificates of all authorities that are to be trusted; empty: as before."""
    renew: bool = False
    """The host shall renew its certificate now, whenever it ends."""
    heartbeat_key: str = Field(default="", repr=False)
    """Base64 of the key with which reports are to be signed from now on; empty: as before."""


class CertificateRequest(Body):
    """POST /1/hosts/{id}/certificate."""

    csr_pem: str = Field(max_length=8192)


class LateRequest(Body):
    """POST /1/hosts/{id}/late-certificate: from a host whose certificate has ended, which therefore shows none."""

    certificate_pem: str = Field(max_length=8192)
    """The one that has ended."""
    csr_pem: str = Field(max_length=8192)
    proof: str = Field(max_length=256)
    """Base64 of an ECDSA signature (SHA-256) of the ended certificate's key on "caryatid renewal\n" and `csr_pem`.
    Whoever repeats it gets a certificate for a key that he does not have."""


class NewCertificate(Body):
    """The answer (201)."""

    certificate_pem: str
    ca_pem: str
    """Certificates of all authorities that are to be trusted."""


class Problem(Body):
    """The body of every refusal."""

    reason: str


class ConductorClient:
    """Talks to a conductor. The context decides whom we trust and who we are; the server must be a controller."""

    def __init__(self, url: str, context: ssl.SSLContext) -> None:
        self._http = httpx2.AsyncClient(
            base_url=f"{url.rstrip('/')}/{VERSION}", verify=context, timeout=TIMEOUT, trust_env=False
        )

    async def close(self) -> None:
        """Close all connections."""
        await self._http.aclose()

    async def enrol(self, enrolment: Enrolment) -> Enrolled:
        """Exchange a token for an identity. Raises ConductorError."""
        answer = await self._call("POST", "/enrolments", enrolment)
        return _read(Enrolled, answer)

    async def refresh(self, host_id: str, facts: HostFacts) -> Refreshed:
        """Tell where this host is now and what it runs. Raises ConductorError."""
        return _read(Refreshed, await self._call("PUT", f"/hosts/{host_id}", facts))

    async def renew(self, host_id: str, csr_pem: str) -> NewCertificate:
        """A certificate for a new key. Raises ConductorError."""
        body = CertificateRequest(csr_pem=csr_pem)
        return _read(NewCertificate, await self._call("POST", f"/hosts/{host_id}/certificate", body))

    async def renew_late(self, host_id: str, wanted: LateRequest) -> NewCertificate:
        """A certificate for a new key, after the old one has ended. Raises ConductorError."""
        return _read(NewCertificate, await self._call("POST", f"/hosts/{host_id}/late-certificate", wanted))

    async def _call(self, method: str, path: str, body: Body) -> httpx2.Response:
        try:
            answer = await self._http.request(
                method,
                path,
                content=body.model_dump_json().encode(),
                headers={"Content-Type": "application/json"},
                extensions={"sni_hostname": CONDUCTOR_NAME},
            )
        except (httpx2.TransportError, OSError) as error:
            raise ConductorUnreachable(f"The conductor cannot be reached: {error or type(error).__name__}.") from error
        if answer.is_success:
            return answer
        reason = reason_of(answer)
        if answer.is_server_error or answer.status_code == HTTPStatus.TOO_MANY_REQUESTS:
            raise ConductorUnreachable(reason)
        raise (HostUnknown if answer.status_code == HTTPStatus.NOT_FOUND else ConductorRefused)(reason)


def _read(kind: type[AnswerT], answer: httpx2.Response) -> AnswerT:
    try:
        return kind.model_validate_json(answer.content)
    except ValidationError:
        raise ConductorRefused(f"The conductor's answer is not a {kind.__name__}.") from None


def reason_of(answer: httpx2.Response) -> str:
    """What a conductor says of why it did not do so."""
    try:
        body: Any = orjson.loads(answer.content)
        return f"The conductor answered {answer.status_code}: {Problem.model_validate(body).reason}"
    except ValueError:
        return f"The conductor answered {answer.status_code}."
