# SPDX-License-Identifier: Apache-2.0
"""Members and clients for datagrams on machines of a site."""

import asyncio
import contextlib
import socket
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.agent.networks.conftest import ANSWER_S

SILENCE_S = 0.3
ICMP_LIMITS = ("net/ipv4/icmp_ratelimit", "net/ipv6/icmp/ratelimit")


@dataclass
class Responder:
    """Answers each datagram with its name and where it came from; until it stops, its port is closed then."""

    name: str
    socket: socket.socket
    stopped: bool = False

    def run(self) -> None:
        while not self.stopped:
            with contextlib.suppress(OSError):
                data, peer = self.socket.recvfrom(2048)
                self.socket.sendto(f"{self.name} {peer[0].removeprefix('::ffff:')} ".encode() + data, peer)

    def stop(self) -> None:
        self.stopped = True
        self.socket.close()


@dataclass
class Town:
    """The site, with members and clients for datagrams."""

    site: Any
    responders: list[Responder] = field(default_factory=list)
    sockets: list[socket.socket] = field(default_factory=list)

    def member(self, name: str, machine: str = "client", port: int = 8000) -> Responder:
        with self.site.machine(machine).entered():
            for limit in ICMP_LIMITS:
                Path("/proc/sys", limit).write_text("0")  # checks come more often here than a kernel says no
            made = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        made.settimeout(0.05)
        made.bind(("::", port))
        responder = Responder(name, made)
        self.responders.append(responder)
        threading.Thread(target=responder.run, daemon=True).start()
        return responder

    def client(self, vip: str = "10.9.0.100", machine: str = "client", port: int = 5353) -> socket.socket:
        """A flow of its own."""
        with self.site.machine(machine).entered():
            made = socket.socket(socket.AF_INET6 if ":" in vip else socket.AF_INET, socket.SOCK_DGRAM)
        made.connect((vip, port))
        made.settimeout(ANSWER_S)
        self.sockets.append(made)
        return made

    def close(self) -> None:
        for responder in self.responders:
            responder.stop()
        for one in self.sockets:
            one.close()


def ask(client: socket.socket, data: bytes = b"x") -> str:
    """Who answers: its name; `refused`, or `silence`."""
    return said(client, data).partition(" ")[0]


def said(client: socket.socket, data: bytes = b"x") -> str:
    try:
        client.send(data)
        return client.recv(2048).decode()
    except TimeoutError:
        return "silence"
    except ConnectionRefusedError:
        return "refused"


async def asked(clients: Iterable[socket.socket]) -> list[str]:
    return [await asyncio.to_thread(ask, client) for client in clients]
