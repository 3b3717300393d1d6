# SPDX-License-Identifier: Apache-2.0
"""What container references stand for: certificates with their keys, authorities, lists of what is revoked.

A listener or pool names them; whoever accepts the wish reads and checks them (`plan/bundles.py`); a tree has them.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

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
}
"""Attribute of a listener or pool → what its reference must stand for."""


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


def references(row: Row) -> Iterator[Reference]:
    """All that the listener or pool names, in order; none for other kinds."""
    for attribute, purpose in PURPOSES.items():
        named = getattr(row, attribute, None) or ()
        for reference in [named] if isinstance(named, str) else named:
            yield Reference(attribute, reference, purpose)
