# SPDX-License-Identifier: Apache-2.0
"""What is asked of the kernel's packet filter without a program: counters, and tracked flows by their marks.

Netlink (linux/netfilter/nfnetlink.h, nf_tables.h, nfnetlink_conntrack.h), in the network namespace of the calling
thread. Nothing but the headers of flows is read: there may be hundreds of thousands.
"""

import errno
import os
import socket
import struct
import sys
from collections.abc import Iterator

from caryatid.agent.namespace import NamespaceError

NETLINK_NETFILTER = 12
REQUEST, ACKNOWLEDGE, DUMP = 0x01, 0x04, 0x300
ERROR, DONE = 2, 3
GET_OBJECT = 10 << 8 | 19
GET_ELEMENTS = 10 << 8 | 13
SET, ELEMENTS, KEY, VALUE = 2, 3, 1, 1
GET_FLOW, DELETE_FLOW = 1 << 8 | 1, 1 << 8 | 2
TABLE, TYPE, NAME, DATA = 1, 3, 2, 4
COUNTER, COUNTER_BYTES, COUNTER_PACKETS = 1, 1, 2
MARK, MARK_MASK = 8, 21
FAMILY_INET, FAMILY_ANY = 1, 0
NESTED = 0x8000
HEADER = struct.Struct("=IHHII")
ATTRIBUTE = struct.Struct("=HH")
FAMILY_HEADER_BYTES = 4
RECEIVED_BYTES = 1 << 18
DEADLINE_S = 5.0


def counters(table: str) -> dict[str, tuple[int, int]]:
    """(packets, bytes) of the named counters in a table of family inet, by name; none if there is no such table. Raises
    NamespaceError."""
    body = _attribute(TABLE, table.encode() + b"\0") + _attribute(TYPE, struct.pack(">I", COUNTER))
    found = {}
    try:
        for message in _ask(GET_OBJECT, DUMP, FAMILY_INET, body):
            said = dict(_attributes(message[FAMILY_HEADER_BYTES:]))
            numbers = dict(_attributes(said[DATA]))
            packets, size = (int.from_bytes(numbers[key], "big") for key in (COUNTER_PACKETS, COUNTER_BYTES))
            found[said[NAME].rstrip(b"\0").decode()] = (packets, size)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise NamespaceError(f"Counters cannot be read: {error.strerror}.") from error
    return found


def elements(table: str, name: str) -> set[int]:
    """What is in a set of marks; nothing if there is no such set. Raises NamespaceError."""
    body = _attribute(TABLE, table.encode() + b"\0") + _attribute(SET, name.encode() + b"\0")
    found = set()
    try:
        for message in _ask(GET_ELEMENTS, DUMP, FAMILY_INET, body):
            for _, element in _attributes(dict(_attributes(message[FAMILY_HEADER_BYTES:])).get(ELEMENTS, b"")):
                value = dict(_attributes(dict(_attributes(element))[KEY]))[VALUE]
                found.add(int.from_bytes(value, sys.byteorder))
    except FileNotFoundError:
        return set()
    except OSError as error:
        raise NamespaceError(f"Set {name} cannot be read: {error.strerror}.") from error
    return found


def flows(mark: int, mask: int) -> int:
    """How many flows have this mark, as far as the mask goes. Raises NamespaceError."""
    try:
        return sum(1 for _ in _ask(GET_FLOW, DUMP, FAMILY_ANY, _mark(mark, mask)))
    except OSError as error:
        raise NamespaceError(f"Flows cannot be counted: {error.strerror}.") from error


def forget(mark: int, mask: int) -> None:
    """Flows with this mark, as far as the mask goes, are not known: their next packets begin anew. Raises
    NamespaceError."""
    try:
        for _ in _ask(DELETE_FLOW, ACKNOWLEDGE, FAMILY_ANY, _mark(mark, mask)):
            pass
    except FileNotFoundError:
        pass
    except OSError as error:
        raise NamespaceError(f"Flows cannot be ended: {error.strerror}.") from error


def _mark(mark: int, mask: int) -> bytes:
    return _attribute(MARK, struct.pack(">I", mark)) + _attribute(MARK_MASK, struct.pack(">I", mask))


def _ask(kind: int, flags: int, family: int, body: bytes) -> Iterator[memoryview]:
    """The bodies of all messages that answer. Raises OSError, with the kernel's number if it refuses."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER) as asking:
        asking.settimeout(DEADLINE_S)
        asking.bind((0, 0))
        content = struct.pack("=BBH", family, 0, 0) + body
        asking.send(HEADER.pack(HEADER.size + len(content), kind, REQUEST | flags, 1, 0) + content)
        while True:
            received = memoryview(asking.recv(RECEIVED_BYTES))
            at = 0
            while at + HEADER.size <= len(received):
                length, answer, _, _, _ = HEADER.unpack_from(received, at)
                message = received[at + HEADER.size : at + length]
                if answer in (ERROR, DONE):
                    _raise(message)
                    return
                yield message
                at += length + 3 & ~3


def _raise(message: memoryview) -> None:
    """The number in an acknowledgement, or at the end of a dump; 0: all is well. A dump that was changed meanwhile is
    as good as any."""
    number = -struct.unpack_from("=i", message)[0] if len(message) >= struct.calcsize("=i") else 0
    if number not in (0, errno.EINTR):
        raise OSError(number, os.strerror(number))


def _attribute(kind: int, value: bytes) -> bytes:
    length = ATTRIBUTE.size + len(value)
    return ATTRIBUTE.pack(length, kind) + value + bytes(-length % 4)


def _attributes(content: memoryview | bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + ATTRIBUTE.size <= len(content):
        length, kind = ATTRIBUTE.unpack_from(content, at)
        yield kind & ~NESTED, bytes(content[at + ATTRIBUTE.size : at + length])
        at += length + 3 & ~3
