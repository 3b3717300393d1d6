# SPDX-License-Identifier: Apache-2.0
"""A real PowerDNS as an ordinary process on loopback, configured as the embedded one; and geo data of our own."""

import contextlib
import random
import shutil
import socket
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import dns.exception
import httpx2
from mmdb_writer import MMDBWriter
from netaddr import IPSet

from bench.waiting import until
from caryatid.drivers.dns.asking import Question, ask
from caryatid.drivers.dns.base import Backend
from caryatid.services.nameserver import NameServer

ADDRESS = "127.0.0.1"
READY_S = 30
RANDOM = random.SystemRandom()
PLACES = {
    "203.0.113.0/24": ("DE", "EU", 50.1, 8.7, 64500),
    "198.51.100.0/24": ("US", "NA", 39.0, -77.5, 64501),
    "192.0.2.0/25": ("SG", "AS", 1.35, 103.8, None),
    "2001:db8:aaaa::/48": ("AU", "OC", -33.9, 151.2, 64502),
    "127.0.0.0/8": ("FR", "EU", 48.9, 2.4, None),
}
"""Where clients are: country, continent, latitude, longitude, number of the autonomous system."""


def geo_data(folder: Path) -> tuple[str, str]:
    """Two files: cities and autonomous systems."""
    cities = MMDBWriter(ip_version=6, ipv4_compatible=True, database_type="GeoLite2-City")
    systems = MMDBWriter(ip_version=6, ipv4_compatible=True, database_type="GeoLite2-ASN")
    for network, (country, continent, north, east, asn) in PLACES.items():
        where = {"latitude": north, "longitude": east, "accuracy_radius": 100}
        row = {"country": {"iso_code": country}, "continent": {"code": continent}, "location": where}
        cities.insert_network(IPSet([network]), row)
        if asn:
            systems.insert_network(IPSet([network]), {"autonomous_system_number": asn})
    paths = folder / "cities.mmdb", folder / "systems.mmdb"
    cities.to_db_file(str(paths[0]))
    systems.to_db_file(str(paths[1]))
    return str(paths[0]), str(paths[1])


@dataclass
class Server:
    """It can be ended and started again: its zones are kept."""

    nameserver: NameServer
    process: list = field(default_factory=list)

    @property
    def backend(self) -> Backend:
        """As which a driver finds it."""
        return Backend(
            "b",
            url=self.nameserver.url,
            credentials={"api_key": self.nameserver.key},
            options={"geo": bool(self.nameserver.geo)},
            name_servers=((ADDRESS, self.nameserver.port),),
        )

    @property
    def api(self) -> httpx2.Client:
        url = f"{self.nameserver.url}/api/v1/servers/localhost"
        return httpx2.Client(base_url=url, headers={"X-API-Key": self.nameserver.key}, timeout=READY_S)

    def start(self) -> None:
        self.nameserver.prepare()
        self.process.append(self.nameserver.start())
        until(self.answers, "PowerDNS answers", READY_S)

    def stop(self) -> None:
        assert self.nameserver.stop()
        self.process.pop().wait()

    def answers(self) -> bool:
        assert self.process[-1].poll() is None, self.nameserver.complaint()
        question = Question("nobody.example.", "A")
        with contextlib.suppress(OSError, dns.exception.DNSException, httpx2.HTTPError):
            replies = ask([(ADDRESS, self.nameserver.port)], [question], 0.2)
            told = self.api.get("/zones").status_code == httpx2.codes.OK
            return told and all(each[question].problem == "answers REFUSED" for each in replies.values())
        return False

    def put(self, zone: str, *rrsets: dict) -> None:
        """By hand, whatever the driver would say."""
        answer = self.api.patch(f"/zones/{zone}", json={"rrsets": rrsets})
        assert answer.status_code == httpx2.codes.NO_CONTENT, answer.text


@contextlib.contextmanager
def powerdns(*, geo: bool = False, folder: Path | None = None) -> Iterator[Server]:
    """Until the end."""
    where = Path(tempfile.mkdtemp(prefix="pdns", dir=folder or "/tmp"))
    server = Server(NameServer(where / "dns", ADDRESS, own_port(), geo_data(where) if geo else ()))
    try:
        server.start()
        yield server
    finally:
        server.nameserver.stop()
        for process in server.process:
            process.wait()
        shutil.rmtree(where, ignore_errors=True)


def own_port() -> int:
    """One that is free, and that no program is given that only wants some port."""
    for port in RANDOM.sample(range(20_000, 32_000), 100):
        with contextlib.suppress(OSError), socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
            tcp.bind((ADDRESS, port))
            udp.bind((ADDRESS, port))
            return port
    raise AssertionError("there is no free port")


def clients() -> Sequence[str]:
    """One of each place, and one that nobody knows."""
    return "203.0.113.77", "198.51.100.5", "192.0.2.9", "2001:db8:aaaa::5", "10.1.2.3", "2001:db8:bbbb::1"
