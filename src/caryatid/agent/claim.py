# SPDX-License-Identifier: Apache-2.0
"""Who has a VIP: saying that we do (gratuitous ARP, unsolicited neighbour advertisements), and hearing others say so.

Frames are built and read here; sockets are opened by a thread that is in the right namespace. RFC 826, 4861, 5227.
"""

import ctypes
import select
import socket
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from math import ceil

from caryatid.agent.namespace import NamespaceError

ETH_P_ARP = 0x0806
ETH_P_IPV6 = 0x86DD
BROADCAST = b"\xff" * 6
ALL_NODES_MAC = b"\x33\x33\x00\x00\x00\x01"
ALL_NODES = IPv6Address("ff02::1").packed
ARP_REQUEST, ARP_REPLY = 1, 2
SOLICITATION, ADVERTISEMENT = 135, 136
OVERRIDE = 0x20000000
"""Flag of an advertisement: replaces what a neighbour remembers."""
ICMPV6 = 58
SENDER_MAC = slice(6, 12)
ARP_SENDER_MAC = slice(22, 28)
FRAME_BYTES_MAX = 512
FRAMES_A_WAKE = 20
PROBES = 2
PROBE_S = 0.25
"""How long a neighbour may take to answer one."""
PASSES_AFTER_S = 2.5
"""A link that has just come up may pass nothing before: Linux looks at such changes once a second."""
SO_ATTACH_FILTER = 26
WORD, BYTE = 0x20, 0x30
JUMP_EQUAL, RETURN = 0x15, 0x06


@dataclass(frozen=True)
class Sighting:
    """Somebody says that it has a VIP."""

    vip: str
    mac: str


class Ear:
    """Hears who says that it has one VIP on one interface; the kernel sorts out all other packets."""

    def __init__(self, interface: str, vip: str) -> None:
        """Raises NamespaceError."""
        self.vip = vip
        self._four = ip_address(vip).version == 4  # noqa: PLR2004
        kind = ETH_P_ARP if self._four else ETH_P_IPV6
        self.socket = _packets(interface, 0)
        try:
            _attach(self.socket, _conditions(vip))
            self.socket.bind((interface, kind))
        except OSError as error:
            self.socket.close()
            raise NamespaceError(f"{interface} cannot be listened on: {error.strerror}.") from error
        self.mac: bytes = self.socket.getsockname()[4]

    def heard(self) -> list[Sighting]:
        """Whoever else said so since last time."""
        found = []
        for _ in range(FRAMES_A_WAKE):
            try:
                frame = self.socket.recv(FRAME_BYTES_MAX)
            except OSError:
                break
            mac = frame[ARP_SENDER_MAC if self._four else SENDER_MAC]
            if mac != self.mac:
                found.append(Sighting(self.vip, mac.hex(":")))
        return found

    def close(self) -> None:
        self.socket.close()


class Voice:
    """Says to the neighbours on one interface that these VIPs are here."""

    def __init__(self, interface: str, vips: Sequence[str]) -> None:
        """Raises NamespaceError."""
        self.socket = _packets(interface, 0)
        mac = self.socket.getsockname()[4]
        self._frames = [frame for vip in vips for frame in announcements(mac, vip)]

    def say(self) -> None:
        """Once; what does not get through is lost."""
        for frame in self._frames:
            try:
                self.socket.send(frame)
            except OSError:
                return

    def close(self) -> None:
        self.socket.close()


def others(interface: str, vip: str, up_since: float) -> Sighting | None:
    """Ask whether somebody else has the VIP; takes half a second if nobody has, longer if the host's links are only up
    since then (monotonic seconds). Raises NamespaceError."""
    ear = Ear(interface, vip)
    probes = max(PROBES, ceil((up_since + PASSES_AFTER_S - time.monotonic()) / PROBE_S))
    try:
        for _ in range(probes):
            until = time.monotonic() + PROBE_S
            ear.socket.send(probe(ear.mac, vip))
            while (left := until - time.monotonic()) > 0:
                if select.select([ear.socket], [], [], left)[0] and (found := ear.heard()):
                    return found[0]
    except OSError:
        return None
    finally:
        ear.close()
    return None


