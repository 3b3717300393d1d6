# SPDX-License-Identifier: Apache-2.0
"""ASN.1 as far as files of keys need it: DER, and what of BER old programs write. Raises ValueError for all else."""

from collections.abc import Iterator
from typing import NamedTuple

DEPTH_MAX = 16
INTEGER, OCTETS, OID, SEQUENCE = 0x02, 0x04, 0x06, 0x30
CONSTRUCTED, LONG_TAG, LONG, INDEFINITE = 0x20, 0x1F, 0x80, 0x80
LENGTH_BYTES_MAX = 4
INTEGER_BYTES_MAX = 8
END = b"\x00\x00"


class Element(NamedTuple):
    """One thing."""

    tag: int
    value: bytes
    whole: bytes
    """With its tag and length."""

    @property
    def children(self) -> list["Element"]:
        """What is in it, if it is constructed."""
        if not self.tag & CONSTRUCTED:
            raise ValueError("There is nothing in it.")
        return list(elements(self.value))

    @property
    def octets(self) -> bytes:
        """The bytes of an octet string, whatever its tag; BER may have it in pieces."""
        return _joined(self, DEPTH_MAX)

    @property
    def number(self) -> int:
        """A small integer."""
        if self.tag != INTEGER or len(self.value) > INTEGER_BYTES_MAX:
            raise ValueError("It is no number.")
        return int.from_bytes(self.value, "big", signed=True)


def elements(data: bytes) -> Iterator[Element]:
    """One after the other, to the end."""
    at = 0
    while at < len(data):
        element = _element(data, at, DEPTH_MAX)
        yield element
        at += len(element.whole)


def sequence(data: bytes) -> Element:
    """The one sequence that the data are; what comes after it is not looked at."""
    element = next(elements(data), None)
    if element is None or element.tag != SEQUENCE:
        raise ValueError("It is no sequence.")
    return element


def _element(data: bytes, at: int, depth: int) -> Element:
    if depth == 0 or at + 2 > len(data):
        raise ValueError("It ends too early, or never.")
    tag, length, start = data[at], data[at + 1], at + 2
    if tag & LONG_TAG == LONG_TAG:
        raise ValueError("Such tags are not known here.")
    if length == INDEFINITE:
        end = start
        while data[end : end + 2] != END:
            end += len(_element(data, end, depth - 1).whole)
        return Element(tag, data[start:end], data[at : end + 2])
    if length & LONG:
        count = length & ~LONG
        if count > LENGTH_BYTES_MAX:
            raise ValueError("It is too long.")
        length, start = int.from_bytes(data[start : start + count], "big"), start + count
    if start + length > len(data):
        raise ValueError("It ends too early.")
    return Element(tag, data[start : start + length], data[at : start + length])


def _joined(element: Element, depth: int) -> bytes:
    if not element.tag & CONSTRUCTED:
        return element.value
    if depth == 0:
        raise ValueError("It is too deep.")
    return b"".join(_joined(child, depth - 1) for child in element.children)
