# SPDX-License-Identifier: Apache-2.0
"""What is in the bytes that somebody keeps as a secret: certificates, private keys, lists of what is revoked.

Anything may come: whatever cannot be read is said in words, never raised.
"""

import binascii
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from cryptography import x509
from cryptography.exceptions import InternalError, UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_der_private_key, load_pem_private_key, pkcs7

from caryatid.model.bundle import Purpose

from . import pkcs12
from .wrapping import TooDear, Wrapped, unwrap, wrapped_key

BYTES_MAX = 1 << 16
"""Of all that one reference stands for."""
BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]{1,40})-----(.+?)-----END \1-----", re.DOTALL)
UNREADABLE = (
    ValueError,
    TypeError,
    LookupError,
    OverflowError,
    UnsupportedAlgorithm,
    InternalError,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)
"""What the library raises for bytes that it does not take."""
CERTIFICATE = frozenset({b"CERTIFICATE", b"X509 CERTIFICATE"})
PRIVATE_KEY = frozenset({b"PRIVATE KEY", b"ENCRYPTED PRIVATE KEY", b"RSA PRIVATE KEY", b"EC PRIVATE KEY"})
PKCS7 = frozenset({b"PKCS7", b"CMS"})
LIST = frozenset({b"X509 CRL"})
WRAPPED_MAX = 4
"""Private keys that are encrypted: each may take a second."""
PKCS7_START = re.compile(
    rb"\x30(?:[\x00-\x80]|\x81.|\x82..|\x83...)\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07", re.DOTALL
)
PKCS12_START = re.compile(rb"\x30(?:[\x00-\x80]|\x81.|\x82..|\x83...)\x02\x01\x03\x30", re.DOTALL)

KEY = "private key"
"""Title of the part that is one, if it does not say so itself."""
PrivateKey = Any
"""Of whatever algorithm."""


@dataclass
class Contents:
    """What was found, in the order in which it was, nothing twice."""

    certificates: list[x509.Certificate] = field(default_factory=list)
    keys: list[PrivateKey] = field(default_factory=list, repr=False)
    lists: list[x509.CertificateRevocationList] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    unwrapped: int = 0
    """How many keys were encrypted, each by itself."""


@dataclass(frozen=True)
class Part:
    """One of the secrets that a reference stands for."""

    title: str
    data: bytes = field(repr=False)
    passphrase: bytes = field(default=b"", repr=False)


def open_parts(parts: tuple[Part, ...], purpose: Purpose) -> Contents:
    """What of the parts may serve the purpose. Keys are not touched where none is asked for, and so on."""
    found = Contents()
    size = sum(len(part.data) for part in parts)
    if size > BYTES_MAX:
        found.faults.append(f"It has {size} bytes; at most {BYTES_MAX} are taken.")
        return found
    for part in parts:
        if not part.data:
            continue
        blocks = list(BLOCK.finditer(part.data))
        if blocks:
            for block in blocks:
                _open_block(found, part, block, purpose)
        else:
            _open_der(found, part, purpose)
    return found


def _open_block(found: Contents, part: Part, block: re.Match[bytes], purpose: Purpose) -> None:
    label, pem = block[1], block[0]
    if label in CERTIFICATE and purpose != "revocations":
        _take(found, "certificates", _certificates(lambda: [x509.load_pem_x509_certificate(pem)]), part)
    elif label in PKCS7 and purpose != "revocations":
        _take(found, "certificates", _certificates(lambda: pkcs7.load_pem_pkcs7_certificates(pem)), part)
    elif label in LIST and purpose == "revocations":
        _take(found, "lists", _lists(lambda: x509.load_pem_x509_crl(pem)), part)
    elif label in PRIVATE_KEY and purpose == "keypair":
        _take_key(found, part, pem, load_pem_private_key)


def _open_der(found: Contents, part: Part, purpose: Purpose) -> None:
    """Bytes that are no PEM say what they are only by being readable as it."""
    if purpose == "revocations":
        _take(found, "lists", _lists(lambda: x509.load_der_x509_crl(part.data)), part)
        return
    if PKCS12_START.match(part.data):
        _take_pkcs12(found, part, purpose)
        return
    if PKCS7_START.match(part.data):
        _take(found, "certificates", _certificates(lambda: pkcs7.load_der_pkcs7_certificates(part.data)), part)
    elif part.title == KEY:
        _take_key(found, part, part.data, load_der_private_key)
    else:
        _take(found, "certificates", _certificates(lambda: [x509.load_der_x509_certificate(part.data)]), part)


