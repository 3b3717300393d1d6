# SPDX-License-Identifier: Apache-2.0
"""Who may take part: the certification authority, tokens for new hosts, and what hosts are given.

The authority's key and hosts' heartbeat keys are in the database, encrypted under a master key that is in a file on the
controllers only. A controller's own key is made anew at each start and is never on a disk.
"""

import base64
import os
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import cast
from uuid import uuid4

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from caryatid.config import Settings
from caryatid.errors import CaryatidError, Forbidden, NotFound, Unauthorized
from caryatid.model import HOST
from caryatid.model.consequences import replace
from caryatid.model.host import Host
from caryatid.plan import certificates
from caryatid.plan.certificates import CONTROLLER, Authority, Identity
from caryatid.store import events, hosts, rows, work
from caryatid.store.database import Database, Tx
from caryatid.store.hosts import Credential
from caryatid.wire.conductor import (
    CertificateRequest,
    Enrolled,
    Enrolment,
    EnrolmentToken,
    HostFacts,
    NewCertificate,
    Refreshed,
    new_secret,
)

from .receipt import moment

MASTER_BYTES = 32
NONCE_BYTES = 12
HEARTBEAT_BYTES = 32
TOKEN_LIFE_S = 3600.0
AUTHORITY = "authority"
END_OF_CERTIFICATE = b"-----END CERTIFICATE-----\n"


@dataclass(frozen=True)
class Registry:
    """What a controller needs to let hosts in."""

    database: Database
    settings: Settings
    master: bytes
    authority: Authority


def open_registry(database: Database, settings: Settings) -> Registry:
    """The registry of this installation. Master key and authority are made at the first start.

    Raises CaryatidError when the master key is not the one that the database was written with.
    """
    master = _master_key(settings.state_dir / "master.key")
    with database.transaction() as tx:
        sealed = hosts.setting(tx, AUTHORITY)
        if sealed is None:
            made = certificates.new_authority("Caryatid", datetime.now(UTC))
            sealed = hosts.keep_setting(tx, AUTHORITY, seal(master, AUTHORITY, made.certificate_pem + made.key_pem))
    pem = unseal(master, AUTHORITY, sealed)
    end = pem.index(END_OF_CERTIFICATE) + len(END_OF_CERTIFICATE)
    return Registry(database, settings, master, Authority(pem[:end], pem[end:]))


def controller_identity(registry: Registry, name: str) -> tuple[bytes, bytes]:
    """A certificate with role controller, and its key; both PEM."""
    key = certificates.new_key()
    identity = Identity(CONTROLLER, name)
    now = datetime.now(UTC)
    days = registry.settings.certificate_days
    return certificates.sign(registry.authority, certificates.request(key), identity, now, days), key


def new_token(registry: Registry) -> EnrolmentToken:
    """A token with which one host can enrol, once, within the hour. Only a hash of its secret is kept."""
    token = EnrolmentToken(
        url=f"https://{registry.settings.conductor_listen}",
        authority=certificates.fingerprint(registry.authority.certificate_pem),
        id=str(uuid4()),
        secret=new_secret(),
    )
    with registry.database.transaction() as tx:
        hosts.open_enrolment(tx, token.id, token.secret.encode(), valid_s=TOKEN_LIFE_S)
    return token


def enrol(registry: Registry, wanted: Enrolment) -> Enrolled:
    """A new host, for a token that has not been used. Raises Unauthorized."""
    host_id = str(uuid4())
    key = secrets.token_bytes(HEARTBEAT_BYTES)
    certificate = _certificate(registry, wanted.csr_pem, host_id)
    at = moment()
    with registry.database.transaction() as tx:
        if not hosts.redeem(tx, wanted.token_id, wanted.secret.encode()):
            raise Unauthorized("This token is not known, has been used, or has expired.")
        rows.insert(tx, HOST, [_host(host_id, wanted.host, certificate, at)])
        serial = certificates.fingerprint(certificate)
        hosts.write_credential(tx, Credential(host_id, seal(registry.master, host_id, key), serial))
        events.append(tx, "enrol", HOST.name, host_id, project_id=None, root_id=None)
        _look_again(tx)
    return Enrolled(
        host_id=host_id,
        certificate_pem=certificate.decode(),
        ca_pem=registry.authority.certificate_pem.decode(),
        heartbeat_key=base64.b64encode(key).decode(),
        health_addresses=[registry.settings.health_listen],
        report_interval=registry.settings.report_interval_s,
        snapshot_interval=registry.settings.snapshot_interval_s,
    )


