# SPDX-License-Identifier: Apache-2.0
"""Whether what a reference stands for is right, and what HAProxy is given of it.

A certificate that OpenSSL or every client would refuse is refused here, where somebody reads why: in words, with every
reason at once.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import NameOID, PublicKeyAlgorithmOID

from caryatid.model.bundle import Bundle, Material, Purpose

from .contents import KEY, UNREADABLE, Contents, Part, PrivateKey, open_parts

CHAIN_MAX = 20
RSA_BITS = range(2048, 8192 + 1)
CURVES = ("secp256r1", "secp384r1", "secp521r1")
WEAK = (hashes.MD5, hashes.SHA1)
PROBE = b"Does this key sign for that certificate?"
HOST_NAME = re.compile(r"(?:\*\.)?[A-Za-z0-9_]([A-Za-z0-9_.-]{0,252}[A-Za-z0-9_])?\.?")


class Unusable(ValueError):
    """What the reference stands for cannot serve; `reasons` are sentences that name no attribute."""

    def __init__(self, reasons: Sequence[str]) -> None:
        super().__init__(" ".join(reasons))
        self.reasons = tuple(reasons)


def read(material: Material, purpose: Purpose, now: datetime, *, authorities: Bundle | None = None) -> Bundle:
    """What the material is for HAProxy. Raises Unusable, and nothing else, whatever the bytes are.

    `authorities`: whose lists `revocations` must be; None asks for nobody's.
    """
    contents = open_parts(_parts(material, purpose), purpose)
    if purpose == "keypair":
        return _keypair(contents, now)
    if purpose == "authorities":
        return _authorities(contents, now)
    return _revocations(contents, now, _certificates_of(authorities) if authorities else None)


def _parts(material: Material, purpose: Purpose) -> tuple[Part, ...]:
    parts = [
        Part("certificate", material.certificate, material.passphrase),
        Part("chain of intermediates", material.intermediates),
        Part("secret", material.payload, material.passphrase),
    ]
    if purpose == "keypair":
        parts.append(Part(KEY, material.private_key, material.passphrase))
    return tuple(parts)


def _keypair(contents: Contents, now: datetime) -> Bundle:
    reasons = list(contents.faults)
    if not contents.faults:
        reasons += [f"There is no {what} in it." for what, found in _needed(contents).items() if not found]
    if len(contents.certificates) > CHAIN_MAX:
        raise Unusable([*reasons, f"There are more than {CHAIN_MAX} certificates in it."])
    leaf = _leaf(contents.certificates, contents.keys)
    if leaf is None:
        raise Unusable(reasons)
    chain = _chain(leaf, contents.certificates)
    reasons += _faults_of_chain(chain, contents.certificates, now)
    key = next((key for key in contents.keys if _fits(key, leaf)), None)
    if contents.keys and key is None:
        reasons.append(f"The private key is not that of the certificate {_name(leaf)}.")
    elif key is not None:
        reasons += _faults_of_key(key, leaf)
    if reasons or key is None:
        raise Unusable(list(dict.fromkeys(reasons)))
    return _bundle(leaf, _pem(chain) + _key_pem(key), chain)


def _needed(contents: Contents) -> Mapping[str, Sequence[object]]:
    return {"certificate": contents.certificates, "private key": contents.keys}


def _authorities(contents: Contents, now: datetime) -> Bundle:
    if not contents.certificates and not contents.faults:
        raise Unusable(["There is no certificate in it."])
    if contents.faults:
        raise Unusable(contents.faults)
    living = [each for each in contents.certificates if not list(_faults_of_dates(each, now))]
    if not living:
        raise Unusable([fault for each in contents.certificates for fault in _faults_of_dates(each, now)])
    if all(each.issuer != each.subject for each in living):  # HAProxy 2.6 believes in nobody else
        raise Unusable(["None of these has signed itself: whoever signed them must be among them, up to the root."])
    return _bundle(contents.certificates[0], _pem(contents.certificates), living)


def _revocations(contents: Contents, now: datetime, authorities: Sequence[x509.Certificate] | None) -> Bundle:
    if not contents.lists and not contents.faults:
        raise Unusable(["There is no list of revoked certificates in it."])
    reasons = list(contents.faults)
    for each in contents.lists:
        reasons += _faults_of_list(each, now, authorities)
    reasons += _unlisted(contents.lists, authorities or ())
    if reasons:
        raise Unusable(reasons)
    pem = "".join(each.public_bytes(Encoding.PEM).decode() for each in contents.lists)
    issuer = contents.lists[0].issuer.rfc4514_string()
    ends = [each.next_update_utc for each in contents.lists if each.next_update_utc is not None]
    return Bundle(
        pem=pem,
        digest=_digest(pem),
        subject=issuer,
        issuer=issuer,
        names=(),
        not_before=_text(max(each.last_update_utc for each in contents.lists)),
        not_after=_text(min(ends)) if ends else "",
    )


def _leaf(certificates: Sequence[x509.Certificate], keys: Sequence[PrivateKey]) -> x509.Certificate | None:
    """The one that the key is for; if there is none, the first that signs no other."""
    for certificate in certificates:
        if any(_fits(key, certificate) for key in keys):
            return certificate
    for certificate in certificates:
        if not any(_signs(certificate, other) for other in certificates if other is not certificate):
            return certificate
    return certificates[0] if certificates else None


def _chain(leaf: x509.Certificate, certificates: Sequence[x509.Certificate]) -> list[x509.Certificate]:
    """The leaf, and then whoever signs one that is already there: each before those that sign it."""
    chain, left = [leaf], [each for each in certificates if each != leaf]
    for signed in chain:
        signers = [each for each in left if _signs(each, signed)]
        chain += signers
        left = [each for each in left if each not in signers]
    return chain


def _faults_of_chain(
    chain: Sequence[x509.Certificate], certificates: Sequence[x509.Certificate], now: datetime
) -> Iterator[str]:
    for certificate in certificates:
        yield from _faults_of_dates(certificate, now)
    for certificate in certificates:
        if certificate not in chain:
            yield f"The chain is broken: the certificate {_name(certificate)} signs none of the others."
    for certificate in chain:
        yield from _faults_of_strength(certificate)


def _faults_of_dates(certificate: x509.Certificate, now: datetime) -> Iterator[str]:
    if certificate.not_valid_after_utc <= now:
        yield f"The certificate {_name(certificate)} ended at {certificate.not_valid_after_utc:%Y-%m-%d %H:%M:%S} UTC."
    elif certificate.not_valid_before_utc > now:
        begins = certificate.not_valid_before_utc
        yield f"The certificate {_name(certificate)} begins only at {begins:%Y-%m-%d %H:%M:%S} UTC."


def _faults_of_strength(certificate: x509.Certificate) -> Iterator[str]:
    """What Debian's OpenSSL refuses to load (security level 2). Who signed itself is not asked for its signature."""
    itself = certificate.issuer == certificate.subject
    if isinstance(certificate.signature_hash_algorithm, WEAK) and not itself:
        algorithm = certificate.signature_hash_algorithm
        yield f"The certificate {_name(certificate)} is signed with {algorithm.name.upper()}, which nobody trusts."
    problem = _weakness(certificate)
    if problem:
        yield f"The key of the certificate {_name(certificate)} {problem}."


