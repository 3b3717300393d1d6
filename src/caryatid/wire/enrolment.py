# SPDX-License-Identifier: Apache-2.0
"""How a host becomes one of ours without trusting anybody but the authority that its token names, or being sent
anywhere else by whoever is on the way."""

import hmac
import ssl
import sys
from pathlib import Path

import httpx2
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from caryatid.wire.conductor import (
    TIMEOUT,
    VERSION,
    ConductorClient,
    ConductorRefused,
    ConductorUnreachable,
    Enrolled,
    Enrolment,
    EnrolmentToken,
    HostFacts,
    fingerprints,
)
from caryatid.wire.tls import client_context

AUTHORITY_ROLE = "authority"
"""Organisation of a certificate by which one authority vouches for another. No peer gets it."""
AUTHORITY_BYTES_MAX = 65536
TOKEN_BYTES_MAX = 8192


async def fetch_authority(url: str, fingerprint: str) -> str:
    """Certificates (PEM) of the pinned authority, and of those that it vouches for: one may be taking another's place.

    The connection itself is not to be trusted: nothing is sent over it, and what comes counts only when its SHA-256 is
    the fingerprint that the token holds, or with a signature of that one. Raises ConductorError.
    """
    content = await _fetch_blindly(f"{url.rstrip('/')}/{VERSION}/ca")
    try:
        certificates = x509.load_pem_x509_certificates(content)
    except ValueError as error:
        raise ConductorRefused("The conductor did not send an authority's certificate.") from error
    pinned = [one for one in certificates if hmac.compare_digest(one.fingerprint(SHA256()).hex(), fingerprint)]
    if not pinned:
        raise ConductorRefused("The conductor's authority is not the one that the token names. Nothing was sent to it.")
    keys = {_key(one) for one in certificates if _is_link(one, pinned[0])}
    others = [one for one in certificates if one.issuer == one.subject and _key(one) in keys and one != pinned[0]]
    return "".join(one.public_bytes(Encoding.PEM).decode() for one in (pinned[0], *others))


async def _fetch_blindly(url: str) -> bytes:
    blind = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    blind.minimum_version = ssl.TLSVersion.TLSv1_3
    blind.check_hostname = False
    blind.verify_mode = ssl.CERT_NONE
    content = b""
    try:
        async with (
            httpx2.AsyncClient(verify=blind, timeout=TIMEOUT, trust_env=False) as http,
            http.stream("GET", url) as answer,
        ):
            async for chunk in answer.aiter_bytes():
                content += chunk
                if len(content) > AUTHORITY_BYTES_MAX:
                    raise ConductorRefused("What should be the authority's certificate is too long.")
    except (httpx2.TransportError, OSError) as error:
        raise ConductorUnreachable(f"The conductor cannot be reached: {error or type(error).__name__}.") from error
    return content


def _is_link(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    """Whether `authority` says here that a key is that of another authority, and not that of a host, say."""
    roles = certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
    if [role.value for role in roles] != [AUTHORITY_ROLE]:
        return False
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _key(certificate: x509.Certificate) -> bytes:
    return certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


async def enrol(token: EnrolmentToken, csr_pem: str, facts: HostFacts) -> Enrolled:
    """Become a host. The token's secret is sent only to a controller of the pinned authority. Raises ConductorError."""
    authority = await fetch_authority(token.url, token.authority)
    client = ConductorClient(token.url, client_context(authority))
    try:
        enrolment = Enrolment(token_id=token.id, secret=token.secret, csr_pem=csr_pem, host=facts)
        enrolled = await client.enrol(enrolment)
    finally:
        await client.close()
    if token.authority not in fingerprints(enrolled.ca_pem):
        raise ConductorRefused("The conductor answered with another authority than its own.")
    return enrolled


def token_in(path: Path) -> EnrolmentToken:
    """The token in a file; `-` is standard input. Raises OSError, and ConductorRefused if it is none."""
    if str(path) == "-":
        return EnrolmentToken.decode(sys.stdin.readline(TOKEN_BYTES_MAX))
    with path.open() as file:
        return EnrolmentToken.decode(file.read(TOKEN_BYTES_MAX))


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
    return builder.sign(key, SHA256()).public_bytes(serialization.Encoding.PEM).decode()