def _certificates(load: Callable[[], list[x509.Certificate]]) -> list[x509.Certificate]:
    """Those that can be read to the end; none if one cannot."""
    with suppress(*UNREADABLE):
        certificates = load()
        for certificate in certificates:
            _read_all(certificate)
        return certificates
    return []


def _read_all(certificate: x509.Certificate) -> None:
    """The library reads late: afterwards nothing that we ask the certificate for can fail."""
    certificate.subject.rfc4514_string()
    certificate.issuer.rfc4514_string()
    _ = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    _ = certificate.extensions, certificate.signature_hash_algorithm
    certificate.public_key()


def _lists(load: Callable[[], x509.CertificateRevocationList]) -> list[x509.CertificateRevocationList]:
    with suppress(*UNREADABLE):
        revocations = load()
        revocations.issuer.rfc4514_string()
        _ = revocations.last_update_utc, revocations.next_update_utc, revocations.extensions
        _ = revocations.signature_hash_algorithm
        return [revocations]
    return []


def _take(found: Contents, kind: str, read: list[Any], part: Part) -> None:
    known = getattr(found, kind)
    for each in read:
        if each not in known:
            known.append(each)
    if not read:
        found.faults.append(_unread(part))


def _take_key(found: Contents, part: Part, data: bytes, load: Callable[..., PrivateKey]) -> None:
    """Whether an RSA key's numbers are primes is not asked (that takes seconds); whether it signs is, later."""
    wrapped = wrapped_key(_der(data))
    if wrapped is not None:
        _take_wrapped_key(found, part, wrapped)
        return
    for passphrase in _passphrases(part):
        with suppress(*UNREADABLE):
            found.keys.append(load(data, passphrase, unsafe_skip_rsa_key_validation=True))
            return
    found.faults.append(_locked(part) if b"ENCRYPTED" in data else _unread(part))


def _unread(part: Part) -> str:
    return f"The {part.title} cannot be read: PEM, DER or PKCS #12 is taken, whole."


def _take_wrapped_key(found: Contents, part: Part, wrapped: Wrapped) -> None:
    found.unwrapped += 1
    if found.unwrapped > WRAPPED_MAX:
        found.faults.append(f"There are more than {WRAPPED_MAX} encrypted private keys in it.")
        return
    try:
        found.keys.append(_key(unwrap(wrapped, part.passphrase)))
    except TooDear:
        found.faults.append(f"The {part.title} is encrypted with too many rounds.")
    except UNREADABLE:
        found.faults.append(_locked(part))


def _key(der: bytes) -> PrivateKey:
    return load_der_private_key(der, None, unsafe_skip_rsa_key_validation=True)


def _der(data: bytes) -> bytes:
    """What is in one block of PEM, if it is one; nothing if it cannot be read."""
    block = BLOCK.fullmatch(data)
    if block is None:
        return data
    try:
        return binascii.a2b_base64(block[2])
    except ValueError:
        return b""


def _passphrases(part: Part) -> Iterator[bytes | None]:
    """One that is not needed does no harm."""
    if part.passphrase:
        yield part.passphrase
    yield None


def _locked(part: Part) -> str:
    if part.passphrase:
        return f"The {part.title} is encrypted, and not with the passphrase that is given."
    return f"The {part.title} is encrypted, and no passphrase is given."


def _take_pkcs12(found: Contents, part: Part, purpose: Purpose) -> None:
    try:
        opened = pkcs12.read(part.data, part.passphrase)
        keys = [_key(der) for der in opened.keys] if purpose == "keypair" else []
    except TooDear:
        found.faults.append("The PKCS #12 bundle is encrypted with too many rounds.")
    except UNREADABLE:
        given = "the one that is given" if part.passphrase else "empty"
        found.faults.append(f"The PKCS #12 bundle is damaged, or its passphrase is not {given}.")
    else:
        found.keys += keys
        certificates = _certificates(lambda: [x509.load_der_x509_certificate(der) for der in opened.certificates])
        _take(found, "certificates", certificates, part)
