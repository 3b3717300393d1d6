# SPDX-License-Identifier: Apache-2.0
"""What becomes of load balancers when an amphora or a whole host is lost: a site of three hosts, all of it real."""

import asyncio
import contextlib
import os
import signal
import socket
import sqlite3
import struct
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from bench.backends import Backends, Server, ask
from bench.figures import Figure, median
from bench.installation import whole
from bench.site import CLIENT, Host, Site, run, site
from bench.waiting import cpu_s, pause, pss_bytes, until

PORT = 8080
BURST = 40
SERVING_S = 120
REJOIN_S = 12.0
SILENCE_S = 8.0
IDLE_S = 20.0
ASKED_AGAIN_S = 0.3
ARP = struct.Struct("!6s6sHHHBBH6s4s6s4s")
ETHERTYPE = 0x0806
"""ARP (RFC 826)."""


def measure(*, quick: bool) -> Iterator[Figure]:
    with site(3) as made, Backends(CLIENT) as backends:
        town = Town(made, backends.make("member"), made.subnet())
        yield from _amphora(town, 3 if quick else 10)
        yield from _rejoin(town, 1 if quick else 3)
        yield from _nobody(town, 10 if quick else 60)
        yield from _host(town, 30 if quick else 200)
    with site(1) as made, Backends(CLIENT) as backends:
        yield from _crowd(Town(made, backends.make("member"), made.subnet()), 60 if quick else 500)
    with site(2) as made, Backends(CLIENT) as backends:
        yield _halves(Town(made, backends.make("member"), made.subnet()), 5 if quick else 50)


@dataclass
class Town:
    """A site, a member, and load balancers made on it."""

    made: Site
    member: Server
    subnet: str

    def make(self, count: int, *, flavor: str = "single", listener: bool = True) -> list[dict[str, Any]]:
        """So many load balancers, serving."""
        roots: list[dict[str, Any]] = []
        for start in range(0, count, BURST):
            burst = [self._ask(flavor, listener=listener) for _ in range(min(BURST, count - start))]
            roots += [self.made.made.active(f"loadbalancers/{root['id']}", SERVING_S, 0.1) for root in burst]
        if listener:
            for root in roots:
                serves(root)
        return roots

    def _ask(self, flavor: str, *, listener: bool) -> Any:
        body = whole(self.subnet, [], flavor_id=self.made.flavor(flavor))
        members = [{"address": CLIENT, "protocol_port": self.member.port}]
        body["listeners"][0]["default_pool"]["members"] = members
        if not listener:
            del body["listeners"]
        return self.made.made.post("loadbalancers", {"loadbalancer": body})

    def remove(self, roots: list[dict[str, Any]]) -> None:
        for root in roots:
            self.made.made.delete(f"loadbalancers/{root['id']}?cascade=true")
        for root in roots:
            self.made.made.gone(f"loadbalancers/{root['id']}", SERVING_S)

    def host(self, root: dict[str, Any]) -> Host:
        [amphora] = self.made.amphorae(root["id"])
        return self.made.host_of(amphora)

    def open(self, *names: str) -> None:
        """These hosts take new amphorae, the others none."""
        for name, host in self.made.enrolled().items():
            self.made.made.send("PUT", f"/v1/hosts/{host['id']}", {"host": {"enabled": name in names}})

    def whole(self) -> None:
        """Every host is heard of."""
        until(
            lambda: all(h["operating_status"] == "ONLINE" for h in self.made.enrolled().values()), "all hosts speak", 60
        )

    def lost_at(self, since: float) -> float:
        """When an amphora was first taken for lost, after that moment; seconds since the epoch."""
        when = datetime.fromtimestamp(since, UTC).replace(tzinfo=None).isoformat(timespec="microseconds")
        words = "SELECT at FROM event WHERE action = 'lost' AND kind = 'amphora' AND at >= ? ORDER BY seq LIMIT 1"
        with contextlib.closing(sqlite3.connect(self.made.made.directory / "caryatid.db")) as database:
            [at] = database.execute(words, (when,)).fetchone()
        return datetime.fromisoformat(f"{at}+00:00").timestamp()

    def placed(self) -> set[str]:
        return {amphora["id"] for amphora in self.made.made.get("/v2/octavia/amphorae")}


def serves(root: dict[str, Any], timeout_s: float = SERVING_S) -> None:
    address = root["vip_address"]
    until(lambda: ask(address, PORT, timeout_s=0.3)[0] == 200, f"{address} serves", timeout_s, 0.005)


def _amphora(town: Town, times: int) -> Iterator[Figure]:
    """HAProxy cannot be started again where it was."""
    took, found = [], []
    for _ in range(times):
        [root] = town.make(1)
        host = town.host(root)
        with broken(host):
            began = time.time()
            for pid in host.processes("haproxy"):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            until(lambda root=root: ask(root["vip_address"], PORT, timeout_s=0.3)[0] != 200, "it is down", 5, 0.002)
            serves(root)
            ended = time.time()
            lost = town.lost_at(began)
        took.append(ended - lost)
        found.append(lost - began)
        town.remove([root])
        town.whole()
    note = f"detected {median(found):.2f} s after the kill; worst of {times} {max(took):.2f} s"
    yield Figure("amphora beyond local repair: back in service, after detection", median(took), "s", 1.5, note=note)


@contextlib.contextmanager
def broken(host: Host) -> Iterator[None]:
    """HAProxy does not start on this host."""
    inner = str(host.agent())
    haproxy = run(
        "nsenter", "-t", inner, "-m", "-p", "sh", "-c", "command -v haproxy || echo /usr/sbin/haproxy"
    ).strip()
    run("nsenter", "-t", inner, "-m", "-p", "mount", "--bind", "/bin/false", haproxy)
    try:
        yield
    finally:
        run("nsenter", "-t", inner, "-m", "-p", "umount", "--lazy", haproxy)


