# SPDX-License-Identifier: Apache-2.0
"""Secrets that we keep ourselves, and containers of them, under the names that Barbican's clients know."""

import base64
import binascii
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated, Literal, NamedTuple
from uuid import UUID

from pydantic import AfterValidator, Field

from caryatid.errors import Fault

from . import field
from .field import Access, Listed
from .kind import Kind
from .resource import Dated, Document, Named, Owned
from .types import ContainerRef, Int, Name

BYTES_MAX = 1 << 16
"""Of a payload."""
ENCODED_MAX = BYTES_MAX * 4 // 3 + 4096
"""Characters of a payload in base64, with the ends of its lines."""
REFERENCE = re.compile(r"(?:https?://[^/?#\s]+(?:/[^/?#\s]+)*)?/v1/(secrets|containers)/([0-9A-Fa-f-]{32,36})/?")
TEXT = re.compile(r"text/plain(\s*;\s*charset=\"?utf-8\"?)?", re.IGNORECASE)
BINARY = frozenset({"application/octet-stream", "application/pkcs8", "application/x-pkcs12"})
CREATED = Access("create")
PARTS = ("certificate", "private_key", "private_key_passphrase", "intermediates")
"""What a container of type certificate can name."""
SecretType = Literal["opaque", "certificate", "private", "public", "passphrase", "symmetric"]
ContainerType = Literal["certificate", "generic"]


class Kept(NamedTuple):
    """What a reference names."""

    collection: Literal["secrets", "containers"]
    id: str

    @property
    def path(self) -> str:
        return f"/v1/{self.collection}/{self.id}"


def kept(reference: str) -> Kept | None:
    """What the reference names, whatever host and prefix it has; None: it is no reference of this kind."""
    found = REFERENCE.fullmatch(reference)
    if found is None:
        return None
    try:
        key = str(UUID(found[2]))
    except ValueError:
        return None
    return Kept("secrets" if found[1] == "secrets" else "containers", key)


def decoded(payload: str | bytes, content_type: str, encoding: str | None) -> bytes:
    """The bytes that a payload stands for. Raises ValueError with a sentence that shows nothing of it."""
    if not payload:
        raise ValueError("A payload must not be empty.")
    text = TEXT.fullmatch(content_type)
    if not text and content_type.lower() not in BINARY:
        known = ", ".join(("text/plain", *sorted(BINARY)))
        raise ValueError(f"The content type of a payload is one of: {known}.")
    raw = payload.encode() if isinstance(payload, str) else payload
    if encoding:
        raw = _unwrapped(raw, encoding)
    elif isinstance(payload, str) and not text:
        raise ValueError("A payload that is no text needs payload_content_encoding base64.")
    if len(raw) > BYTES_MAX:
        raise ValueError(f"A payload has at most {BYTES_MAX} bytes.")
    return raw


def _unwrapped(raw: bytes, encoding: str) -> bytes:
    if encoding != "base64":
        raise ValueError("The content encoding of a payload is base64, or none.")
    try:
        return base64.b64decode(b"".join(raw.split()), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("The payload is not base64.") from None


def _moment(value: str) -> str:
    try:
        moment = datetime.fromisoformat(value.strip())
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError("Value should be a moment, like 2030-01-01T00:00:00") from None
    return moment.replace(tzinfo=None).isoformat(timespec="microseconds")


Moment = Annotated[str, Field(max_length=64), AfterValidator(_moment)]


class Secret(Named, Owned, Dated):
    """Something that must not be seen: a key, a certificate, a passphrase. What it is can be written, and never read
    again."""

    name: Annotated[Name, CREATED, Listed()] = ""
    """Human-readable; need not be unique."""
    secret_type: Annotated[SecretType, CREATED, Listed()] = "opaque"  # noqa: S105  a kind of secret, not one
    """What it is said to be; means nothing here."""
    algorithm: Annotated[Name | None, CREATED] = None
    """The same."""
    bit_length: Annotated[Annotated[Int, Field(ge=0, le=2**31 - 1)] | None, CREATED] = None
    """The same."""
    mode: Annotated[Name | None, CREATED] = None
    """The same."""
    expiration: Annotated[Moment | None, CREATED, Listed()] = None
    """When it can no longer be read for a listener or pool. UTC; null: always."""
    payload: Annotated[Annotated[str, Field(max_length=ENCODED_MAX)] | None, CREATED, field.Secret()] = None
    """The secret itself; can be given later, and anew."""
    payload_content_type: Annotated[Name | None, CREATED] = None
    """What the payload is: `text/plain`, or `application/octet-stream`, `application/pkcs8` or `application/x-pkcs12`,
    which need `payload_content_encoding`. Null: there is no payload yet."""
    payload_content_encoding: Annotated[Literal["base64"] | None, Access("create", shown=False)] = None
    """How the payload is written in this document."""

    def faults(self) -> Iterator[Fault]:
        if self.payload is None:
            if self.payload_content_type is not None:
                yield Fault("A payload must be given with payload_content_type.", "payload")
            return
        if self.payload_content_type is None:
            yield Fault("payload_content_type must be given with a payload.", "payload_content_type")
            return
        try:
            decoded(self.payload, self.payload_content_type, self.payload_content_encoding)
        except ValueError as error:
            yield Fault(str(error), "payload")


class SecretRef(Document):
    """A secret under the name that it has in a container."""

    name: Name = ""
    """`certificate`, `private_key`, `private_key_passphrase` or `intermediates`; in a generic container anything."""
    secret_ref: ContainerRef
    """The secret."""


class Container(Named, Owned, Dated):
    """Secrets that belong together: what a listener's container references name."""

    name: Annotated[Name, CREATED, Listed()] = ""
    """Human-readable; need not be unique."""
    type: Annotated[ContainerType, CREATED, Listed()]
    """`certificate`: a certificate and what goes with it. `generic`: anything."""
    secret_refs: Annotated[Annotated[list[SecretRef], Field(max_length=20)], CREATED] = []
    """The secrets. They stay by themselves: who replaces one's payload has renewed the container."""

    def faults(self) -> Iterator[Fault]:
        names = [each.name for each in self.secret_refs]
        if len(set(names)) < len(names):
            yield Fault("Each name may be given once.", "secret_refs")
        if self.type == "certificate" and "certificate" not in names:
            yield Fault("A container of type certificate needs a secret called certificate.", "secret_refs")
        wrong = [name for name in names if name not in PARTS]
        if self.type == "certificate" and wrong:
            yield Fault(
                f"In a container of type certificate a secret is called one of: {', '.join(PARTS)}.", "secret_refs"
            )
        for each in self.secret_refs:
            named = kept(each.secret_ref)
            if named is None or named.collection != "secrets":
                yield Fault(f"{each.secret_ref} is no reference of a secret.", "secret_refs")


SECRET = Kind(
    name="secret", model=Secret, title="Secret", path="/secrets", plural="secrets", root=None, borrowed="Barbican"
)
CONTAINER = Kind(
    name="container",
    model=Container,
    title="Secret Container",
    path="/containers",
    plural="containers",
    root=None,
    borrowed="Barbican",
)
