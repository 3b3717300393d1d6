# SPDX-License-Identifier: Apache-2.0
"""Enrolment: how a host becomes one of ours. Bodies, the token, and the client; version 1, under `/1`.

The token pins our authority, so a host trusts nothing before the authority's fingerprint matches, and the conductor
trusts nobody before the token's secret does. Afterwards both speak mutual TLS.
"""

import base64
import hashlib
import hmac
import secrets
import ssl
from http import HTTPStatus
from typing import Any, Self, TypeVar

import httpx2
import orjson
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from pydantic import Field, ValidationError

from caryatid.errors import CaryatidError
from caryatid.wire.agent import AmphoraId, Body
from caryatid.wire.tls import client_context

VERSION = 1
TOKEN_PREFIX = "cye1"  # noqa: S105 - names the format
SECRET_BYTES = 32
CONDUCTOR_NAME = "controller"
"""What a conductor's certificate must name: only controllers' certificates do."""
TIMEOUT = httpx2.Timeout(10.0, connect=3.0)
AUTHORITY_BYTES_MAX = 65536
AnswerT = TypeVar("AnswerT", bound=Body)


class ConductorError(CaryatidError):
    """The conductor did not do what was asked."""


class ConductorUnreachable(ConductorError):
    """No connection, or no answer in time; to be tried again."""


class ConductorRefused(ConductorError):
    """It said no, and will again."""


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


class CertificateRequest(Body):
    """POST /1/hosts/{id}/certificate."""

    csr_pem: str = Field(max_length=8192)


class NewCertificate(Body):
    """The answer (201)."""

    certificate_pem: str
    ca_pem: str


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
        reason = _reason(answer)
        if answer.is_server_error or answer.status_code == HTTPStatus.TOO_MANY_REQUESTS:
            raise ConductorUnreachable(reason)
        raise ConductorRefused(reason)


async def fetch_authority(url: str, fingerprint: str) -> str:
    """The authority's certificate (PEM), if and only if it is the pinned one.

    The connection itself is not to be trusted: nothing is sent over it, and what comes counts only when its SHA-256 is
    the fingerprint that the token holds. Raises ConductorError.
    """
    blind = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    blind.minimum_version = ssl.TLSVersion.TLSv1_3
    blind.check_hostname = False
    blind.verify_mode = ssl.CERT_NONE
    content = b""
    try:
        async with (
            httpx2.AsyncClient(verify=blind, timeout=TIMEOUT, trust_env=False) as http,
            http.stream("GET", f"{url.rstrip('/')}/{VERSION}/ca") as answer,
        ):
            async for chunk in answer.aiter_bytes():
                content += chunk
                if len(content) > AUTHORITY_BYTES_MAX:
                    raise ConductorRefused("What should be the authority's certificate is too long.")
    except (httpx2.TransportError, OSError) as error:
        raise ConductorUnreachable(f"The conductor cannot be reached: {error or type(error).__name__}.") from error
    try:
        certificate = x509.load_pem_x509_certificate(content)
    except ValueError as error:
        raise ConductorRefused("The conductor did not send an authority's certificate.") from error
    digest = hashlib.sha256(certificate.public_bytes(Encoding.DER)).hexdigest()
    if not hmac.compare_digest(digest, fingerprint):
        raise ConductorRefused("The conductor's authority is not the one that the token names. Nothing was sent to it.")
    return certificate.public_bytes(Encoding.PEM).decode()


async def enrol(token: EnrolmentToken, csr_pem: str, facts: HostFacts) -> Enrolled:
    """Become a host. The token's secret is sent only to a controller of the pinned authority. Raises ConductorError."""
    authority = await fetch_authority(token.url, token.authority)
    client = ConductorClient(token.url, client_context(authority))
    try:
        enrolment = Enrolment(token_id=token.id, secret=token.secret, csr_pem=csr_pem, host=facts)
        enrolled = await client.enrol(enrolment)
    finally:
        await client.close()
    if enrolled.ca_pem.strip() != authority.strip():
        raise ConductorRefused("The conductor answered with another authority than its own.")
    return enrolled


def _read(kind: type[AnswerT], answer: httpx2.Response) -> AnswerT:
    try:
        return kind.model_validate_json(answer.content)
    except ValidationError:
        raise ConductorRefused(f"The conductor's answer is not a {kind.__name__}.") from None


def _reason(answer: httpx2.Response) -> str:
    try:
        body: Any = orjson.loads(answer.content)
        return f"The conductor answered {answer.status_code}: {Problem.model_validate(body).reason}"
    except ValueError:
        return f"The conductor answered {answer.status_code}."