def refresh(registry: Registry, host_id: str, facts: HostFacts) -> Refreshed:
    """The host is where it says, and whatever waited for it is tried again."""
    at = moment()
    with registry.database.transaction() as tx:
        host = _known(tx, host_id)
        host = replace(
            host,
            name=facts.name,
            agent_url=facts.agent_url,
            agent_version=facts.agent_version,
            haproxy_version=facts.haproxy_version,
            bindable_from=facts.bindable_from,
        )
        rows.change(tx, HOST, host, at=at)
        _look_again(tx)
    return Refreshed(
        health_addresses=[registry.settings.health_listen],
        report_interval=registry.settings.report_interval_s,
        snapshot_interval=registry.settings.snapshot_interval_s,
    )


def renew(registry: Registry, host_id: str, wanted: CertificateRequest) -> NewCertificate:
    """A new certificate for the same host."""
    certificate = _certificate(registry, wanted.csr_pem, host_id)
    with registry.database.transaction() as tx:
        host = replace(_known(tx, host_id), certificate_expiration=_ends(certificate))
        rows.change(tx, HOST, host, at=moment())
    return NewCertificate(certificate_pem=certificate.decode(), ca_pem=registry.authority.certificate_pem.decode())


def is_known(registry: Registry, host_id: str) -> bool:
    """Whether the host has enrolled with this installation, and may still take part."""
    with registry.database.read() as tx:
        credential = hosts.credential(tx, host_id)
        return credential is not None and not credential.revoked and rows.get(tx, HOST, host_id) is not None


def heartbeat_key(registry: Registry, host_id: str) -> bytes | None:
    """The key with which the host signs its reports; None for a host that is not (or no longer) one of ours."""
    with registry.database.read() as tx:
        known = hosts.credential(tx, host_id)
    return unseal(registry.master, host_id, known.heartbeat_key) if known and not known.revoked else None


def seal(master: bytes, name: str, plain: bytes) -> bytes:
    """`plain`, encrypted (AES-256-GCM) and bound to `name`."""
    nonce = os.urandom(NONCE_BYTES)
    return nonce + AESGCM(master).encrypt(nonce, plain, name.encode())


def unseal(master: bytes, name: str, sealed: bytes) -> bytes:
    """What `seal` was given. Raises CaryatidError with another master key or name."""
    try:
        return AESGCM(master).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], name.encode())
    except Exception as error:
        raise CaryatidError(
            "The master key is not the one that this database was written with: restore `master.key` from a backup."
        ) from error


def _master_key(path: Path) -> bytes:
    try:
        key = path.read_bytes()
    except FileNotFoundError:
        key = os.urandom(MASTER_BYTES)
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(key)
            file.flush()
            os.fsync(file.fileno())
    if len(key) != MASTER_BYTES:
        raise CaryatidError(f"{path} is not a master key: it has {len(key)} bytes instead of {MASTER_BYTES}.")
    return key


def _certificate(registry: Registry, csr_pem: str, host_id: str) -> bytes:
    try:
        return certificates.sign(
            registry.authority,
            csr_pem.encode(),
            Identity(certificates.HOST, host_id),
            datetime.now(UTC),
            registry.settings.certificate_days,
        )
    except certificates.CertificateRefused as error:
        raise Forbidden(str(error)) from error


def _host(host_id: str, facts: HostFacts, certificate: bytes, at: str) -> Host:
    return Host(
        id=host_id,
        created_at=at,
        updated_at=at,
        name=facts.name,
        agent_url=facts.agent_url,
        agent_version=facts.agent_version,
        haproxy_version=facts.haproxy_version,
        bindable_from=facts.bindable_from,
        capacity=facts.capacity,
        labels=facts.labels,
        certificate_expiration=_ends(certificate),
    )


def _ends(certificate: bytes) -> str:
    return certificates.validity(certificate)[1].replace(tzinfo=None).isoformat(timespec="microseconds")


def _known(tx: Tx, host_id: str) -> Host:
    document = rows.get(tx, HOST, host_id)
    credential = hosts.credential(tx, host_id)
    if document is None or credential is None or credential.revoked:
        raise NotFound(HOST.title, host_id)
    return cast(Host, HOST.load(document))


def _look_again(tx: Tx) -> None:
    """Whatever could not be put in effect, perhaps for want of a host, is tried again now."""
    work.retry_all(tx)
