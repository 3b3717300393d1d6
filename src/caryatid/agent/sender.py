# SPDX-License-Identifier: Apache-2.0
"""Carries reports to receivers, in datagrams; and hears who asks for more."""

import asyncio
import contextlib
import socket
from collections.abc import Callable, Sequence

from caryatid import metrics
from caryatid.wire.heartbeat import Header, Message, is_question, pack

BURST_DATAGRAMS = 16
BURST_PAUSE_S = 0.003
QUESTION_BYTES_MAX = 64
Target = tuple[socket.AddressFamily, tuple[str, int]]


class Sender:
    """The sockets of one agent. Receivers take turns, or all get the same; none is waited for."""

    def __init__(self, key: bytes, host_id: str, boot_id: int, asked: Callable[[], None]) -> None:
        """`asked` is called when a receiver wants to be told everything."""
        self._key = key
        self._host_id = host_id
        self._boot_id = boot_id
        self._asked = asked
        self._targets: list[Target] = []
        self._turn = 0
        self._sequence = 0
        self._sockets: dict[socket.AddressFamily, socket.socket] = {}
        self._loop = asyncio.get_running_loop()

    def retarget(self, targets: Sequence[str]) -> None:
        """These are the receivers from now on."""
        self._targets = [_address(target) for target in targets]

    def rekey(self, key: bytes) -> None:
        """Sign with another key from now on."""
        self._key = key

    def next_turn(self) -> None:
        """What is not for all goes to the next receiver from now on."""
        self._turn += 1

    def close(self) -> None:
        """Nothing is sent any more."""
        self._targets = []
        for sender in self._sockets.values():
            self._loop.remove_reader(sender)
            sender.close()
        self._sockets.clear()

    def send(self, messages: Sequence[Message], *, everywhere: bool = False) -> int:
        """They are on their way to the receiver whose turn it is, or to all; the number of datagrams for one."""
        if not self._targets:
            return 0
        count = 0
        for target in self._targets if everywhere else [self._targets[self._turn % len(self._targets)]]:
            datagrams = pack(self._key, Header(self._host_id, self._boot_id, self._sequence), messages)
            count = len(datagrams)
            self._sequence += count
            metrics.AGENT_DATAGRAMS.inc(count)
            self._emit(target, datagrams)
        return count

    def _emit(self, target: Target, datagrams: list[bytes]) -> None:
        """Hand datagrams to the kernel, in bursts: a receiver's buffer holds about ninety, more would be lost."""
        if target not in self._targets:
            return
        family, address = target
        sender = self._sender(family)
        for datagram in datagrams[:BURST_DATAGRAMS]:
            with contextlib.suppress(OSError):
                sender.sendto(datagram, address)
        if rest := datagrams[BURST_DATAGRAMS:]:
            self._loop.call_later(BURST_PAUSE_S, self._emit, target, rest)

    def _sender(self, family: socket.AddressFamily) -> socket.socket:
        if family not in self._sockets:
            sender = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
            self._loop.add_reader(sender, self._heard, sender)
            self._sockets[family] = sender
        return self._sockets[family]

    def _heard(self, receiver: socket.socket) -> None:
        """Somebody answers our reports: who has the key may ask for everything."""
        with contextlib.suppress(OSError):
            if is_question(receiver.recv(QUESTION_BYTES_MAX), self._key, self._boot_id):
                self._asked()


def _address(target: str) -> Target:
    """`ip:port` or `[ip]:port`."""
    host, _, port = target.rpartition(":")
    host = host.strip("[]")
    return (socket.AF_INET6 if ":" in host else socket.AF_INET), (host, int(port))
