# SPDX-License-Identifier: Apache-2.0
"""Who this host is: its key, certificate and authority, from enrolment on; all of it in 0600 files."""

import asyncio
import base64
import contextlib
import ssl
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import structlog
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from pydantic import BaseModel, ConfigDict

from caryatid.agent.files import write_atomically
from caryatid.agent.settings import AgentSettings
from caryatid.errors import CaryatidError
from caryatid.wire.conductor import (
    ConductorClient,
    ConductorError,
    ConductorRefused,
    EnrolmentToken,
    HostFacts,
    Refreshed,
    enrol,
)
from caryatid.wire.tls import client_context, server_context, use_credentials

ENROL_BACKOFF_S = (0.2, 0.4, 0.8, 1.6, 3.2, 5.0)
RENEWAL_CHECK_S = 3600.0
TOKEN_BYTES_MAX = 8192

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
    """What others know this host by. `server` and `client` take a renewed certificate without a restart."""

    def __init__(self, paths: Paths, enrolment: Enrolment) -> None:
        self._paths = paths
        self.enrolment = enrolment
        credentials = paths.credentials.read_bytes()
        self.server: ssl.SSLContext = server_context(enrolment.ca_pem, credentials)
        self.client: ssl.SSLContext = client_context(enrolment.ca_pem, credentials)

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

    async def refresh(self, facts: HostFacts) -> Refreshed:
        """Tell the conductor where we are. Raises ConductorError."""
        client = ConductorClient(self.enrolment.conductor_url, self.client)
        try:
            refreshed = await client.refresh(self.host_id, facts)
        finally:
            await client.close()
        if any(getattr(self.enrolment, name) != value for name, value in refreshed.model_dump().items()):
            self._keep(self.enrolment.model_copy(update=refreshed.model_dump()))
        return refreshed

    def renewal_due(self, now: datetime) -> bool:
        """Less than a third of the certificate's life is left."""
        certificate = x509.load_pem_x509_certificate(self._paths.credentials.read_bytes())
        begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        return end - now < (end - begin) / 3

    async def renew(self) -> None:
        """Get a certificate for a new key; connections from now on use it. Raises ConductorError."""
        key = new_key()
        client = ConductorClient(self.enrolment.conductor_url, self.client)
        try:
            new = await client.renew(self.host_id, request(key))
        finally:
            await client.close()
        credentials = (new.certificate_pem + key).encode()
        write_atomically(self._paths.credentials, credentials, durable=True)
        if new.ca_pem.strip() != self.enrolment.ca_pem.strip():
            self._keep(self.enrolment.model_copy(update={"ca_pem": new.ca_pem}))
            self.server.load_verify_locations(cadata=new.ca_pem)
        use_credentials(self.server, credentials)
        self.client = client_context(self.enrolment.ca_pem, credentials)

    async def keep_renewed(self) -> None:
        """Renew in time, for ever. Run as a task."""
        while True:
            await asyncio.sleep(RENEWAL_CHECK_S)
            try:
                if self.renewal_due(datetime.now(UTC)):
                    await self.renew()
                    log.info("certificate renewed", host=self.host_id)
            except ConductorError as error:
                log.warning("certificate not renewed", reason=str(error))

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
    return Identity(paths, enrolment) if paths.credentials.exists() else None


async def obtain(settings: AgentSettings, facts: HostFacts, stop: asyncio.Event) -> Identity:
    """Enrol with the token; try again while the conductor cannot be reached. Raises NotEnrolled, ConductorRefused."""
    token = await asyncio.to_thread(read_token, settings)
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


def read_token(settings: AgentSettings) -> EnrolmentToken:
    """Raises NotEnrolled if there is none to read, ConductorRefused if it is none."""
    if settings.token_file is None:
        raise NotEnrolled("This host is not enrolled; give the file that holds its enrolment token.")
    if str(settings.token_file) == "-":
        return EnrolmentToken.decode(sys.stdin.readline(TOKEN_BYTES_MAX))
    try:
        with settings.token_file.open() as file:
            return EnrolmentToken.decode(file.read(TOKEN_BYTES_MAX))
    except OSError as error:
        raise NotEnrolled(f"The enrolment token cannot be read: {error.strerror}.") from error


def new_key() -> str:
    """A private key (EC P-256) in PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    return key.private_bytes(encoding, form, serialization.NoEncryption()).decode()


def request(key_pem: str) -> str:
    """A signing request. It names nobody: who we are is the authority's to say."""
    key = serialization.load_pem_private_key(key_pem.encode(), None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TypeError("not an elliptic curve key")
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()
