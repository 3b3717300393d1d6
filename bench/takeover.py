# SPDX-License-Identifier: Apache-2.0
"""How long a pair's VIP is nowhere, and what it costs clients: two hosts of one installation, all of it real.

The moment of a takeover is when the standby tells the network that it has the VIP (the first ARP packet in which it
says so), heard on the client's own interface. Takeovers go to and fro; each begins when the pair is whole again.
"""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from bench.figures import Figure, median, spread
from bench.site import CLIENT, Host, Site, site
from bench.site import run as command
from bench.waiting import pause, until

MEMBER_PORT = 8000
PORT = 80
RATE = 1000
ARP = 0x0806
"""EtherType (RFC 826)."""
TAKEN_S = 10.0
WHOLE_S = 60
QUIET_S = 1.0
"""A pair that is whole again is left alone so long."""
LOAD_S = 4.0
REQUEST_TIMEOUT_S = 1.0
MEMBER = f"""
defaults
    mode http
    timeout client 60s
    timeout server 60s
    timeout connect 5s
frontend member
    bind {CLIENT}:{MEMBER_PORT}
    http-request return status 200 content-type text/plain string "one"
"""
Blow = Callable[[Host], None]


def run(*, quick: bool) -> Iterator[Figure]:
    times = 3 if quick else 20
    with site(2) as made, _member():
        pair = Pair(made)
        killed = [pair.takeover(kill_haproxy) for _ in range(times)]
        yield Figure("VIP takeover, haproxy killed (median)", median(killed), "ms", 150, note=spread(killed))
        yield Figure("VIP takeover, haproxy killed (worst)", max(killed), "ms", 300, note=f"of {times}")
        for name, blow in (("keepalived kill -9", kill_keepalived), ("cable out", cut)):
            taken = [pair.takeover(blow) for _ in range(max(times // 2, 3))]
            yield Figure(f"VIP takeover, {name} (median)", median(taken), "ms", 450, note=spread(taken))
        lost = [pair.lost(kill_haproxy) for _ in range(max(times // 4, 2))]
        note = spread([float(failed) for failed, _ in lost], "failed") + f", of {min(sent for _, sent in lost):,} sent"
        worst = float(max(failed for failed, _ in lost))
        yield Figure(f"requests failed in a takeover at {RATE:,}/s (worst)", worst, "requests", 150, note=note)


def kill_haproxy(host: Host) -> None:
    """The master alone, as a fault would have it: its workers are not asked."""
    _kill([pid for pid in host.processes("haproxy") if os.getsid(pid) == pid])


def kill_keepalived(host: Host) -> None:
    """All of it at once: none is left that could say good-bye."""
    pids = host.processes("keepalived")
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    _kill(pids)


def cut(host: Host) -> None:
    host.cut(manage=False)


def _kill(pids: list[int]) -> None:
    assert pids, "nothing there to be killed"
    for pid in pids:
        os.kill(pid, signal.SIGKILL)


class Pair:
    """A load balancer of two amphorae, and a client of it."""

    def __init__(self, made: Site) -> None:
        self._site = made
        body: dict[str, Any] = {
            "name": "pair",
            "vip_subnet_id": made.subnet(),
            "flavor_id": made.flavor("active-standby"),
            "listeners": [
                {
                    "protocol": "HTTP",
                    "protocol_port": PORT,
                    "default_pool": {
                        "name": "members",
                        "protocol": "HTTP",
                        "lb_algorithm": "ROUND_ROBIN",
                        "members": [{"address": CLIENT, "protocol_port": MEMBER_PORT}],
                    },
                }
            ],
        }
        shown = made.made.send("POST", "/v2/lbaas/loadbalancers", {"loadbalancer": body})
        self.id, self.vip = str(shown["id"]), str(shown["vip_address"])
        self.whole()

    def takeover(self, blow: Blow) -> float:
        """Milliseconds from the blow to the first word of the other one."""
        master = self.whole()
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ARP)) as ear:
            ear.bind(("outside", 0))
            holder = self._mac()
            began = time.perf_counter()
            blow(master)
            ear.settimeout(TAKEN_S)
            while True:
                packet = ear.recv(2048)
                sender, address = packet[22:28], socket.inet_ntoa(packet[28:32])
                if address == self.vip and sender != holder:
                    taken = (time.perf_counter() - began) * 1000
                    break
        master.mend()
        return taken

    def lost(self, blow: Blow) -> tuple[int, int]:
        """Requests that failed, and all that were sent, around one takeover."""
        master = self.whole()
        return asyncio.run(_load(self.vip, lambda: blow(master)))

    def whole(self) -> Host:
        """The host that has the VIP, once the other could have it and requests are answered."""
        found: dict[str, Any] = {}

        def look() -> bool:
            amphorae = {amphora["role"]: amphora for amphora in self._site.amphorae(self.id)}
            found.clear()
            found.update(amphorae)
            return set(amphorae) == {"MASTER", "BACKUP"} and self._answers()

        until(look, "the pair is whole", WHOLE_S, 0.1)
        pause(QUIET_S)
        until(look, "the pair is whole", WHOLE_S, 0.1)
        return self._site.host_of(found["MASTER"])

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection((self.vip, PORT), 0.5) as connection:
            connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
            return b" 200 " in connection.recv(100)
        return False

    def _mac(self) -> bytes:
        """Who the client thinks has the VIP."""
        words = command("ip", "neigh", "show", self.vip, "dev", "outside").split()
        return bytes.fromhex(words[words.index("lladdr") + 1].replace(":", ""))


async def _load(vip: str, blow: Callable[[], None]) -> tuple[int, int]:
    """New connections at an even rate, whatever becomes of those before."""
    asked: list[asyncio.Task[bool]] = []
    loop = asyncio.get_running_loop()
    began = loop.time()
    struck = False
    while (now := loop.time() - began) < LOAD_S:
        while len(asked) < now * RATE:
            asked.append(loop.create_task(_ask(vip)))
        if not struck and now > LOAD_S / 4:
            struck = True
            blow()
        await asyncio.sleep(0.001)
    answered = await asyncio.gather(*asked)
    return answered.count(False), len(answered)


async def _ask(vip: str) -> bool:
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(REQUEST_TIMEOUT_S):
            reader, writer = await asyncio.open_connection(vip, PORT)
            try:
                writer.write(b"GET / HTTP/1.0\r\n\r\n")
                return b" 200 " in await reader.read()
            finally:
                writer.close()
    return False


@contextlib.contextmanager
def _member() -> Iterator[None]:
    with tempfile.TemporaryDirectory(prefix="ct", dir="/tmp") as directory:
        file = Path(directory) / "member.cfg"
        file.write_text(MEMBER)
        process = subprocess.Popen(["haproxy", "-f", file], stderr=subprocess.DEVNULL)
        try:
            yield
        finally:
            process.terminate()
            process.wait(10)
