# SPDX-License-Identifier: Apache-2.0
"""Our certification authority: who a certificate names, and how it is made. No clock, no files: both are arguments.

A peer is (role, id): organisation and common name of the subject. What a request asks for in its subject is ignored.
"""

import re
from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime, timedelta
from typing import NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

HOST = "host"
CONTROLLER = "controller"
INSPECTOR = "inspector"
"""Asks agents how they are, and is obeyed by nobody: what an API's process shows."""
CHECKER = "checker"
AUTHORITY = "authority"
"""Role of a certificate by which one authority vouches for another (wire.enrolment.AUTHORITY_ROLE); nobody else's."""
AUTHORITY_DAYS = 3652
CLOCK_SKEW = timedelta(minutes=5)
RSA_BITS_MIN = 2048
ID = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
REGION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,54}")

AuthorityKey = ec.EllipticCurvePrivateKey


class CertificateRefused(ValueError):
    """The request or the identity is not one that may be signed; the text says why."""


class Identity(NamedTuple):
    """Who somebody is to us."""

    role: str
    """`host`, `controller`, `inspector` or `checker:<region>`."""
    id: str


class Authority(NamedTuple):
    """A certification authority. `key_pem` is a secret."""

    certificate_pem: bytes
    key_pem: bytes


def new_key() -> bytes:
    """A new private key (EC P-256, PKCS #8 PEM, not encrypted: the file it goes into must be 0600)."""
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def new_authority(name: str, now: datetime, days: float = AUTHORITY_DAYS) -> Authority:
    """A new authority: EC P-256, valid for ten years, signs nothing but end certificates."""
    key_pem = new_key()
    key = _authority_key(key_pem)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    certificate = (
        _builder(subject, subject, key.public_key(), now, days)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(authority=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return Authority(certificate.public_bytes(serialization.Encoding.PEM), key_pem)


def request(key_pem: bytes, common_name: str = "") -> bytes:
    """A certificate signing request (PEM) for this key."""
    key = serialization.load_pem_private_key(key_pem, None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise CertificateRefused("The key is not an elliptic curve key.")
    names = [x509.NameAttribute(NameOID.COMMON_NAME, common_name)] if common_name else []
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(names))
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def sign(authority: Authority, csr_pem: bytes, identity: Identity, now: datetime, days: int) -> bytes:
    """Certify the key of a request for this identity, whatever else the request says; return PEM.

    The name in the certificate is DNS:<id>; controllers also have DNS:controller, so that a client can insist on that
    role before it says anything. Never outlives the authority. Raises CertificateRefused.
    """
    check_identity(identity)
    public_key = _requested_key(csr_pem)
    issuer = x509.load_pem_x509_certificate(authority.certificate_pem)
    if now >= issuer.not_valid_after_utc:
        raise CertificateRefused("The authority's own certificate has ended.")
    days_left = (issuer.not_valid_after_utc - now) / timedelta(days=1)
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, identity.role),
            x509.NameAttribute(NameOID.COMMON_NAME, identity.id),
        ]
    )
    names = [identity.id, CONTROLLER] if identity.role == CONTROLLER else [identity.id]
    certificate = (
        _builder(issuer.subject, subject, public_key, now, min(days, days_left))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(authority=False), critical=True)
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False
        )
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        .add_extension(_issuer_identifier(issuer), critical=False)
        .sign(_authority_key(authority.key_pem), hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM)


def check_identity(identity: Identity) -> None:
    """Raises CertificateRefused if the role is none of ours, or the id no DNS label or one that means a role."""
    role, _, region = identity.role.partition(":")
    if not (identity.role in (HOST, CONTROLLER, INSPECTOR) or (role == CHECKER and REGION.fullmatch(region))):
        raise CertificateRefused(f"There is no role {identity.role!r}.")
    if not ID.fullmatch(identity.id) or identity.id.lower() in (HOST, CONTROLLER, INSPECTOR, CHECKER, AUTHORITY):
        raise CertificateRefused(f"{identity.id!r} cannot be an id.")


