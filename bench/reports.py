# SPDX-License-Identifier: Apache-2.0
"""Reports that one health process takes: over UDP from many hosts, verified, judged and their counters written down.

`python -m bench.reports DATABASE PORT HOSTS` is the process that is measured: the health service and nothing else.
"""

import asyncio
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID, uuid5

from bench.figures import Figure
from bench.waiting import cpu_s, free_port, pause, until
from caryatid.metrics import REPORTS
from caryatid.model import AMPHORA, LOADBALANCER
from caryatid.services.health import TALLIES_S, Health
from caryatid.store import migrate, rows
from caryatid.store.database import Database
from caryatid.wire.heartbeat import AmphoraMessage, Header, pack

SEED = UUID("0b6c7a3e-6a52-4b5e-9a3d-4c1f0f0a7d11")
KEY = b"k" * 32
AMPHORAE_A_HOST = 50
AT = "2026-11-20T19:05:25"


@dataclass(frozen=True)
class Load:
    """What is sent: every amphora once in each round, hosts one after the other, within `round_s`."""

    hosts: int
    rounds: int
    round_s: float

    @property
    def amphorae(self) -> int:
        return self.hosts * AMPHORAE_A_HOST

    @property
    def reports(self) -> int:
        return self.amphorae * self.rounds


def run(*, quick: bool) -> Iterator[Figure]:
    load = Load(hosts=20, rounds=6, round_s=0.2) if quick else Load(hosts=40, rounds=20, round_s=0.4)
    with tempfile.TemporaryDirectory(prefix="cb", dir="/tmp") as directory:
        url = f"sqlite:///{directory}/caryatid.db"
        _seed(url, load.hosts)
        port = free_port(socket.SOCK_DGRAM)
        command = [sys.executable, "-m", "bench.reports", url, str(port), directory]
        with subprocess.Popen(command, cwd=Path(__file__).parents[1]) as process:
            try:
                until((Path(directory) / "ready").exists, "the health process listens", 30)
                yield from _measure(process.pid, Path(directory) / "taken", port, load)
            finally:
                process.send_signal(signal.SIGTERM)


def _measure(pid: int, counted: Path, port: int, load: Load) -> Iterator[Figure]:
    """Sent evenly at a rate; what was taken is what arrived and was verified."""
    rounds = [[_datagrams(host, number) for host in range(load.hosts)] for number in range(load.rounds)]
    sent = sum(len(datagrams) for one in rounds for datagrams in one)
    before, began = cpu_s(pid), time.monotonic()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect(("127.0.0.1", port))
        for number, one in enumerate(rounds):
            for place, datagrams in enumerate(one):
                at = began + (number + place / load.hosts) * load.round_s
                _wait_until(at)
                for datagram in datagrams:
                    sock.send(datagram)
    took_s = time.monotonic() - began
    until(lambda: _taken(counted) >= sent or time.monotonic() > began + took_s + 3, "the rest is taken", 10, 0.1)
    pause(TALLIES_S + 1)  # all that was taken is written down
    used_s = cpu_s(pid) - before
    taken = _taken(counted) / sent
    note = f"offered {load.reports / took_s:,.0f}/s from {load.hosts} hosts in {sent / took_s:,.0f} datagrams/s"
    yield Figure(
        "amphora reports one process takes", load.reports * taken / took_s, "/s", 5000, at_least=True, note=note
    )
    yield Figure("… taken of those sent", taken * 100, "%", 100, at_least=True)
    note = f"at one core: {load.reports * taken / used_s:,.0f}/s"
    yield Figure("… CPU per report", used_s * 1e6 / (load.reports * taken), "µs", note=note)


def _wait_until(at: float) -> None:
    rest = at - time.monotonic()
    if rest > 0:
        time.sleep(rest)  # noqa: TID251  keeps a rate


def _taken(counted: Path) -> int:
    try:
        return int(counted.read_text() or 0)
    except FileNotFoundError:
        return 0


def _id(*names: object) -> str:
    return str(uuid5(SEED, "/".join(map(str, names))))


def _datagrams(host: int, number: int) -> list[bytes]:
    """What a host says of its amphorae: in each round all counters have moved, every tenth time one member is down."""
    messages = [_message(host, amphora, number) for amphora in range(AMPHORAE_A_HOST)]
    header = Header(_id("host", host), 1, 1 + number * AMPHORAE_A_HOST)
    return pack(KEY, header, messages)


def _message(host: int, amphora: int, number: int) -> AmphoraMessage:
    listener, pool = _id("listener", host, amphora), _id("pool", host, amphora)
    down = (number + amphora) % 10 == 0
    members = {_id("member", host, amphora, i): "DOWN" if down and i == 0 else "UP" for i in range(2)}
    return AmphoraMessage(
        amphora_id=_id("amphora", host, amphora),
        loadbalancer_id=_id("loadbalancer", host, amphora),
        generation=1,
        epoch="1.1",
        at=1_000_000 + number,
        full=True,
        running=True,
        part=(0, 1),
        listeners={listener: ("OPEN", 1000 * number, 5000 * number, 3, 10 * number, 0)},
        pools={f"{pool}:{listener}": ("UP", members)},
    )


def _seed(url: str, hosts: int) -> None:
    """The amphorae that reports are about."""
    migrate.upgrade(url)
    database = Database(url)
    for host in range(hosts):
        with database.transaction() as tx:
            for amphora in range(AMPHORAE_A_HOST):
                root = _id("loadbalancer", host, amphora)
                given = {"id": root, "project_id": "bench", "created_at": AT}
                wanted = {"vip_subnet_id": _id("subnet"), "vip_address": f"127.{host}.1.{amphora + 1}"}
                rows.insert(tx, LOADBALANCER, [LOADBALANCER.new(wanted, given)], root_id=root, generation=1)
                placed = {"loadbalancer_id": root, "compute_id": _id("host", host), "status": "ALLOCATED"}
                known = {"id": _id("amphora", host, amphora), "created_at": AT, **placed}
                rows.insert(tx, AMPHORA, [AMPHORA.new({}, known)])
    database.close()


async def serve(url: str, port: int, directory: Path) -> None:
    """The health service; the number of reports taken is in the file `taken`."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    hosts = {_id("host", number): [KEY] for number in range(1000)}
    health = Health(Database(url), lambda host_id: hosts.get(host_id, ()))
    transport = await health.listen("127.0.0.1", port)
    (directory / "ready").touch()
    while not stop.is_set():
        count = REPORTS.labels("taken")._value.get()  # noqa: SLF001  what /metrics shows
        (directory / "taken.new").write_text(str(int(count)))
        (directory / "taken.new").replace(directory / "taken")
        try:
            async with asyncio.timeout(0.1):
                await stop.wait()
        except TimeoutError:
            continue
    transport.close()
    health.stop()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])))