def _weakness(certificate: x509.Certificate) -> str:
    """What is wrong with the key, as the end of a sentence; empty: nothing."""
    key = certificate.public_key()
    if certificate.public_key_algorithm_oid == PublicKeyAlgorithmOID.RSASSA_PSS:
        return "is of the kind RSA-PSS; plain RSA, EC and Ed25519 can be used"
    match key:
        case rsa.RSAPublicKey() if key.key_size not in RSA_BITS:
            return f"has {key.key_size} bits; RSA needs {RSA_BITS.start} to {RSA_BITS.stop - 1}"
        case ec.EllipticCurvePublicKey() if key.curve.name not in CURVES:
            return f"is on the curve {key.curve.name}; P-256, P-384 and P-521 can be used"
        case rsa.RSAPublicKey() | ec.EllipticCurvePublicKey() | ed25519.Ed25519PublicKey():
            return ""
        case _:
            return "is of an algorithm that cannot be used; RSA, EC and Ed25519 can"


def _faults_of_key(key: PrivateKey, leaf: x509.Certificate) -> Iterator[str]:
    """It must be able to do what it is for: its public half may be right and the rest not."""
    if not _weakness(leaf) and not _proves(key, leaf):
        yield "The private key is damaged: what it signs cannot be verified."


def _proves(key: PrivateKey, leaf: x509.Certificate) -> bool:
    public = leaf.public_key()
    try:
        match public:
            case rsa.RSAPublicKey():
                scheme = (padding.PKCS1v15(), hashes.SHA256())
                public.verify(key.sign(PROBE, *scheme), PROBE, *scheme)
            case ec.EllipticCurvePublicKey():
                public.verify(key.sign(PROBE, ec.ECDSA(hashes.SHA256())), PROBE, ec.ECDSA(hashes.SHA256()))
            case ed25519.Ed25519PublicKey():
                public.verify(key.sign(PROBE), PROBE)
            case _:
                return False
    except (*UNREADABLE, InvalidSignature):
        return False
    return True


