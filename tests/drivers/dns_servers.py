# SPDX-License-Identifier: Apache-2.0
"""Real BIND and Knot DNS as ordinary processes on loopback, each the primary of a zone that takes updates."""

import base64
import contextlib
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import dns.exception
import dns.message
import dns.query
import dns.rcode

from bench.waiting import free_port, until
from caryatid.drivers.dns.base import Backend

ZONE = "gslb.example."
ADDRESS = "127.0.0.1"
KEY = "caryatid"
SECRET = base64.b64encode(b"a key of tests, of 32 octets ok.").decode()
OTHER = "reader"
"""A key that may do nothing but read, and with BIND change one name."""
ALLOWED = f"allowed.{ZONE}"
GRANTS = " ".join([f"grant {OTHER} name {name} ANY;" for name in (ALLOWED, f"_caryatid.{ALLOWED}")])
READY_S = 30
PATIENCE_S = 20.0
PATH = "/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin"
ZONE_FILE = f"""$ORIGIN {ZONE}
$TTL 300
@ SOA ns1 hostmaster 1 3600 600 86400 5
@ NS ns1
ns1 A {ADDRESS}
theirs A 198.51.100.1
mail MX 10 theirs
alias CNAME theirs
"""
"""What people have made there."""
PAGE = Path(__file__).parents[2] / "docs/dns-backends.md"


def documented(make: str) -> str:
    """What the documentation says that is written into the configuration of the server."""
    text = PAGE.read_text().partition(f"```{make}\n")[2].partition("```")[0]
    return text.replace("SECRET", SECRET).replace("update-policy {", f"update-policy {{ {GRANTS}")


BIND = """
options {{
  directory "{folder}"; pid-file "{folder}/named.pid"; session-keyfile "{folder}/session.key"; lock-file none;
  listen-on port {port} {{ {address}; }}; listen-on-v6 {{ none; }};
  recursion no; dnssec-validation no; notify no; minimal-responses yes; minimal-any yes;
}};
controls {{ }};
key {other} {{ algorithm hmac-sha256; secret "{secret}"; }};
"""
SECONDARY = """
options {{
  directory "{folder}"; pid-file "{folder}/named.pid"; session-keyfile "{folder}/session.key"; lock-file none;
  listen-on port {port} {{ {address}; }}; listen-on-v6 {{ none; }};
  recursion no; dnssec-validation no; notify no; minimal-responses yes; serial-query-rate 1000; transfers-per-ns 20;
}};
controls {{ }};
zone "{zone}" {{ type secondary; file "zone.copy"; primaries port {primary_port} {{ {address}; }}; }};
"""
KNOT = """
server:
    rundir: "{folder}"
    listen: {address}@{port}
    udp-workers: 1
    tcp-workers: 1
    background-workers: 3
log:
  - target: stderr
    any: warning
key:
  - id: {other}
    algorithm: hmac-sha256
    secret: {secret}
database:
    storage: "{folder}"
    journal-db-max-size: 64M
template:
  - id: default
    storage: "{folder}"
"""
CONFIGURATIONS = {"bind": BIND, "secondary": SECONDARY, "knot": KNOT}
PROGRAMS = {"bind": "named", "secondary": "named", "knot": "knotd"}


@dataclass
class Primary:
    """One server. It can be ended and started again: the zone is kept."""

    make: str
    folder: Path
    port: int
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def ready(self) -> set[dns.rcode.Rcode]:
        """What it answers about the zone when it has started: a secondary may have none yet."""
        return {dns.rcode.NOERROR, *({dns.rcode.SERVFAIL} if self.make == "secondary" else ())}

    @property
    def backend(self) -> Backend:
        """As which a driver finds it."""
        shown = {"key_name": KEY, "key_secret": SECRET}
        servers = ((ADDRESS, self.port),)
        return Backend(
            "b", server=ADDRESS, port=self.port, credentials=shown, name_servers=servers, timeout_s=PATIENCE_S
        )

    def shown(self, **credentials: str) -> Backend:
        """A backend of it, with other credentials."""
        return replace(self.backend, credentials={**self.backend.credentials, **credentials})

    def start(self) -> None:
        program = PROGRAMS[self.make]
        more = ["-g", "-n", "1"] if program == "named" else []
        words = [shutil.which(program, path=PATH), *more, "-c", self.folder / "server.conf"]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(words, stdout=log, stderr=log, cwd=self.folder)
        until(self.answers, f"{self.make} answers:\n{(self.folder / 'log').read_text()}", READY_S)

    def stop(self) -> None:
        assert self.process
        self.process.terminate()
        try:
            self.process.wait(timeout=READY_S)
        finally:
            self.process.kill()
            self.process.wait()

    @contextlib.contextmanager
    def silent(self) -> Iterator[None]:
        """It answers nobody meanwhile."""
        assert self.process
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    def answers(self) -> bool:
        assert self.process
        assert self.process.poll() is None, (self.folder / "log").read_text()
        with contextlib.suppress(OSError, dns.exception.DNSException):
            return dns.query.udp(dns.message.make_query(ZONE, "SOA"), ADDRESS, 0.1, self.port).rcode() in self.ready
        return False

    def rrset(self, name: str, rrtype: str) -> set[str]:
        """What it answers; nothing: it has none."""
        answer = dns.query.udp(dns.message.make_query(name, rrtype), ADDRESS, PATIENCE_S, self.port)
        return {rdata.to_text() for rrset in answer.answer for rdata in rrset}

    def rcode(self, name: str, rrtype: str) -> str:
        answer = dns.query.udp(dns.message.make_query(name, rrtype), ADDRESS, PATIENCE_S, self.port)
        return dns.rcode.to_text(answer.rcode())


@contextlib.contextmanager
def primary(make: str, folder: Path, **more: object) -> Iterator[Primary]:
    """BIND (`bind`), Knot DNS (`knot`), or a BIND that has the zone of another server (`secondary`), until the end."""
    assert shutil.which(PROGRAMS[make], path=PATH), f"{PROGRAMS[make]} is not installed: make system"
    folder.mkdir()
    server = Primary(make, folder, free_port())
    known: Mapping[str, object] = {"folder": folder, "address": ADDRESS, "port": server.port, "zone": ZONE}
    text = CONFIGURATIONS[make].format(**known, other=OTHER, secret=SECRET, **more)
    (folder / "server.conf").write_text(text + documented(make))
    (folder / f"{ZONE}zone").write_text(ZONE_FILE)
    server.start()
    try:
        yield server
    finally:
        server.stop()
