# SPDX-License-Identifier: Apache-2.0
"""The embedded name server: a PowerDNS of this installation's own, with its files below the state directory.

It is an ordinary process of whoever runs Caryatid, and does not end with it: names are answered while all the rest is
away. Who comes later takes it up, or replaces it if it is to be configured otherwise.
"""

import contextlib
import os
import random
import secrets
import select
import shutil
import signal
import socket
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from glob import glob
from pathlib import Path

from caryatid.config import Settings
from caryatid.places import write_atomically

from .process import split

PROGRAM = "pdns_server"
PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"
PACKAGES = "pdns-server pdns-backend-sqlite3"
GEO_PACKAGE = "pdns-backend-geoip"
MODULES = "/usr/lib/*/pdns/lib{}backend.so"
EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  if the operator says so
STOP_S = 10.0
API_ADDRESS = "127.0.0.1"
API_PORTS = range(20_000, 32_000)
"""Below those that the system gives to whoever connects: nobody takes it while PowerDNS is away."""
API_PORT_TRIES = 50
CACHE_S = 5
"""What is changed goes out of all caches at once; but for names that a wildcard has answered for until now."""

CONFIGURATION = """\
daemon=no
guardian=no
disable-syslog=yes
loglevel=4
version-string=anonymous
security-poll-suffix=
socket-dir=run
local-address={addresses}
local-port={port}
launch={backends}
gsqlite3-database={directory}/zones.sqlite3
gsqlite3-pragma-synchronous=1
gsqlite3-dnssec=yes
api=yes
api-key={key}
webserver=yes
webserver-address={api_address}
webserver-port={api_port}
webserver-allow-from=127.0.0.1/32
webserver-loglevel=none
enable-lua-records=shared
lua-records-exec-limit=0
edns-subnet-processing=yes
cache-ttl={cache}
query-cache-ttl={cache}
negquery-cache-ttl={cache}
"""
"""Lua code is only ever ours (`drivers/dns/lua.py`), and ends: so its length is not limited. The control socket is
named from where the process is: the whole path may be longer than a socket's may be."""
TABLES = """
CREATE TABLE domains (id INTEGER PRIMARY KEY, name VARCHAR(255) NOT NULL COLLATE NOCASE, master VARCHAR(128),
  last_check INTEGER, type VARCHAR(8) NOT NULL, notified_serial INTEGER, account VARCHAR(40), options VARCHAR(65535),
  catalog VARCHAR(255));
CREATE UNIQUE INDEX name_index ON domains (name);
CREATE INDEX catalog_idx ON domains (catalog);
CREATE TABLE records (id INTEGER PRIMARY KEY,
  domain_id INTEGER REFERENCES domains (id) ON DELETE CASCADE ON UPDATE CASCADE, name VARCHAR(255), type VARCHAR(10),
  content VARCHAR(65535), ttl INTEGER, prio INTEGER, disabled BOOLEAN DEFAULT 0, ordername VARCHAR(255),
  auth BOOL DEFAULT 1);
CREATE INDEX records_lookup_idx ON records (name, type);
CREATE INDEX records_lookup_id_idx ON records (domain_id, name, type);
CREATE INDEX records_order_idx ON records (domain_id, ordername);
CREATE TABLE supermasters (ip VARCHAR(64) NOT NULL, nameserver VARCHAR(255) NOT NULL COLLATE NOCASE,
  account VARCHAR(40) NOT NULL);
CREATE UNIQUE INDEX ip_nameserver_pk ON supermasters (ip, nameserver);
CREATE TABLE comments (id INTEGER PRIMARY KEY,
  domain_id INTEGER NOT NULL REFERENCES domains (id) ON DELETE CASCADE ON UPDATE CASCADE, name VARCHAR(255) NOT NULL,
  type VARCHAR(10) NOT NULL, modified_at INT NOT NULL, account VARCHAR(40), comment VARCHAR(65535) NOT NULL);
CREATE INDEX comments_idx ON comments (domain_id, name, type);
CREATE INDEX comments_order_idx ON comments (domain_id, modified_at);
CREATE TABLE domainmetadata (id INTEGER PRIMARY KEY,
  domain_id INT NOT NULL REFERENCES domains (id) ON DELETE CASCADE ON UPDATE CASCADE, kind VARCHAR(32) COLLATE NOCASE,
  content TEXT);
CREATE INDEX domainmetaidindex ON domainmetadata (domain_id);
CREATE TABLE cryptokeys (id INTEGER PRIMARY KEY,
  domain_id INT NOT NULL REFERENCES domains (id) ON DELETE CASCADE ON UPDATE CASCADE, flags INT NOT NULL, active BOOL,
  published BOOL DEFAULT 1, content TEXT);
CREATE INDEX domainidindex ON cryptokeys (domain_id);
CREATE TABLE tsigkeys (id INTEGER PRIMARY KEY, name VARCHAR(255) COLLATE NOCASE, algorithm VARCHAR(50) COLLATE NOCASE,
  secret VARCHAR(255));
CREATE UNIQUE INDEX namealgoindex ON tsigkeys (name, algorithm);
"""
"""What the backend gsqlite3 of PowerDNS 4.7 and newer expects to find."""