def _faults_of_list(
    revocations: x509.CertificateRevocationList, now: datetime, authorities: Sequence[x509.Certificate] | None
) -> Iterator[str]:
    """Of one that is out of date OpenSSL says so to every client, revoked or not."""
    issuer = revocations.issuer.rfc4514_string()
    end = revocations.next_update_utc
    if end is not None and end <= now:
        yield f"The list of {issuer} was to be renewed by {end:%Y-%m-%d %H:%M:%S} UTC: every client would be refused."
    if revocations.last_update_utc > now:
        begin = revocations.last_update_utc
        yield f"The list of {issuer} begins only at {begin:%Y-%m-%d %H:%M:%S} UTC: every client would be refused."
    if authorities is not None and not any(_issued(revocations, authority) for authority in authorities):
        yield f"The list of {issuer} is signed by none of the authorities."


def _unlisted(
    lists: Sequence[x509.CertificateRevocationList], authorities: Sequence[x509.Certificate]
) -> Iterator[str]:
    """HAProxy has the whole of a chain looked up: whoever signed any of it needs a list."""
    for authority in authorities:
        if lists and not any(_issued(each, authority) for each in lists):
            yield f"There is no list of the authority {_name(authority)}: every client of it would be refused."


def _issued(revocations: x509.CertificateRevocationList, authority: x509.Certificate) -> bool:
    if isinstance(revocations.signature_hash_algorithm, WEAK):  # the library does not verify it, and OpenSSL takes it
        return revocations.issuer == authority.subject
    try:
        key = authority.public_key()
        return revocations.issuer == authority.subject and revocations.is_signature_valid(key)  # type: ignore[arg-type]  # raises TypeError
    except UNREADABLE:
        return False


def _signs(issuer: x509.Certificate, certificate: x509.Certificate) -> bool:
    if isinstance(certificate.signature_hash_algorithm, WEAK):  # the library does not verify it, and we do not take it
        return certificate.issuer == issuer.subject
    try:
        certificate.verify_directly_issued_by(issuer)
    except (*UNREADABLE, InvalidSignature):
        return False
    return True


def _fits(key: PrivateKey, certificate: x509.Certificate) -> bool:
    try:
        return _public(key.public_key()) == _public(certificate.public_key())
    except (*UNREADABLE, AttributeError):
        return False


def _public(key: Any) -> bytes:
    return bytes(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


def _bundle(first: x509.Certificate, pem: str, lasting: Sequence[x509.Certificate]) -> Bundle:
    """`lasting`: whose ends are to be watched."""
    return Bundle(
        pem=pem,
        digest=_digest(pem),
        subject=first.subject.rfc4514_string(),
        issuer=first.issuer.rfc4514_string(),
        names=_names(first),
        not_before=_text(max(each.not_valid_before_utc for each in lasting)),
        not_after=_text(min(each.not_valid_after_utc for each in lasting)),
    )


def _names(certificate: x509.Certificate) -> tuple[str, ...]:
    """What can be a host's name or address; the common name only if there is no other (RFC 6125, 6.4.4)."""
    try:
        others = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        common = [str(each.value) for each in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
        return tuple(name for name in common if HOST_NAME.fullmatch(name))
    hosts = [name for name in others.get_values_for_type(x509.DNSName) if HOST_NAME.fullmatch(name)]
    return (*hosts, *(str(address) for address in others.get_values_for_type(x509.IPAddress)))


def _name(certificate: x509.Certificate) -> str:
    """As whom a sentence names it."""
    return repr(certificate.subject.rfc4514_string()[:255] or f"number {certificate.serial_number:x}")


def _certificates_of(bundle: Bundle) -> list[x509.Certificate]:
    return x509.load_pem_x509_certificates(bundle.pem.encode())


def _pem(certificates: Sequence[x509.Certificate]) -> str:
    return "".join(certificate.public_bytes(Encoding.PEM).decode() for certificate in certificates)


def _key_pem(key: PrivateKey) -> str:
    return str(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode())


def _digest(pem: str) -> str:
    return hashlib.sha256(pem.encode()).hexdigest()


def _text(moment: datetime) -> str:
    """As `model.types.Time`."""
    return moment.replace(tzinfo=None).isoformat(timespec="microseconds")
