# SPDX-License-Identifier: Apache-2.0
"""Who this host is: its key, certificate and authority, from enrolment on; all of it in 0600 files."""

import asyncio
import base64
import contextlib
import ssl
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from urllib.parse import urlsplit

import structlog
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from pydantic import BaseModel, ConfigDict

from caryatid.agent.settings import AgentSettings
from caryatid.errors import CaryatidError
from caryatid.places import write_atomically
from caryatid.wire.conductor import (
    RENEWAL,
    ConductorClient,
    ConductorError,
    ConductorRefused,
    EnrolmentToken,
    HostFacts,
    LateRequest,
    NewCertificate,
    Refreshed,
    fingerprints,
    key_fingerprint,
)
from caryatid.wire.enrolment import enrol, new_key, request, token_in
from caryatid.wire.tls import client_context, following, renewal_due, server_context

ENROL_BACKOFF_S = (0.2, 0.4, 0.8, 1.6, 3.2, 5.0)

log = structlog.get_logger()


class NotEnrolled(CaryatidError):
    """The host has no identity and no token to get one."""


class Enrolment(BaseModel):
    """What is kept of an enrolment, beside key and certificate."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    host_id: str
    conductor_url: str
    ca_pem: str
    heartbeat_key: str
    health_addresses: list[str]
    report_interval: float
    snapshot_interval: float
    boot_id: int = 0


@dataclass(frozen=True)
class Paths:
    """Where it is kept."""

    directory: Path

    @property
    def enrolment(self) -> Path:
        return self.directory / "enrolment.json"

    @property
    def credentials(self) -> Path:
        """Certificate and key in one file, so that they are replaced together."""
        return self.directory / "host.pem"


class Identity:
    """What others know this host by. `server` and `client` follow each change without a restart."""

    def __init__(self, paths: Paths, enrolment: Enrolment) -> None:
        self._paths = paths
        self.enrolment = enrolment
        self.signing_key = self.heartbeat_key
        """Reports are signed with it; behind `heartbeat_key` for a moment when that is new."""
        self._show(paths.credentials.read_bytes())
        self.server: ssl.SSLContext = following(lambda: self._server)

    def _show(self, credentials: bytes) -> None:
        self._credentials = credentials
        self._server = server_context(self.enrolment.ca_pem, credentials)
        self.client: ssl.SSLContext = client_context(self.enrolment.ca_pem, credentials)

    @property
    def host_id(self) -> str:
        return self.enrolment.host_id

    @property
    def heartbeat_key(self) -> bytes:
        return base64.b64decode(self.enrolment.heartbeat_key)

    def new_boot(self) -> int:
        """A boot id higher than every one before, also when the clock was put back. Durable when this returns."""
        boot_id = max(time.time_ns() // 1_000_000, self.enrolment.boot_id + 1)
        self._keep(self.enrolment.model_copy(update={"boot_id": boot_id}))
        return boot_id

    def renewal_due(self, now: datetime) -> bool:
        """Much of the certificate's life is over."""
        return renewal_due(self._credentials, now)

    async def refresh(self, facts: HostFacts, now: datetime) -> Refreshed:
        """Tell the conductor where we are and do what it says: whom to trust, which key to sign with, whether to renew.

        A certificate that is due is renewed first. Raises ConductorError.
        """
        if self.renewal_due(now):
            await self.renew(facts, now)
        trusted = self.enrolment.ca_pem
        told = await self._refresh(facts, self.client)
        if self.enrolment.ca_pem != trusted:  # a rotation waits for our word that we trust these
            told = await self._refresh(facts, self.client)
        if told.renew:
            await self.renew(facts, now)
        return told

    async def renew(self, facts: HostFacts, now: datetime) -> None:
        """Get a certificate for a new key; connections from now on use it. If it does not work, the old one stays.

        Raises ConductorError.
        """
        key = new_key()
        new = await self._late(key) if self._ended(now) else await self._new(key)
        credentials = (new.certificate_pem + key).encode()
        self._trust(new.ca_pem)
        await self._refresh(facts, client_context(self.enrolment.ca_pem, credentials))
        write_atomically(self._paths.credentials, credentials, durable=True)
        self._show(credentials)
        log.info("certificate renewed", host=self.host_id)

    async def _refresh(self, facts: HostFacts, context: ssl.SSLContext) -> Refreshed:
        """To do so with a new certificate proves that it works."""
        said = {"trusts": fingerprints(self.enrolment.ca_pem), "heartbeat_key": key_fingerprint(self.signing_key)}
        async with self._conductor(context) as client:
            told = await client.refresh(self.host_id, facts.model_copy(update=said))
        kept = told.model_dump(exclude={"renew", "ca_pem", "heartbeat_key"})
        if told.heartbeat_key:
            kept["heartbeat_key"] = told.heartbeat_key
        if any(getattr(self.enrolment, name) != value for name, value in kept.items()):
            self._keep(self.enrolment.model_copy(update=kept))
        self._trust(told.ca_pem)
        return told

    async def _new(self, key: str) -> NewCertificate:
        async with self._conductor(self.client) as client:
            return await client.renew(self.host_id, request(key))

    async def _late(self, key: str) -> NewCertificate:
        """Our certificate has ended, so it cannot be shown; what can be shown is that we have its key."""
        wanted = request(key)
        own = serialization.load_pem_private_key(self._credentials, None)
        if not isinstance(own, ec.EllipticCurvePrivateKey):
            raise TypeError("not an elliptic curve key")
        proof = own.sign(RENEWAL + wanted.encode(), ec.ECDSA(hashes.SHA256()))
        certificate = x509.load_pem_x509_certificate(self._credentials).public_bytes(serialization.Encoding.PEM)
        late = LateRequest(certificate_pem=certificate.decode(), csr_pem=wanted, proof=base64.b64encode(proof).decode())
        async with self._conductor(client_context(self.enrolment.ca_pem)) as client:
            return await client.renew_late(self.host_id, late)

    def _ended(self, now: datetime) -> bool:
        return now >= x509.load_pem_x509_certificate(self._credentials).not_valid_after_utc

    @contextlib.asynccontextmanager
    async def _conductor(self, context: ssl.SSLContext) -> AsyncIterator[ConductorClient]:
        client = ConductorClient(self.enrolment.conductor_url, context)
        try:
            yield client
        finally:
            await client.close()

    def _trust(self, ca_pem: str) -> None:
        """These authorities count from now on, and no others. Empty: as before."""
        if ca_pem and ca_pem.strip() != self.enrolment.ca_pem.strip():
            fingerprints(ca_pem)  # raises before anything of it is kept
            self._keep(self.enrolment.model_copy(update={"ca_pem": ca_pem}))
            self._show(self._credentials)
            log.info("authorities changed", host=self.host_id, trusted=len(fingerprints(ca_pem)))

    def _keep(self, enrolment: Enrolment) -> None:
        self.enrolment = enrolment
        write_atomically(self._paths.enrolment, enrolment.model_dump_json().encode(), durable=True)