def _rejoin(town: Town, times: int) -> Iterator[Figure]:
    doubled = []
    for _ in range(times):
        [root] = town.make(1)
        host = town.host(root)
        host.cut()
        serves(root)
        host.mend()
        doubled.append(_two_answers_s(root["vip_address"]))
        town.whole()
        town.remove([root])
    yield Figure("cut, fail over, rejoin: two answers for one VIP (worst)", max(doubled), "s", 2)


def _two_answers_s(vip: str) -> float:
    """Seconds during which more than one machine says that it has the address."""
    heard: dict[bytes, list[float]] = defaultdict(list)
    began = time.monotonic()
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETHERTYPE)) as ear:
        ear.bind(("outside", 0))
        ear.settimeout(0.02)
        own = ear.getsockname()[4]
        question = ARP.pack(
            b"\xff" * 6,
            own,
            ETHERTYPE,
            1,
            0x0800,
            6,
            4,
            1,
            own,
            socket.inet_aton(CLIENT),
            b"\0" * 6,
            socket.inet_aton(vip),
        )
        while (now := time.monotonic() - began) < REJOIN_S:
            ear.send(question)
            with contextlib.suppress(TimeoutError):
                packet = ARP.unpack_from(ear.recv(2048))
                if packet[7] == 2 and packet[9] == socket.inet_aton(vip):  # a reply
                    heard[packet[8]].append(now)
    ends = sorted(times[-1] for times in heard.values())
    return ends[-2] if len(ends) > 1 else 0.0


def _nobody(town: Town, database_s: float) -> Iterator[Figure]:
    """Everybody silent; health started anew; the database away. Nothing must move."""
    roots = town.make(6)
    before = town.placed()
    for host in town.made.hosts:
        host.cut(outside=False)
    pause(SILENCE_S)
    for host in town.made.hosts:
        host.mend()
    town.whole()
    pause(SILENCE_S)
    core = town.made.made.services()["core"]
    os.kill(core, signal.SIGKILL)
    until(town.made.made.answers, "core is back", 60)
    pause(SILENCE_S)
    with contextlib.closing(sqlite3.connect(town.made.made.directory / "caryatid.db")) as database:
        database.execute("BEGIN EXCLUSIVE")
        pause(database_s)
        database.rollback()
    pause(SILENCE_S)
    town.whole()
    moved = len(before - town.placed())
    for root in roots:
        serves(root)
    note = f"silence of all {SILENCE_S:.0f} s, core killed, database locked {database_s:.0f} s"
    yield Figure(
        "mass silence, restart of health, database away: amphorae failed over", moved, "amphorae", 0, note=note
    )
    town.remove(roots)


def _host(town: Town, count: int) -> Iterator[Figure]:
    names = [host.name for host in town.made.hosts]
    town.open(names[0])
    roots = town.make(count)
    town.open(*names)
    began = time.monotonic()
    town.made.hosts[0].kill()
    back = asyncio.run(_back([root["vip_address"] for root in roots], began))
    times = sorted(back)
    missing = f"; {count - len(times)} of {count} did not come back" if len(times) < count else ""
    yield Figure("host killed: its load balancers serve elsewhere, the first", times[0], "s", 6, note=missing)
    yield Figure(f"the same, number {len(times)} of {count}", times[-1], "s", 25, note=missing)


async def _back(addresses: list[str], began: float) -> list[float]:
    """Seconds after `began` at which each has answered, all being asked at the same time."""

    async def one(address: str) -> float:
        while True:
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(ASKED_AGAIN_S):
                    reader, writer = await asyncio.open_connection(address, PORT)
                    writer.write(b"GET / HTTP/1.0\r\n\r\n")
                    answer = await reader.read(100)
                    writer.close()
                    if b" 200 " in answer:
                        return time.monotonic() - began
            await asyncio.sleep(ASKED_AGAIN_S)

    asking = [asyncio.create_task(one(address)) for address in addresses]
    answered, late = await asyncio.wait(asking, timeout=SERVING_S)
    for task in late:
        task.cancel()
    return [task.result() for task in answered]


def _halves(town: Town, count: int) -> Figure:
    host = town.made.hosts[0]
    used = _used_bytes(host, lambda: town.make(count, flavor="active-standby"))
    name = "one of an idle pair (HAProxy, keepalived, its share of the agent), PSS"
    return Figure(name, used / count / 1e6, "MB", 10)


def _used_bytes(host: Host, make: Callable[[], object]) -> int:
    """Memory that amphorae use on this host once they have been made."""
    agent = host.agent()
    assert agent is not None
    before = pss_bytes(agent)
    make()
    pids = host.processes("haproxy") + host.processes("keepalived")
    return sum(map(pss_bytes, pids)) + pss_bytes(agent) - before


def _crowd(town: Town, count: int) -> Iterator[Figure]:
    host = town.made.hosts[0]
    agent = host.agent()
    assert agent is not None
    used = _used_bytes(host, lambda: town.make(count))
    yield Figure("an idle load balancer's memory (HAProxy, its share of the agent), PSS", used / count / 1e6, "MB", 10)
    pause(IDLE_S)
    cpu = cpu_s(agent)
    pause(IDLE_S)
    share = (cpu_s(agent) - cpu) / IDLE_S * 100
    yield Figure(f"{count} amphorae in namespaces: the agent's CPU when idle", share, "% of a core", 10)
