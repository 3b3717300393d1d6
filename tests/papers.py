# SPDX-License-Identifier: Apache-2.0
"""Certificates, keys and lists of what is revoked, made for tests: right ones, and any way of being wrong."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from ipaddress import ip_address
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    pkcs12,
)
from cryptography.x509.oid import NameOID

NOW = datetime(2030, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)


@cache
def key(kind: str = "P-256", which: str = "") -> Any:
    """A private key; the same for the same arguments."""
    del which
    curves = {"P-256": ec.SECP256R1, "P-384": ec.SECP384R1, "P-521": ec.SECP521R1, "secp256k1": ec.SECP256K1}
    if kind in curves:
        return ec.generate_private_key(curves[kind]())
    if kind == "Ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    if kind == "Ed448":
        return ed448.Ed448PrivateKey.generate()
    return rsa.generate_private_key(65537, int(kind.removeprefix("RSA-")))


@dataclass(frozen=True)
class Paper:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: Any

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(Encoding.DER)

    @property
    def key_pem(self) -> bytes:
        return self.key_as(PrivateFormat.PKCS8)

    @property
    def key_der(self) -> bytes:
        return bytes(self.key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()))

    def key_as(self, form: PrivateFormat, passphrase: bytes = b"") -> bytes:
        how = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
        return bytes(self.key.private_bytes(Encoding.PEM, form, how))


def paper(
    name: str = "www.example.org",
    issuer: Paper | None = None,
    *,
    own: Any = None,
    begin: datetime = NOW - DAY,
    end: datetime = NOW + 30 * DAY,
    names: Sequence[str] = (),
    authority: bool = False,
    digest: Any = hashes.SHA256(),  # noqa: B008  has no state
) -> Paper:
    """A certificate for `name` (and `names`), signed by the issuer or by itself."""
    own = own or key(which=name)
    signer = issuer.key if issuer else own
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(own.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName([_general(each) for each in names]), False)
    return Paper(builder.sign(signer, None if _hashes_itself(signer) else digest), own)


def revocations(
    issuer: Paper, *revoked: Paper, begin: datetime = NOW - DAY, end: datetime | None = NOW + DAY
) -> x509.CertificateRevocationList:
    """The issuer's list. `end`: when the next one is due; None: it does not say."""
    builder = x509.CertificateRevocationListBuilder().issuer_name(issuer.certificate.subject).last_update(begin)
    builder = builder.next_update(end or begin + DAY)
    for each in revoked:
        entry = x509.RevokedCertificateBuilder().serial_number(each.certificate.serial_number).revocation_date(begin)
        builder = builder.add_revoked_certificate(entry.build())
    return builder.sign(issuer.key, None if _hashes_itself(issuer.key) else hashes.SHA256())


def bundle(leaf: Paper, *chain: Paper, passphrase: bytes = b"", rounds: int = 2048) -> bytes:
    """PKCS #12."""
    how: Any = NoEncryption()
    if passphrase:
        how = PrivateFormat.PKCS12.encryption_builder().kdf_rounds(rounds).hmac_hash(hashes.SHA256()).build(passphrase)
    others = [each.certificate for each in chain]
    return pkcs12.serialize_key_and_certificates(b"www", leaf.key, leaf.certificate, others, how)


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _hashes_itself(signer: Any) -> bool:
    return isinstance(signer, ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey)