def load(settings: AgentSettings) -> Identity | None:
    """The identity this host has; None if it has not enrolled."""
    paths = Paths(settings.state_dir)
    try:
        enrolment = Enrolment.model_validate_json(paths.enrolment.read_bytes())
    except (OSError, ValueError):
        return None
    if settings.join:  # it has moved; whoever answers there must be a controller of our authority
        enrolment = enrolment.model_copy(update={"conductor_url": settings.join})
    return Identity(paths, enrolment) if paths.credentials.exists() else None


async def obtain(settings: AgentSettings, facts: HostFacts, stop: asyncio.Event) -> Identity:
    """Enrol with the token; try again while the conductor cannot be reached. Raises NotEnrolled, ConductorRefused."""
    token = await asyncio.to_thread(read_token, settings)
    if settings.join:
        token = token.model_copy(update={"url": settings.join})
    if why := out_of_reach(token.url, facts.agent_url):
        raise NotEnrolled(why)
    paths = Paths(settings.state_dir)
    key = new_key()
    attempt = 0
    while not stop.is_set():
        try:
            enrolled = await enrol(token, request(key), facts)
        except ConductorRefused:
            raise
        except ConductorError as error:
            log.warning("not enrolled yet", reason=str(error))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(ENROL_BACKOFF_S[min(attempt, len(ENROL_BACKOFF_S) - 1)]):
                    await stop.wait()
            attempt += 1
            continue
        write_atomically(paths.credentials, (enrolled.certificate_pem + key).encode(), durable=True)
        enrolment = Enrolment(conductor_url=token.url, **enrolled.model_dump())
        write_atomically(paths.enrolment, enrolment.model_dump_json().encode(), durable=True)
        log.info("enrolled", host=enrolment.host_id)
        return Identity(paths, enrolment)
    raise NotEnrolled("Stopped before the host was enrolled.")


def out_of_reach(conductor_url: str, agent_url: str) -> str:
    """Why a controller where the conductor is could not reach the agent; nothing, if it may."""
    there, here = (_address(url) for url in (conductor_url, agent_url))
    if there is not None and there.is_unspecified:
        return f"{conductor_url} is no address to go to: give the conductor's URL (--join)."
    if here is not None and here.is_unspecified:
        return f"The agent would say that it is at {agent_url}: tell its address (agent_advertise)."
    if here is not None and here.is_loopback and not (there is not None and there.is_loopback):
        return (
            f"The agent listens at {agent_url}, where the controllers of {conductor_url} cannot reach it: let it "
            "listen on an address of this machine (--listen), or tell another (agent_advertise)."
        )
    return ""


def _address(url: str) -> IPv4Address | IPv6Address | None:
    """The address that a URL names; None if it is a name of something else."""
    name = urlsplit(url).hostname or ""
    try:
        return ip_address("127.0.0.1" if name == "localhost" else name)
    except ValueError:
        return None


def read_token(settings: AgentSettings) -> EnrolmentToken:
    """Raises NotEnrolled if there is none to read, ConductorRefused if it is none."""
    if settings.token:
        return EnrolmentToken.decode(settings.token)
    if settings.token_file is None:
        raise NotEnrolled("This host is not enrolled; give the file that holds its enrolment token.")
    try:
        return token_in(settings.token_file)
    except OSError as error:
        raise NotEnrolled(
            f"This host is not enrolled, and {settings.token_file} cannot be read: {error.strerror}. `caryatid host "
            "token` on a controller makes an enrolment token; give its file (--token-file, - is standard input)."
        ) from error
