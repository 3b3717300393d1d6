# SPDX-License-Identifier: Apache-2.0
"""What hosts are given when they come: a place among us, certificates, keys. The conductor's requests."""

import base64
import secrets
from dataclasses import replace as changed
from datetime import UTC, datetime, timedelta
from typing import Any, cast
from uuid import uuid4

from caryatid.errors import Forbidden, NotFound, Unauthorized
from caryatid.model import HOST
from caryatid.model.consequences import replace
from caryatid.model.event import system
from caryatid.model.host import Host
from caryatid.model.policy import Caller
from caryatid.plan import certificates
from caryatid.plan.certificates import CertificateRefused, Identity
from caryatid.plan.trust import Trust
from caryatid.store import clock, events, hosts, rows, work
from caryatid.store.database import Tx
from caryatid.store.hosts import Credential
from caryatid.wire.conductor import (
    RENEWAL,
    CertificateRequest,
    Enrolled,
    Enrolment,
    HostFacts,
    LateRequest,
    NewCertificate,
    Refreshed,
    key_fingerprint,
)

from .authority import Registry, read_trust, trust_of
from .ganeti.arrival import arrived
from .receipt import moment

KEY_BYTES = 32


def enrol(registry: Registry, wanted: Enrolment) -> Enrolled:
    """A new host, for a token that has not been used. One for the machine of an amphora lets in nobody else, and only
    while that is waited for; it is used up in any case. Raises Unauthorized, Forbidden."""
    host_id, key, now = str(uuid4()), secrets.token_bytes(KEY_BYTES), datetime.now(UTC)
    with registry.database.transaction() as tx:
        trusted = read_trust(registry, tx)
        certificate = _certificate(registry, trusted, wanted.csr_pem, host_id, now)
        opened = hosts.redeem(tx, wanted.token_id, wanted.secret.encode())
        if opened is None:
            raise Unauthorized("This token is not known, has been used, or has expired.")
        credential = Credential(
            host_id,
            registry.master.seal(host_id, key),
            certificates.fingerprint(certificate),
            issuer=trusted.issuer,
            trusts=sorted(trusted.fingerprints),
            key_made_at=now.timestamp(),
        )
        welcome = _let_in(tx, opened.amphora_id, _host(host_id, wanted.host, certificate), credential)
    if not welcome:
        raise Forbidden(f"Nobody waits for the machine of amphora {opened.amphora_id} (any more).")
    return Enrolled(
        host_id=host_id,
        certificate_pem=certificate.decode(),
        ca_pem=trusted.bundle,
        heartbeat_key=base64.b64encode(key).decode(),
        health_addresses=registry.settings.receivers,
        report_interval=registry.settings.report_interval_s,
        snapshot_interval=registry.settings.snapshot_interval_s,
    )


def _let_in(tx: Tx, amphora_id: str | None, host: Host, credential: Credential) -> bool:
    """The host is one of ours, and whoever may have waited for it looks; False: it is a machine that nobody waits
    for."""
    if amphora_id is not None and not arrived(tx, amphora_id, host.id, clock.now(tx)):
        return False
    rows.insert(tx, HOST, [host])
    hosts.write_credential(tx, credential)
    events.append(tx, "enrol", HOST.name, host.id, by=_agent(host.id), project_id=None, root_id=None)
    if amphora_id is None:
        work.retry_all(tx)  # whatever could not be put in effect, perhaps for want of a host
    return True


def refresh(registry: Registry, host_id: str, facts: HostFacts, shown: bytes, now: datetime) -> Refreshed:
    """The host is where it says, with the certificate that it has `shown` (PEM), and whatever waited for it is tried
    again. It is told whom to trust, and whether to renew its certificate or to change its heartbeat key."""
    with registry.database.transaction() as tx:
        hosts.lock(tx)  # so that nobody revokes it between what is read and what is written
        host, credential = _known(tx, host_id)
        trusted = read_trust(registry, tx)
        host = replace(host, **_told(facts), certificate_expiration=_ends(shown))
        rows.change(tx, HOST, host, at=moment())
        noted = _with_key(registry, _noted(credential, trusted, facts, shown), facts, now)
        if noted != credential:
            hosts.write_credential(tx, noted)
        work.retry_all(tx)
    next_key = registry.master.unseal(host_id, noted.next_key) if noted.next_key else b""
    return Refreshed(
        health_addresses=registry.settings.receivers,
        report_interval=registry.settings.report_interval_s,
        snapshot_interval=registry.settings.snapshot_interval_s,
        ca_pem=trusted.bundle,
        renew=trusted.phase == "replacing" and noted.issuer != trusted.issuer,
        heartbeat_key=base64.b64encode(next_key).decode(),
    )


def renew(registry: Registry, host_id: str, wanted: CertificateRequest, now: datetime) -> NewCertificate:
    """A new certificate for the same host. The old one counts as its own until it has shown the new one."""
    with registry.database.transaction() as tx:
        hosts.lock(tx)  # so here
        _, credential = _known(tx, host_id)
        trusted = read_trust(registry, tx)
        certificate = _certificate(registry, trusted, wanted.csr_pem, host_id, now)
        hosts.write_credential(tx, changed(credential, pending_serial=certificates.fingerprint(certificate)))
    return NewCertificate(certificate_pem=certificate.decode(), ca_pem=trusted.bundle)


