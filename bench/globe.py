# SPDX-License-Identifier: Apache-2.0
"""Regions of a service on this machine: an installation that hosts the names, checkers in more regions, members on
addresses of their own; and what a name server answers."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import dns.exception
import dns.flags
import dns.message
import dns.query
import dns.rcode
import dns.rdatatype

from bench.backends import Backends, Server
from bench.cable import Cable
from bench.installation import Installation
from bench.waiting import alive, free_port, pause, processes, until

GSLB = "/gslb/v1"
ZONE = "globe.test."
REGIONS = ("north", "south")
LOCAL = "local"
"""The region that the installation checks from itself."""
ANSWER_S = 2.0
START_S = 120.0
CHANGE_S = 60.0
"""A deadline, not what it takes."""
QUICK = {"interval": 1.0, "timeout": 0.5, "rise": 1, "fall": 2}


class Checker:
    """`caryatid checker` of one region, in a directory of its own."""

    def __init__(self, region: str, token: str, environment: Mapping[str, str], port: int) -> None:
        """`port`: where it finds the conductor."""
        self.region = region
        self._join = f"https://127.0.0.1:{port}"
        self.directory = Path(tempfile.mkdtemp(prefix="cc", dir="/tmp"))
        kept = {name: value for name, value in environment.items() if not name.startswith("CARYATID_")}
        self.environment = {**kept, "CARYATID_STATE_DIR": str(self.directory), "CARYATID_LOG_FORMAT": "json"}
        self._token = self.directory / "token"
        self._token.touch(0o600)
        self._token.write_text(token)
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        """It is begun; a token is needed only the first time."""
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "caryatid", "checker", "--region", self.region,
                 "--join", self._join, "--token-file", str(self._token)],
                env=self.environment, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        return self

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        """It has ended, without a word."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def log(self) -> str:
        return (self.directory / "log").read_text(errors="replace")[-6000:]

    def close(self) -> None:
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)


