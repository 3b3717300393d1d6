# SPDX-License-Identifier: Apache-2.0
"""What container references stand for: certificates with their keys, authorities, lists of what is revoked.

A listener or pool names them; whoever accepts the wish reads and checks them (`plan/bundles.py`); a tree has them.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from .resource import Row

Purpose = Literal["keypair", "authorities", "revocations"]
PURPOSES: Mapping[str, Purpose] = {
    "default_tls_container_ref": "keypair",
    "sni_container_refs": "keypair",
    "client_ca_tls_container_ref": "authorities",
    "client_crl_container_ref": "revocations",
    "tls_container_ref": "keypair",
    "ca_tls_container_ref": "authorities",
    "crl_container_ref": "revocations",
    "client_cert_ref": "keypair",
    "ca_ref": "authorities",
}
"""Attribute of a listener or pool, parameter of a monitor → what its reference must stand for."""
AUTHORITIES_OF: Mapping[str, str] = {
    "client_crl_container_ref": "client_ca_tls_container_ref",
    "crl_container_ref": "ca_tls_container_ref",
}
"""Attribute that names lists of what is revoked → the one that names whose lists they are."""


class Reference(NamedTuple):
    """One that a listener or pool names."""

    attribute: str
    reference: str
    purpose: Purpose

    @property
    def key(self) -> tuple[str, Purpose]:
        """By which a tree has its bundle."""
        return self.reference, self.purpose


@dataclass(frozen=True, slots=True)
class Material:
    """What is kept under one reference, not looked into. Each is PEM or DER, or nothing."""

    certificate: bytes = field(default=b"", repr=False)
    private_key: bytes = field(default=b"", repr=False)
    passphrase: bytes = field(default=b"", repr=False)
    intermediates: bytes = field(default=b"", repr=False)
    payload: bytes = field(default=b"", repr=False)
    """Of a single secret instead: a PKCS #12 bundle, or PEM with all that is asked for."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """What a reference stands for, read and found right."""

    pem: str = field(repr=False)
    """As HAProxy reads it. keypair: certificate, chain, private key. authorities: certificates. revocations: lists."""
    digest: str
    """SHA-256 of `pem`, hexadecimal."""
    subject: str
    """RFC 4514, of the first certificate; of revocations: their issuer's."""
    issuer: str
    names: tuple[str, ...]
    """DNS names and addresses that the certificate is for."""
    not_before: str
    not_after: str
    """The earliest end in it, UTC, as `Time` is written; of revocations: when the next list is due, or empty."""
    staple: str = field(default="", repr=False)
    """The OCSP response (DER in base64) to be shown with the certificate; empty: none."""


def references(row: Row) -> Iterator[Reference]:
    """All that the listener or pool names, in order; none for other kinds."""
    return named(row.__dict__)


def named(attributes: Mapping[str, Any]) -> Iterator[Reference]:
    """The same of a document, or of the body of a wish, in which anything may stand."""
    for attribute, purpose in PURPOSES.items():
        value = attributes.get(attribute)
        for reference in value if isinstance(value, list) else [value]:
            if isinstance(reference, str) and reference:
                yield Reference(attribute, reference, purpose)
