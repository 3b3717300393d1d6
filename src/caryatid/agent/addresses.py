# SPDX-License-Identifier: Apache-2.0
"""The machine's own addresses, asked of the kernel (rtnetlink(7)): needs no rights, and not pyroute2's memory."""

import socket
import struct
from collections.abc import Iterator
from ipaddress import ip_address

ADDRESSES_MAX = 64
ANSWER_S = 5.0
HEADER = struct.Struct("=IHHII")
"""nlmsghdr: length, type, flags, sequence, sender."""
ADDRESS = struct.Struct("=BBBBI")
"""ifaddrmsg: family, length of the prefix, flags, scope, interface."""
ATTRIBUTE = struct.Struct("=HH")
"""rtattr: length, type."""
GETADDR, NEWADDR, DONE, ERROR = 22, 20, 3, 2
DUMP = 0x301
"""NLM_F_REQUEST | NLM_F_ROOT | NLM_F_MATCH (linux/netlink.h)."""
IFA_ADDRESS, IFA_LOCAL = 1, 2
UNIVERSE = 0
TEMPORARY, DAD_FAILED, TENTATIVE = 0x01, 0x08, 0x40
"""Flags of IPv6 addresses that go again, or are another's (linux/if_addr.h)."""


def addresses() -> list[str]:
    """Those by which others can reach the machine: not loopback, not link-local, not the temporary ones of IPv6. The
    first 64 of them, in an order that stays; none if the kernel does not say."""
    try:
        found = {ip_address(packed) for packed in _asked()}
    except OSError:
        return []
    usable = [one for one in found if not (one.is_loopback or one.is_link_local or one.is_unspecified)]
    return [str(one) for one in sorted(usable, key=lambda one: (one.version, int(one)))[:ADDRESSES_MAX]]


def _asked() -> Iterator[bytes]:
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as netlink:
        netlink.settimeout(ANSWER_S)
        netlink.bind((0, 0))
        netlink.send(HEADER.pack(HEADER.size + ADDRESS.size, GETADDR, DUMP, 1, 0) + ADDRESS.pack(0, 0, 0, 0, 0))
        while True:
            for kind, body in _parts(netlink.recv(1 << 16)):
                if kind in (DONE, ERROR):
                    return
                if kind == NEWADDR and (packed := _address(body)):
                    yield packed


def _parts(answer: bytes) -> Iterator[tuple[int, bytes]]:
    while len(answer) >= HEADER.size:
        length, kind, *_ = HEADER.unpack_from(answer)
        if length < HEADER.size:
            return
        yield kind, answer[HEADER.size : length]
        answer = answer[_aligned(length) :]


def _address(body: bytes) -> bytes | None:
    """The address in a message about one; None if it is not for everybody, or not for long."""
    family, _, flags, scope, _ = ADDRESS.unpack_from(body)
    fleeting = family == socket.AF_INET6 and flags & (TEMPORARY | DAD_FAILED | TENTATIVE)
    if scope != UNIVERSE or fleeting:
        return None
    said: dict[int, bytes] = {}
    rest = body[ADDRESS.size :]
    while len(rest) >= ATTRIBUTE.size:
        length, kind = ATTRIBUTE.unpack_from(rest)
        if length < ATTRIBUTE.size:
            break
        said[kind] = rest[ATTRIBUTE.size : length]
        rest = rest[_aligned(length) :]
    return said.get(IFA_LOCAL) or said.get(IFA_ADDRESS)


def _aligned(length: int) -> int:
    return (length + 3) & ~3