class Globe:
    """An installation with a name server, a zone, and checkers in `local` and in REGIONS. `close` leaves nothing."""

    def __init__(
        self, regions: Sequence[str] = REGIONS, *, noop: bool = True, environment: Mapping[str, str] | None = None
    ) -> None:
        self.dns = ("127.0.0.1", free_port(socket.SOCK_DGRAM))
        self.main = Installation(
            noop=noop,
            environment={
                "CARYATID_DNS_LISTEN": f"{self.dns[0]}:{self.dns[1]}",
                "CARYATID_GSLB_ALLOWED_TARGETS": "127.0.0.0/8",
                **(environment or {}),
            },
        )
        self.named = regions
        self.checkers: dict[str, Checker] = {}
        self.cables: dict[str, Cable] = {}
        """From the region to the conductor."""
        self.regions: dict[str, str] = {}
        """Name → id."""
        self._stack = contextlib.ExitStack()
        self._hosts = 0
        self._net = 150 + os.getpid() % 50
        """Members are at 127.<this>.x.y."""

    def start(self) -> Self:
        """All regions are heard of, and the zone is there."""
        self.main.start(START_S)
        for name in self.named:
            self.regions[name] = str(self.make("regions", name=name)["id"])
        self.regions |= {region["name"]: region["id"] for region in self.all("regions")}
        for name in self.named:
            self.cables[name] = self._stack.enter_context(Cable("127.0.0.1", self.conductor))
            self.checkers[name] = self.checker(name).start()
        until(self.heard, "all regions are heard of", CHANGE_S, 0.1)
        self.make("zones", name=ZONE, backend_id=self.all("backends")[0]["id"])
        return self

    def checker(self, region: str) -> Checker:
        """One more of the region, not yet started."""
        return Checker(region, self.token(self.regions[region]), self.main.environment, self.cables[region].port)

    def token(self, region_id: str) -> str:
        """With which somebody of the region can enrol, once."""
        return str(self.main.send("POST", f"{GSLB}/regions/{region_id}/tokens")["token"])

    @property
    def conductor(self) -> int:
        """Its port."""
        return int(self.main.environment["CARYATID_CONDUCTOR_LISTEN"].rpartition(":")[2])

    def heard(self) -> bool:
        return all(region["checkers"] for region in self.all("regions") if region["name"] in self.regions)

    def close(self) -> None:
        for checker in self.checkers.values():
            checker.close()
        self._stack.close()
        self.main.close()

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- members

    def server(self, name: str) -> tuple[str, Server]:
        """A web server on an address of its own."""
        self._hosts += 1
        address = f"127.{self._net}.{self._hosts // 250}.{self._hosts % 250 + 1}"
        return address, self._stack.enter_context(Backends(address)).make(name)

    # -- asking the API

    def all(self, what: str) -> list[dict[str, Any]]:
        answer = self.main.api.get(f"{GSLB}/{what}")
        assert answer.status_code == 200, answer.text
        return list(next(value for name, value in answer.json().items() if not name.endswith("_links")))

    def make(self, what: str, **body: Any) -> dict[str, Any]:
        return dict(self.main.send("POST", f"{GSLB}/{what}", {ENVELOPES[what.rpartition("/")[2]]: body}))

    def change(self, what: str, **body: Any) -> dict[str, Any]:
        plural = what.split("/")[-2]
        return dict(self.main.send("PUT", f"{GSLB}/{what}", {ENVELOPES[plural]: body}))

    def remove(self, what: str) -> None:
        self.main.send("DELETE", f"{GSLB}/{what}")

    def show(self, what: str) -> dict[str, Any]:
        return dict(self.main.get(f"{GSLB}/{what}"))

    def monitor(self, **more: Any) -> dict[str, Any]:
        """An HTTP check as quick as the figures want it: interval 1 s, timeout 0.5 s, fall 2."""
        return self.make("monitors", **{"name": "web", "type": "http", **QUICK, **more})

    def pool(self, name: str, monitor_id: str | None, members: Sequence[Mapping[str, Any]], **more: Any) -> str:
        """A pool with these members; its id."""
        monitors = [{"monitor_id": monitor_id}] if monitor_id else []
        pool = self.make("pools", name=name, monitors=monitors, **more)
        for member in members:
            self.make(f"pools/{pool['id']}/pool_members", **member)
        return str(pool["id"])

    def gslb(self, name: str, pools: Sequence[str], **more: Any) -> dict[str, Any]:
        """A name that is in effect. The pools come in this order."""
        uses = [{"pool_id": pool_id, "priority": number} for number, pool_id in enumerate(pools)]
        wanted = {"name": name, "fqdn": f"{name}.{ZONE}", "record_types": ["A"], "ttl": 1, "pools": uses, **more}
        made = self.make("gslbs", **wanted)
        self.active(made["id"])
        return made

    def active(self, gslb_id: str) -> dict[str, Any]:
        def look() -> dict[str, Any] | None:
            found = self.show(f"gslbs/{gslb_id}")
            return found if found["provisioning_status"] == "ACTIVE" else None

        try:
            return until(look, f"gslb {gslb_id} is ACTIVE", CHANGE_S, 0.05)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.show(f'gslbs/{gslb_id}')}\n{self.main.log()}") from None

    # -- asking the name server

    def answer(self, name: str, rrtype: str = "A") -> list[str] | None:
        """What the name is answered with, in order; None: no answer, or an error."""
        query = dns.message.make_query(f"{name}.{ZONE}", rrtype)
        try:
            said = dns.query.udp(query, self.dns[0], ANSWER_S, self.dns[1])
        except (dns.exception.DNSException, OSError):
            return None
        if said.rcode() != dns.rcode.NOERROR:
            return None
        wanted = dns.rdatatype.from_text(rrtype)
        return sorted(item.to_text() for rrset in said.answer if rrset.rdtype == wanted for item in rrset)

    def until_answered(self, name: str, expected: Sequence[str], timeout_s: float = CHANGE_S) -> float:
        """The moment at which the name was answered with these."""
        wanted = sorted(expected)
        try:
            until(lambda: self.answer(name) == wanted, f"{name} is answered with {wanted}", timeout_s, 0.01)
        except AssertionError as error:
            raise AssertionError(f"{error} It is {self.answer(name)}.\n{self.main.log()}") from None
        return time.monotonic()

    def stays(self, name: str, expected: Sequence[str], seconds: float) -> bool:
        """Nothing else was answered for so long; no answer at all is none."""
        ends, wanted = time.monotonic() + seconds, sorted(expected)
        while time.monotonic() < ends:
            if self.answer(name) not in (wanted, None):
                return False
            pause(0.05)
        return True

    # -- processes

    def name_server(self) -> int:
        """Its process, as long as it lives."""
        own = f"--config-dir={self.main.directory / 'dns'}"
        return next((pid for pid, words in processes() if own in words), 0)

    def until_working(self) -> None:
        """All processes of the installation work, and all regions are heard of."""
        until(self.main.works, "all its processes work", CHANGE_S, 0.1)
        until(self.heard, "all regions are heard of", CHANGE_S, 0.1)

    def kill(self, service: str) -> None:
        """A process of `caryatid up` has been killed, and another one is there."""
        pid = self.main.services()[service]
        os.kill(pid, signal.SIGKILL)
        until(lambda: self.main.services().get(service, pid) != pid, f"another {service} is there", CHANGE_S)


ENVELOPES = {
    "backends": "backend",
    "gslbs": "gslb",
    "monitors": "monitor",
    "pool_members": "pool_member",
    "pools": "pool",
    "regions": "region",
    "zones": "zone",
}


@contextlib.contextmanager
def stopped(pid: int) -> Iterator[None]:
    """SIGSTOP; it goes on afterwards, if it lives."""
    assert pid > 0, "there is no such process, and 0 would be all of ours"
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        if alive(pid):
            os.kill(pid, signal.SIGCONT)


def took(act: Callable[[], float]) -> float:
    """Seconds from now to the moment that `act` tells."""
    began = time.monotonic()
    return act() - began
