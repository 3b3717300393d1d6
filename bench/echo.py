# SPDX-License-Identifier: Apache-2.0
"""Datagrams with sequence numbers: a member that sends back what it gets, and clients that know what is missing.

python -m bench.echo member NAME ADDRESS PORT
python -m bench.echo rate ADDRESS PORT SECONDS             → datagrams answered a second, as fast as it goes
python -m bench.echo load ADDRESS PORT RATE FLOWS SECONDS  → a JSON object, see `load`
python -m bench.echo queries ADDRESS PORT RATE SECONDS     → the same, each datagram from a socket of its own
"""

import contextlib
import json
import select
import socket
import struct
import sys
import time
from collections import Counter
from collections.abc import Callable

IN_FLIGHT = 32
LATE_S = 1.0
"""What has not come so long after the last was sent is lost."""
BUFFER_BYTES = 1 << 22
NUMBER = struct.Struct(">I")


def member(name: str, address: str, port: str) -> None:
    with _socket() as own:
        own.bind((address, int(port)))
        print("ready", flush=True)
        while True:
            data, peer = own.recvfrom(2048)
            own.sendto(data + name.encode(), peer)


def rate(address: str, port: str, seconds: str) -> None:
    """A datagram that is lost is made up for after a while."""
    answered = 0
    with _socket() as own:
        own.connect((address, int(port)))
        own.settimeout(0.1)
        began = time.perf_counter()
        ends = began + float(seconds)
        for _ in range(IN_FLIGHT):
            own.send(bytes(64))
        while (now := time.perf_counter()) < ends:
            try:
                own.recv(2048)
                answered += 1
            except OSError:
                pass
            own.send(bytes(64))
    print(answered / (now - began))


def load(address: str, port: str, per_second: str, flows: str, seconds: str) -> None:
    """At an even rate, by turns of each flow, until the time is over or standard input ends. Afterwards: `sent`,
    `lost`, `moved` (flows that have had more than one member), `gaps` (of each flow that lost any: seconds from the
    first to the last of them), `last_lost` (seconds after `began`, which is on the clock)."""
    own = [Flow(address, port) for _ in range(int(flows))]
    _tell(lambda number: own[number % len(own)], own, float(per_second), float(seconds))


def queries(address: str, port: str, per_second: str, seconds: str) -> None:
    own: list[Flow] = []

    def fresh(_: int) -> Flow:
        own.append(Flow(address, port, once=True))
        return own[-1]

    _tell(fresh, own, float(per_second), float(seconds))


class Flow:
    """One socket, and what went through it."""

    def __init__(self, address: str, port: str, *, once: bool = False) -> None:
        """`once`: it ends with the first answer."""
        self.socket = _socket()
        self._once = once
        self.socket.connect((address, int(port)))
        self.socket.setblocking(False)
        self.sent: dict[int, float] = {}
        self.answered: set[int] = set()
        self.members: set[str] = set()

    def tell(self, number: int, at: float) -> None:
        self.sent[number] = at
        with contextlib.suppress(OSError):
            self.socket.send(NUMBER.pack(number))

    def hear(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                try:
                    data = self.socket.recv(2048)
                except ConnectionError:
                    continue
                self.answered.add(*NUMBER.unpack_from(data))
                self.members.add(data[NUMBER.size :].decode())
                if self._once:
                    self.socket.close()
                    return

    @property
    def lost(self) -> list[float]:
        return [at for number, at in self.sent.items() if number not in self.answered]


def _tell(chosen: Callable[[int], Flow], own: list[Flow], per_second: float, seconds: float) -> None:
    poll, count, known = select.epoll(), 0, {}
    began, clock = time.perf_counter(), time.time()
    poll.register(sys.stdin, select.EPOLLIN)
    until = seconds
    while (now := time.perf_counter() - began) < until + LATE_S:
        while count < now * per_second and now < until:
            flow = chosen(count)
            if known.get(flow.socket.fileno()) is not flow:
                known[flow.socket.fileno()] = flow
                poll.register(flow.socket, select.EPOLLIN)
            flow.tell(count, now)
            count += 1
        for descriptor, _ in poll.poll(0.0005):
            if descriptor in known:
                known[descriptor].hear()
            else:
                poll.unregister(sys.stdin)
                until = now
    gaps = [flow.lost for flow in own if flow.lost]
    print(
        json.dumps(
            {
                "sent": count,
                "lost": sum(map(len, gaps)),
                "moved": sum(len(flow.members) > 1 for flow in own),
                "members": Counter(name for flow in own for name in flow.members),
                "gaps": [times[-1] - times[0] for times in gaps],
                "last_lost": max((times[-1] for times in gaps), default=0.0),
                "began": clock,
            }
        )
    )


def _socket() -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
        made.setsockopt(socket.SOL_SOCKET, option, BUFFER_BYTES)
    return made


if __name__ == "__main__":
    {"member": member, "rate": rate, "load": load, "queries": queries}[sys.argv[1]](*sys.argv[2:])
