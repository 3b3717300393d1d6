# SPDX-License-Identifier: Apache-2.0
"""How checkers are let in, what certificates they get, and whom they are told to trust."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Final
from uuid import uuid4

from caryatid.control.authority import Registry, read_trust
from caryatid.errors import Forbidden, Unauthorized
from caryatid.model import GSLB_REGION
from caryatid.model.event import system
from caryatid.plan import certificates
from caryatid.plan.certificates import CertificateRefused, Identity
from caryatid.plan.trust import Trust
from caryatid.store import clock, events, hosts, rows
from caryatid.store.database import Tx
from caryatid.store.gslb import enrolled
from caryatid.store.gslb.enrolled import Enrolled
from caryatid.wire.checkers import Newcomer, Standing, Told, Welcome
from caryatid.wire.conductor import NewCertificate

REFUSED: Final = "This checker is none of ours, or not any more; or its region is disabled."


def role_of(region_id: str) -> str:
    """What certificates of the region's checkers say that they are."""
    return f"{certificates.CHECKER}:{region_id}"


def region_in(role: str) -> str | None:
    """The region that a certificate's role names; None: it is no checker's."""
    name, _, region_id = role.partition(":")
    return region_id if name == certificates.CHECKER and region_id else None


def may_speak(registry: Registry, checker_id: str, region_id: str) -> None:
    """Raises Forbidden unless it is one of ours and the region's, and the region is enabled."""
    with registry.database.read() as tx:
        if not enrolled.may_speak(tx, checker_id, region_id):
            raise Forbidden(REFUSED)


def seen(registry: Registry, checker_id: str) -> None:
    """It has just asked for something."""
    with registry.database.transaction() as tx:
        enrolled.seen(tx, checker_id, clock.text(clock.now(tx)))


def enrol(registry: Registry, wanted: Newcomer, now: datetime) -> Welcome:
    """A new checker, for a token that has not been used. Raises Unauthorized, Forbidden."""
    checker_id = str(uuid4())
    with registry.database.transaction() as tx:
        region_id = hosts.redeem_for_region(tx, wanted.token_id, wanted.secret.encode())
        region = rows.get(tx, GSLB_REGION, region_id) if region_id else None
        if region_id is None or region is None:
            raise Unauthorized("This token is not known, has been used, has expired, or is not for a checker.")
        trusted = read_trust(registry, tx)
        certificate = _certificate(registry, trusted, wanted.csr_pem, Identity(role_of(region_id), checker_id), now)
        ends_at = certificates.validity(certificate)[1].timestamp()
        enrolled.keep(tx, Enrolled(checker_id, region_id, wanted.name, "", trusted.issuer, (), ends_at))
        by, detail = system(f"checker:{checker_id}"), {"checker": checker_id, "name": wanted.name}
        events.append(tx, "enrol", GSLB_REGION.name, region_id, by=by, project_id=None, root_id=None, detail=detail)
    return Welcome(
        checker_id=checker_id,
        region_id=region_id,
        region=region["name"],
        certificate_pem=certificate.decode(),
        ca_pem=trusted.bundle,
    )


def stand(registry: Registry, checker_id: str, standing: Standing, shown: bytes) -> Told:
    """What the checker says of itself is known, with the certificate that it has `shown` (PEM); whom to trust, and
    whether to renew. Raises Forbidden."""
    with registry.database.transaction() as tx:
        known, trusted = _known(tx, checker_id), read_trust(registry, tx)
        issuer = certificates.issuer_of(shown, trusted.authorities)
        noted = replace(
            known,
            name=standing.name,
            release=standing.release,
            issuer=certificates.fingerprint(issuer.certificate_pem) if issuer else None,
            trusts=sorted(standing.trusts),
            ends_at=certificates.validity(shown)[1].timestamp(),
        )
        if noted != replace(known, trusts=list(known.trusts)):
            enrolled.keep(tx, noted)
    return Told(ca_pem=trusted.bundle, renew=trusted.phase == "replacing" and noted.issuer != trusted.issuer)


def renew(registry: Registry, checker_id: str, region_id: str, csr_pem: str, now: datetime) -> NewCertificate:
    """A new certificate for the same checker. Raises Forbidden."""
    with registry.database.transaction() as tx:
        _known(tx, checker_id)
        trusted = read_trust(registry, tx)
        certificate = _certificate(registry, trusted, csr_pem, Identity(role_of(region_id), checker_id), now)
    return NewCertificate(certificate_pem=certificate.decode(), ca_pem=trusted.bundle)


def members(tx: Tx, now: datetime) -> list[Enrolled]:
    """Those that can still come: not revoked, and with a certificate that has not ended."""
    return [one for one in enrolled.every(tx) if not one.revoked and one.ends_at > now.astimezone(UTC).timestamp()]


def _known(tx: Tx, checker_id: str) -> Enrolled:
    known = enrolled.get(tx, checker_id)
    if known is None or known.revoked:
        raise Forbidden(REFUSED)
    return known


def _certificate(registry: Registry, trusted: Trust, csr_pem: str, identity: Identity, now: datetime) -> bytes:
    try:
        days = registry.settings.certificate_days
        return certificates.sign(trusted.issuing, csr_pem.encode(), identity, now, days)
    except CertificateRefused as error:
        raise Forbidden(str(error)) from error