def renew_late(registry: Registry, host_id: str, wanted: LateRequest, now: datetime) -> NewCertificate:
    """A new certificate for a host whose own has ended while it was away, if it proves that it has the key, and the
    certificate is the last one of it that we know. Raises Forbidden."""
    old = wanted.certificate_pem.encode()
    try:
        check_late(trust_of(registry), host_id, wanted, now, registry.settings.certificate_grace_days)
    except (CertificateRefused, ValueError) as error:
        raise Forbidden(str(error)) from error
    with registry.database.read() as tx:
        _, credential = _known(tx, host_id)
    if certificates.fingerprint(old) not in (credential.certificate_serial, credential.pending_serial):
        raise Forbidden("This host has had another certificate since.")
    with registry.database.transaction() as tx:
        events.append(tx, "renew_late", HOST.name, host_id, by=_agent(host_id), project_id=None, root_id=None)
    return renew(registry, host_id, CertificateRequest(csr_pem=wanted.csr_pem), now)


def _agent(host_id: str) -> Caller:
    """Who speaks for the host."""
    return system(f"agent:{host_id}")


def check_late(trusted: Trust, host_id: str, wanted: LateRequest, now: datetime, grace_days: int) -> None:
    """Raises CertificateRefused unless the certificate is ours, of this host, and ended at most `grace_days` ago, and
    the request is signed with its key; ValueError for what is no certificate."""
    old = wanted.certificate_pem.encode()
    if certificates.issuer_of(old, trusted.authorities) is None:
        raise CertificateRefused("The certificate is not of this authority.")
    if certificates.identity_of(old) != Identity(certificates.HOST, host_id):
        raise CertificateRefused("The certificate is not this host's.")
    if now > certificates.validity(old)[1] + timedelta(days=grace_days):
        raise CertificateRefused(f"The certificate ended more than {grace_days} days ago; enrol the host anew.")
    certificates.check_proof(old, RENEWAL + wanted.csr_pem.encode(), base64.b64decode(wanted.proof))


def _noted(credential: Credential, trusted: Trust, facts: HostFacts, shown: bytes) -> Credential:
    """What is known of the host, after it has shown this certificate and told whom it trusts."""
    serial = certificates.fingerprint(shown)
    issuer = certificates.issuer_of(shown, trusted.authorities)
    return changed(
        credential,
        certificate_serial=serial,
        pending_serial=None if credential.pending_serial == serial else credential.pending_serial,
        issuer=certificates.fingerprint(issuer.certificate_pem) if issuer else None,
        trusts=sorted(facts.trusts),
    )


def _with_key(registry: Registry, credential: Credential, facts: HostFacts, now: datetime) -> Credential:
    """The next heartbeat key is there when the old one has its age; when the host has it, the old one is no more."""
    id_, aged = credential.host_id, now.timestamp() - registry.settings.heartbeat_key_days * 86400
    if credential.next_key is not None:
        if facts.heartbeat_key != key_fingerprint(registry.master.unseal(id_, credential.next_key)):
            return credential
        return changed(credential, heartbeat_key=credential.next_key, next_key=None, key_made_at=now.timestamp())
    if facts.heartbeat_key and (credential.key_made_at or 0) < aged:  # who does not name its key cannot change it
        return changed(credential, next_key=registry.master.seal(id_, secrets.token_bytes(KEY_BYTES)))
    return credential


def _certificate(registry: Registry, trusted: Trust, csr_pem: str, host_id: str, now: datetime) -> bytes:
    identity, days = Identity(certificates.HOST, host_id), registry.settings.certificate_days
    try:
        return certificates.sign(trusted.issuing, csr_pem.encode(), identity, now, days)
    except CertificateRefused as error:
        raise Forbidden(str(error)) from error


def _host(host_id: str, facts: HostFacts, certificate: bytes) -> Host:
    at = moment()
    return Host(
        id=host_id,
        created_at=at,
        updated_at=at,
        capacity=facts.capacity,
        labels=facts.labels,
        certificate_expiration=_ends(certificate),
        **_told(facts),
    )


def _told(facts: HostFacts) -> dict[str, Any]:
    """What a host says of itself each time: its attributes of the same names, but for those that are the operator's."""
    return {name: value for name, value in facts if name in HOST.attributes and name not in HOST.changeable}


def _ends(certificate: bytes) -> str:
    return certificates.validity(certificate)[1].replace(tzinfo=None).isoformat(timespec="microseconds")


def _known(tx: Tx, host_id: str) -> tuple[Host, Credential]:
    """Raises NotFound."""
    document = rows.get(tx, HOST, host_id)
    credential = hosts.credential(tx, host_id)
    if document is None or credential is None or credential.revoked:
        raise NotFound(HOST.title, host_id)
    return cast(Host, HOST.load(document)), credential