# -- frames


def announcements(mac: bytes, vip: str) -> list[bytes]:
    """ARP as request and as reply, as some neighbours heed only one of them; or an advertisement to all nodes."""
    address = ip_address(vip)
    if isinstance(address, IPv6Address):
        body = struct.pack("!I", OVERRIDE) + address.packed + b"\x02\x01" + mac
        return [_icmpv6(mac, ALL_NODES_MAC, (address.packed, ALL_NODES), ADVERTISEMENT, body)]
    return [_arp(mac, kind, address.packed, address.packed) for kind in (ARP_REQUEST, ARP_REPLY)]


def probe(mac: bytes, vip: str) -> bytes:
    """Who has it? Asked from no address, so that nobody's memory changes."""
    address = ip_address(vip)
    if isinstance(address, IPv6Address):
        group = IPv6Address("ff02::1:ff00:0").packed[:13] + address.packed[13:]
        body = struct.pack("!I", 0) + address.packed
        return _icmpv6(mac, b"\x33\x33" + group[12:], (bytes(16), group), SOLICITATION, body)
    return _arp(mac, ARP_REQUEST, bytes(4), address.packed)


def _arp(mac: bytes, kind: int, sender: bytes, target: bytes) -> bytes:
    head = BROADCAST + mac + struct.pack("!H", ETH_P_ARP)
    return head + struct.pack("!HHBBH", 1, 0x0800, 6, 4, kind) + mac + sender + bytes(6) + target


def _icmpv6(mac: bytes, to: bytes, addresses: tuple[bytes, bytes], kind: int, body: bytes) -> bytes:
    length = 4 + len(body)
    message = struct.pack("!BBH", kind, 0, 0) + body
    checked = b"".join(addresses) + struct.pack("!II", length, ICMPV6) + message
    message = struct.pack("!BBH", kind, 0, _checksum(checked)) + body
    ip = struct.pack("!IHBB", 6 << 28, length, ICMPV6, 255) + b"".join(addresses)
    return to + mac + struct.pack("!H", ETH_P_IPV6) + ip + message


def _checksum(content: bytes) -> int:
    """RFC 1071, of an even number of bytes."""
    total: int = sum(struct.unpack(f"!{len(content) // 2}H", content))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


# -- sockets


def _packets(interface: str, kind: int) -> socket.socket:
    opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
    try:
        opened.bind((interface, kind))
    except OSError as error:
        opened.close()
        raise NamespaceError(f"{interface} cannot be used: {error.strerror}.") from error
    return opened


def _conditions(vip: str) -> list[tuple[int, int, int]]:
    """(size, offset, value) of what a frame must hold so that it says: I have this VIP."""
    address = ip_address(vip)
    if not isinstance(address, IPv6Address):
        return [(WORD, 28, int(address))]
    words = struct.unpack("!4I", address.packed)
    return [(BYTE, 20, ICMPV6), (BYTE, 54, ADVERTISEMENT), *((WORD, 62 + 4 * i, word) for i, word in enumerate(words))]


def _attach(opened: socket.socket, conditions: Sequence[tuple[int, int, int]]) -> None:
    """A classic BPF program: all of them, or the frame is not for us (linux/filter.h)."""
    program = b""
    left = 2 * len(conditions)
    for size, offset, value in conditions:
        left -= 2
        program += struct.pack("HBBI", size, 0, 0, offset)
        program += struct.pack("HBBI", JUMP_EQUAL, 0, left + 1, value)
    program += struct.pack("HBBI", RETURN, 0, 0, 0xFFFF) + struct.pack("HBBI", RETURN, 0, 0, 0)
    content = ctypes.create_string_buffer(program, len(program))
    said = struct.pack("HL", len(program) // 8, ctypes.addressof(content))
    opened.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, said)