@dataclass(frozen=True)
class NameServer:
    """Where it is, and how it is to be."""

    directory: Path
    address: str
    port: int
    geo: tuple[str, ...] = ()
    """Files of geo data (MaxMind's format)."""

    @property
    def key(self) -> str:
        """What its API wants to be shown; made when it is needed first, and nobody else's to read."""
        return self._kept("api.key", lambda: secrets.token_urlsafe(32))

    @property
    def url(self) -> str:
        """Of its API; the port is one that was free once, and stays."""
        return f"http://{API_ADDRESS}:{self._kept('api.port', lambda: str(_free_port()))}"

    def _kept(self, name: str, make: Callable[[], str]) -> str:
        path = self.directory / name
        with contextlib.suppress(FileNotFoundError):
            return path.read_text()
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        own = path.with_name(f".{name}.{os.getpid()}")
        write_atomically(own, make().encode(), durable=True)
        with contextlib.suppress(FileExistsError):
            os.link(own, path)  # of two that make it at the same time, one is first
        own.unlink()
        return path.read_text()

    @property
    def asked_at(self) -> str:
        """The address at which this machine reaches it."""
        return EVERYWHERE.get(self.address, self.address)

    def configuration(self) -> str:
        return CONFIGURATION.format(
            directory=self.directory,
            addresses=self.address,
            port=self.port,
            backends="gsqlite3,geoip" if self.geo else "gsqlite3",
            key=self.key,
            api_address=API_ADDRESS,
            api_port=self.url.rpartition(":")[2],
            cache=CACHE_S,
        ) + (f"geoip-database-files={' '.join(f'mmdb:{path}' for path in self.geo)}\n" if self.geo else "")

    def prepare(self) -> bool:
        """All that it needs is there. True: it is to be configured otherwise than it was before."""
        for directory in (self.directory, self.directory / "run"):
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        database = self.directory / "zones.sqlite3"
        if not database.exists():
            own = database.with_name(".zones.sqlite3.new")
            own.unlink(missing_ok=True)
            with contextlib.closing(sqlite3.connect(own)) as connection:
                connection.executescript(TABLES)
            own.chmod(0o600)
            own.replace(database)
        file, wanted = self.directory / "pdns.conf", self.configuration().encode()
        if file.exists() and file.read_bytes() == wanted:
            return False
        write_atomically(file, wanted, durable=True)
        return True

    def running(self) -> int | None:
        """The process, if there is one, whoever has started it."""
        own = f"--config-dir={self.directory}".encode()
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                words = path.read_bytes().split(b"\0")
                if own in words and words[0].endswith(PROGRAM.encode()):
                    return int(path.parent.name)
        return None

    def start(self) -> subprocess.Popen[bytes]:
        """It is started; whoever ends does not take it along."""
        program = shutil.which(PROGRAM, path=PATH) or PROGRAM
        with (self.directory / "log").open("wb") as log:
            return subprocess.Popen(
                [program, f"--config-dir={self.directory}"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.directory,
                start_new_session=True,
            )

    def stop(self) -> bool:
        """It has ended. False: it was not there."""
        pid = self.running()
        if pid is None:
            return False
        with watched(pid) as ended, contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
            if not select.select([ended], [], [], STOP_S)[0]:
                os.kill(pid, signal.SIGKILL)
                select.select([ended], [], [], STOP_S)
        return True

    def complaint(self) -> str:
        """What it said last."""
        with contextlib.suppress(OSError):
            return "\n".join((self.directory / "log").read_text(errors="replace").splitlines()[-3:])
        return ""


@contextlib.contextmanager
def watched(pid: int) -> Iterator[int]:
    """A descriptor that can be read when the process has ended. Raises ProcessLookupError."""
    descriptor = os.pidfd_open(pid)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def embedded(settings: Settings) -> NameServer | None:
    """The one of this installation. None: it is to have none, or PowerDNS is not installed (`missing`)."""
    if not settings.dns_listen or missing():
        return None
    geo = [path.strip() for path in settings.dns_geo_databases.split(",") if path.strip()]
    return NameServer(_directory(settings), *split(settings.dns_listen), tuple(geo) if has_geo() else ())


def end(settings: Settings) -> bool:
    """Whatever an earlier start has left answering has ended. False: nothing was there."""
    return NameServer(_directory(settings), "", 0).stop()


def _directory(settings: Settings) -> Path:
    return settings.state_dir.absolute() / "dns"


def missing() -> str:
    """What would have to be installed; nothing: it is all there."""
    there = shutil.which(PROGRAM, path=PATH) and glob(MODULES.format("gsqlite3"))  # noqa: PTH207  a pattern from the root
    return "" if there else PACKAGES


def has_geo() -> bool:
    return bool(glob(MODULES.format("geoip")))  # noqa: PTH207  see above


def _free_port() -> int:
    for _ in range(API_PORT_TRIES):
        port = random.choice(API_PORTS)  # noqa: S311  no secret
        with contextlib.suppress(OSError), socket.socket() as taken:
            taken.bind((API_ADDRESS, port))
            return port
    raise OSError("There is no free port for the API of PowerDNS.")
