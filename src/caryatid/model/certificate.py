# SPDX-License-Identifier: Apache-2.0
"""The certificate in use: what a reference that listeners and pools name stands for now, and how well."""

from typing import Annotated

from .bundle import Purpose
from .field import Access, Key, Listed, Ref
from .kind import Kind
from .resource import Dated, Owned
from .types import ContainerRef, Id, Int, Time

GENERATED = Access("generated")


class Certificate(Owned, Dated):
    """What one load balancer has for one reference: a certificate with its key, authorities, or a list of what is
    revoked."""

    loadbalancer_id: Annotated[Id, GENERATED, Ref("loadbalancer"), Listed()]
    """The load balancer whose listeners or pools name it."""
    reference: Annotated[ContainerRef, GENERATED, Key(255), Listed()]
    """As it is named there."""
    purpose: Annotated[Purpose, GENERATED, Key(16), Listed()]
    """`keypair`: certificate, chain and private key. `authorities`: certificates of those who sign the other side's.
    `revocations`: lists of certificates that no longer count."""
    listeners: Annotated[list[Id], GENERATED] = []
    """Listeners that name it."""
    pools: Annotated[list[Id], GENERATED] = []
    """Pools that name it."""
    subject: Annotated[str, GENERATED] = ""
    """Of the first certificate; of a list: who issued it. RFC 4514."""
    issuer: Annotated[str, GENERATED] = ""
    """Who signed that. RFC 4514."""
    names: Annotated[list[str], GENERATED] = []
    """DNS names and addresses that the certificate is for."""
    not_before: Annotated[Time, GENERATED] = ""
    """Since when it holds. UTC."""
    not_after: Annotated[Time, GENERATED, Listed()] = ""
    """The earliest end in it; of a list: when the next one is due. UTC; empty: it has none."""
    digest: Annotated[str, GENERATED] = ""
    """SHA-256 of what is in use, hexadecimal: another, once it was renewed."""
    problem: Annotated[str | None, GENERATED, Listed()] = None
    """Why the reference could not be read, or what is wrong with what it stands for now. What was right before stays in
    use."""
    checked_at: Annotated[Time, GENERATED, Key(26)]
    """When the reference was last read. UTC; empty: it will be at once."""
    stapled_until: Annotated[Time | None, GENERATED] = None
    """Until when the OCSP response holds that is shown with the certificate; null: none is."""
    unstapled: Annotated[str | None, GENERATED] = None
    """Why no new OCSP response could be had for it, or none is shown though it demands one."""
    staple_due: Annotated[str | None, Access("generated", shown=False)] = None
    """When the next one is asked for; null: at once."""
    announced: Annotated[Int | None, Access("generated", shown=False)] = None
    """How many days before its end an event said so last; 0: that it has ended."""


CERTIFICATE = Kind(
    name="certificate",
    model=Certificate,
    title="Certificate",
    path="/certificates",
    plural="certificates",
    links="certificates_links",
    root=None,
    unique=(("loadbalancer_id", "reference", "purpose"),),
)
