# SPDX-License-Identifier: Apache-2.0
"""OCSP responses for certificates in use: what is asked, of whom, and whether the answer may be shown (RFC 6960)."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID

from caryatid.model.bundle import Bundle

from .contents import UNREADABLE

SKEW = timedelta(minutes=5)
"""By which a responder's clock may be ahead of ours."""


class Unstapled(ValueError):
    """Nothing can be shown; str() is a sentence."""


class Revoked(Unstapled):
    """Its authority has revoked the certificate."""


@dataclass(frozen=True)
class Question:
    """What a responder is asked."""

    url: str
    request: bytes = field(repr=False)
    """DER."""


@dataclass(frozen=True)
class Staple:
    """A response that may be shown."""

    response: bytes = field(repr=False)
    """DER."""
    since: datetime
    until: datetime


def question(bundle: Bundle) -> Question | None:
    """None: the certificate names no responder."""
    leaf, issuer = _pair(bundle)
    url = next(_responders(leaf), None)
    if url is None:
        return None
    if issuer is None:
        raise Unstapled("The chain does not hold the issuer of the certificate, without whom nobody can be asked.")
    # SHA-1, as it is by this that HAProxy and every responder knows a certificate (RFC 5019, 2.1.1)
    builder = ocsp.OCSPRequestBuilder().add_certificate(leaf, issuer, hashes.SHA1())  # noqa: S303
    return Question(url, builder.build().public_bytes(Encoding.DER))


def is_demanded(bundle: Bundle) -> bool:
    """Whether the certificate says that a response must be shown with it (RFC 7633)."""
    leaf, _ = _pair(bundle)
    try:
        wanted = leaf.extensions.get_extension_for_class(x509.TLSFeature).value
    except (x509.ExtensionNotFound, *UNREADABLE):
        return False
    return x509.TLSFeatureType.status_request in wanted


def read(bundle: Bundle, response: bytes, now: datetime) -> Staple:
    """What was answered, if it may be shown. Raises Unstapled, and nothing else, whatever the bytes are."""
    try:
        return _read(bundle, response, now)
    except Unstapled:
        raise
    except UNREADABLE:
        raise Unstapled("The responder's answer cannot be read.") from None


def _read(bundle: Bundle, response: bytes, now: datetime) -> Staple:
    leaf, issuer = _pair(bundle)
    answer = ocsp.load_der_ocsp_response(response)
    if answer.response_status is not ocsp.OCSPResponseStatus.SUCCESSFUL or issuer is None:
        raise Unstapled(f"The responder answers {answer.response_status.name.lower().replace('_', ' ')}.")
    about = list(answer.responses)
    if len(about) != 1 or not _is_about(about[0], leaf, issuer):
        raise Unstapled("The responder's answer is about another certificate.")
    if not any(_signed(answer, signer) for signer in _signers(answer, issuer, now)):
        raise Unstapled("The responder's answer is signed by nobody who may.")
    only = about[0]
    if only.certificate_status is ocsp.OCSPCertStatus.REVOKED:
        raise Revoked(f"The certificate was revoked at {only.revocation_time_utc:%Y-%m-%d %H:%M:%S} UTC.")
    if only.certificate_status is not ocsp.OCSPCertStatus.GOOD:
        raise Unstapled("The responder does not know the certificate.")
    if only.next_update_utc is None:
        raise Unstapled("The responder's answer does not say how long it holds.")
    if only.this_update_utc > now + SKEW or only.next_update_utc <= now:
        raise Unstapled(f"The responder's answer holds from {only.this_update_utc} to {only.next_update_utc}, not now.")
    return Staple(response, only.this_update_utc, only.next_update_utc)


def _pair(bundle: Bundle) -> tuple[x509.Certificate, x509.Certificate | None]:
    """The certificate, and who issued it."""
    leaf, *chain = x509.load_pem_x509_certificates(bundle.pem.encode())
    return leaf, next((each for each in chain if _issued(leaf, each)), None)


def _responders(leaf: x509.Certificate) -> Iterator[str]:
    try:
        known = leaf.extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
    except (x509.ExtensionNotFound, *UNREADABLE):
        return
    for one in known:
        location = one.access_location
        if one.access_method == AuthorityInformationAccessOID.OCSP and isinstance(
            location, x509.UniformResourceIdentifier
        ):
            yield location.value


def _is_about(one: ocsp.OCSPSingleResponse, leaf: x509.Certificate, issuer: x509.Certificate) -> bool:
    if not isinstance(one.hash_algorithm, hashes.SHA1):
        return False
    asked = ocsp.OCSPRequestBuilder().add_certificate(leaf, issuer, hashes.SHA1()).build()  # noqa: S303  see above
    return (one.serial_number, one.issuer_key_hash, one.issuer_name_hash) == (
        asked.serial_number,
        asked.issuer_key_hash,
        asked.issuer_name_hash,
    )


def _signers(answer: ocsp.OCSPResponse, issuer: x509.Certificate, now: datetime) -> Iterator[x509.Certificate]:
    """Who issued the certificate, and whom they let answer for them (RFC 6960, 4.2.2.2)."""
    yield issuer
    for one in answer.certificates:
        if _issued(one, issuer) and one.not_valid_before_utc <= now < one.not_valid_after_utc and _may_answer(one):
            yield one


def _may_answer(certificate: x509.Certificate) -> bool:
    try:
        uses = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except (x509.ExtensionNotFound, *UNREADABLE):
        return False
    return ExtendedKeyUsageOID.OCSP_SIGNING in uses


def _issued(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, *UNREADABLE):
        return False
    return True


def _signed(answer: ocsp.OCSPResponse, signer: x509.Certificate) -> bool:
    key, digest = signer.public_key(), answer.signature_hash_algorithm
    signed = answer.signature, answer.tbs_response_bytes
    try:
        match key:
            case rsa.RSAPublicKey() if digest is not None and not isinstance(digest, hashes.MD5):
                key.verify(*signed, padding.PKCS1v15(), digest)
            case ec.EllipticCurvePublicKey() if digest is not None and not isinstance(digest, hashes.MD5):
                key.verify(*signed, ec.ECDSA(digest))
            case ed25519.Ed25519PublicKey():
                key.verify(*signed)
            case _:
                return False
    except (InvalidSignature, *UNREADABLE):
        return False
    return True
