# SPDX-License-Identifier: Apache-2.0
"""PKCS #12 (RFC 7292): the certificates and keys in a file. Raises ValueError for what is none, or cannot be decrypted.

Its MAC is not looked at: it protects a file from whoever does not know the passphrase; files come here from who does.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from .der import Element, sequence
from .wrapping import Wrapped, unwrap

WRAPPED_MAX = 4
"""Parts that are encrypted, each by itself: usually two."""
DATA, ENCRYPTED = bytes.fromhex("2a864886f70d010701"), bytes.fromhex("2a864886f70d010706")
KEY_BAG, WRAPPED_BAG, CERTIFICATE_BAG = (bytes.fromhex(f"2a864886f70d010c0a01{number:02x}") for number in (1, 2, 3))
X509 = bytes.fromhex("2a864886f70d01091601")


@dataclass
class Opened:
    """What was found, in DER."""

    certificates: list[bytes] = field(default_factory=list)
    keys: list[bytes] = field(default_factory=list, repr=False)


def read(data: bytes, passphrase: bytes) -> Opened:
    """All certificates and keys in it. Raises ValueError, TooDear."""
    try:
        return _Reader(passphrase, ended=True).read(data)
    except ValueError:
        if passphrase:
            raise
        return _Reader(passphrase, ended=False).read(data)


class _Reader:
    def __init__(self, passphrase: bytes, *, ended: bool) -> None:
        self._passphrase = passphrase
        self._ended = ended
        self._left = WRAPPED_MAX
        self._found = Opened()

    def read(self, data: bytes) -> Opened:
        _, content, *_ = sequence(data).children
        for part in sequence(_data(content)).children:
            self._bags(self._contents(part))
        return self._found

    def _contents(self, part: Element) -> bytes:
        kind, body = part.children
        if kind.value == DATA:
            return _data(part)
        if kind.value != ENCRYPTED:
            raise ValueError("Such a part is not known.")
        (encrypted,) = body.children
        _, what, *_ = encrypted.children
        _, algorithm, content = what.children
        return self._unwrap(Wrapped(algorithm, content.octets))

    def _bags(self, data: bytes) -> None:
        """Bags within bags are not looked into: nobody makes them."""
        for bag in sequence(data).children:
            kind, value, *_ = bag.children
            (inner,) = value.children
            if kind.value == KEY_BAG:
                self._found.keys.append(inner.whole)
            elif kind.value == WRAPPED_BAG:
                algorithm, content = inner.children
                self._found.keys.append(self._unwrap(Wrapped(algorithm, content.octets)))
            elif kind.value == CERTIFICATE_BAG:
                self._found.certificates += _certificate(inner)

    def _unwrap(self, wrapped: Wrapped) -> bytes:
        self._left -= 1
        if self._left < 0:
            raise ValueError("Too many parts are encrypted.")
        return unwrap(wrapped, self._passphrase, ended=self._ended)


def _data(content: Element) -> bytes:
    """What a ContentInfo of type data holds."""
    kind, body = content.children
    (octets,) = body.children
    if kind.value != DATA:
        raise ValueError("It is signed, not sealed.")
    return octets.octets


def _certificate(bag: Element) -> Iterator[bytes]:
    kind, value = bag.children
    (octets,) = value.children
    if kind.value == X509:
        yield octets.octets