def identity_of(certificate_pem: bytes) -> Identity:
    """Whom a certificate names. Only for certificates whose chain was verified. Raises CertificateRefused."""
    subject = x509.load_pem_x509_certificate(certificate_pem).subject
    roles = subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
    ids = subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    if len(roles) != 1 or len(ids) != 1:
        raise CertificateRefused("The subject is not one role and one id.")
    identity = Identity(str(roles[0].value), str(ids[0].value))
    check_identity(identity)
    return identity


def fingerprint(certificate_pem: bytes) -> str:
    """SHA-256 of the certificate's DER form, in lower-case hexadecimal."""
    return x509.load_pem_x509_certificate(certificate_pem).fingerprint(hashes.SHA256()).hex()


def validity(certificate_pem: bytes) -> tuple[datetime, datetime]:
    """From when until when it is valid (UTC)."""
    certificate = x509.load_pem_x509_certificate(certificate_pem)
    return certificate.not_valid_before_utc, certificate.not_valid_after_utc


def link(authority: Authority, certificate_pem: bytes, now: datetime) -> bytes:
    """`authority` says that the key of another authority's certificate is ours, too. PEM.

    It certifies nothing by itself: only who has the other certificate compares keys with it (wire.enrolment).
    """
    issuer, other = (x509.load_pem_x509_certificate(pem) for pem in (authority.certificate_pem, certificate_pem))
    end = min(issuer.not_valid_after_utc, other.not_valid_after_utc)
    subject = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, AUTHORITY)])
    certificate = (
        _builder(issuer.subject, subject, _key_of(other), now, (end - now) / timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_issuer_identifier(issuer), critical=False)
        .sign(_authority_key(authority.key_pem), hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM)


def issuer_of(certificate_pem: bytes, authorities: Iterable[Authority]) -> Authority | None:
    """The one that has signed the certificate, whatever its dates."""
    certificate = x509.load_pem_x509_certificate(certificate_pem)
    for authority in authorities:
        with suppress(ValueError, TypeError, InvalidSignature):
            certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(authority.certificate_pem))
            return authority
    return None


def check_proof(certificate_pem: bytes, signed: bytes, proof: bytes) -> None:
    """Raises CertificateRefused unless `proof` is a signature of the certificate's key on what is said to be signed."""
    try:
        key = _key_of(x509.load_pem_x509_certificate(certificate_pem))
        key.verify(proof, signed, ec.ECDSA(hashes.SHA256()))
    except (ValueError, InvalidSignature) as error:
        raise CertificateRefused("This is not signed with the key of the certificate.") from error


def _key_of(certificate: x509.Certificate) -> ec.EllipticCurvePublicKey:
    key = certificate.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise CertificateRefused("The key is not an elliptic curve key.")
    return key


def _requested_key(csr_pem: bytes) -> "ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | rsa.RSAPublicKey":
    try:
        csr = x509.load_pem_x509_csr(csr_pem)
        valid = csr.is_signature_valid
        key = csr.public_key()
    except (ValueError, UnsupportedAlgorithm, InvalidSignature) as error:
        raise CertificateRefused("This is not a certificate signing request.") from error
    if not valid:
        raise CertificateRefused("The request is not signed by its own key.")
    if isinstance(key, rsa.RSAPublicKey) and key.key_size < RSA_BITS_MIN:
        raise CertificateRefused(f"An RSA key needs {RSA_BITS_MIN} bits.")
    if not isinstance(key, ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | rsa.RSAPublicKey):
        raise CertificateRefused("The key must be EC, Ed25519 or RSA.")
    return key


def _authority_key(key_pem: bytes) -> AuthorityKey:
    key = serialization.load_pem_private_key(key_pem, None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise CertificateRefused("The authority's key is not an elliptic curve key.")
    return key


def _builder(
    issuer: x509.Name,
    subject: x509.Name,
    key: "ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | rsa.RSAPublicKey",
    now: datetime,
    days: float,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .issuer_name(issuer)
        .subject_name(subject)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SKEW)
        .not_valid_after(now + timedelta(days=days))
    )


def _usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        key_cert_sign=authority,
        crl_sign=authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _issuer_identifier(issuer: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    own = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own)
