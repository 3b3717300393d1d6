# SPDX-License-Identifier: Apache-2.0
"""A name for two regions, of which one is killed: `make demo-gslb`.

Two installations on this machine, each with a load balancer of its own before two small web servers. The first hosts
the name in its PowerDNS; the second reports to it, and members are checked from three places. Everything that belongs
to the second region is killed, and started again, while `dig` is shown. `--once` ends by itself.
"""

import argparse
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx2
from demo import READY_S, answers, free_port, member, say, wait_for, wait_for_ctrl_c, wanted

ZONE = "demo.test."
NAME = f"www.{ZONE}"
HOME, OTHER, THIRD = "north", "south", "lab"
CHANGE_S = 60
PORT = 8080


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--once", action="store_true", help="end after the show instead of waiting for Ctrl-C")
    arguments = parser.parse_args()
    if os.getuid() == 0:
        say("You are root; everything is run as you. It needs no more than an ordinary user.")
    with tempfile.TemporaryDirectory(prefix="caryatid-demo-") as directory, contextlib.ExitStack() as stack:
        north = Region(HOME, Path(directory), 101, dns=free_port(5300, socket.SOCK_DGRAM))
        south = Region(OTHER, Path(directory), 102)
        stack.callback(north.close)
        stack.callback(south.close)
        lab = stack.enter_context(contextlib.closing(Checker(THIRD, Path(directory) / f"checker-{THIRD}")))
        say("Two regions are started on this machine, as if they were far apart:")
        show(north, south, lab)
        if not arguments.once:
            say(f"\nIt stays up. The name server is at 127.0.0.1 port {north.dns}; the API that has the name:")
            say(f"  CARYATID_URL={north.url} CARYATID_TOKEN_FILE={north.directory}/admin.token caryatid gslb watch")
            say("Ctrl-C ends it.")
            wait_for_ctrl_c()
    say("Stopped; nothing is left behind.")
    return 0


def show(north: "Region", south: "Region", lab: "Checker") -> None:
    """The main job, told as it goes."""
    north.start()
    south.report_to(north)
    south.start()
    say("\nEach region has a load balancer of its own:")
    for region in (north, south):
        region.balance()
        say(f"  {region.name}: http://{region.vip}:{PORT}/ before {len(region.members)} web servers")

    say(f"\nMembers are checked from three places: {HOME} (by the installation itself), {OTHER} and {THIRD}.")
    south.checker = Checker(OTHER, south.directory / f"checker-{OTHER}")
    for checker in (south.checker, lab):
        checker.start(north)
    wait_for(lambda: heard(north, 3), "all regions are heard of", CHANGE_S)

    say(f"\nThe name {NAME} is for both load balancers:")
    name_is_made(north, south)
    both, one = {north.vip, south.vip}, {north.vip}
    wait_for(lambda: told(north) == both, "both regions are answered with", CHANGE_S)
    dig(north)
    say(f"A request to each address: {', '.join(visited(address) for address in sorted(both))}")

    say(f"\nNow all of {OTHER} is killed: controllers, agent, HAProxy, web servers, checker.")
    began = time.monotonic()
    south.kill()
    wait_for(lambda: told(north) == one, f"{OTHER} is no longer answered with", CHANGE_S, 0.02)
    say(f"{time.monotonic() - began:.1f} s later the answer is another:")
    dig(north)
    command(north, "gslb", "explain", "www")

    say(f"\n{OTHER} is started again.")
    began = time.monotonic()
    south.start()
    south.checker.start(north)
    wait_for(lambda: told(north) == both, f"{OTHER} is answered with again", CHANGE_S)
    say(f"{time.monotonic() - began:.1f} s later (it had to start) both are answered with:")
    dig(north)
    say(f"A request to each address: {', '.join(visited(address) for address in sorted(both))}")
    command(north, "gslb", "history", "www", "--answers")
    say(f"\nNot shown: the death of {HOME}, which hosts the name server. Names that shall survive any region have name")
    say("servers in several: give the zone's backend more of them (docs/gslb.md).")


class Region:
    """An installation, its web servers, and (of the one that hosts no name) a checker. `start` may be repeated."""

    def __init__(self, name: str, below: Path, number: int, dns: int | None = None) -> None:
        """`number`: load balancers are in 127.<number>.0.0/16; `dns`: the port of its name server, if it has one."""
        self.name, self.dns, self.directory = name, dns, below / name
        self.checker: Checker | None = None
        self.vip = self.loadbalancer_id = ""
        self.members: list[int] = []
        """Ports."""
        self.conductor = f"127.0.0.1:{free_port(0)}"
        self._listen = f"127.0.0.1:{free_port(0)}"
        self.url = f"http://{self._listen}"
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("CARYATID_")},
            "CARYATID_STATE_DIR": str(self.directory),
            "CARYATID_LISTEN": self._listen,
            "CARYATID_CONDUCTOR_LISTEN": self.conductor,
            "CARYATID_HEALTH_LISTEN": f"127.0.0.1:{free_port(0, socket.SOCK_DGRAM)}",
            "CARYATID_METRICS_LISTEN": "",
            "CARYATID_DEFAULT_SUBNET_CIDR": f"127.{number}.0.0/16",
            "CARYATID_LOG_FORMAT": "json",
            "CARYATID_GSLB_ALLOWED_TARGETS": "127.0.0.0/8",
            "CARYATID_DNS_LISTEN": f"127.0.0.1:{dns}" if dns else "",
            "CARYATID_GSLB_REGION": name,
        }
        self._servers = contextlib.ExitStack()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """It is up, and its web servers serve; where it was before, if it was."""
        say(f"  {self.name}: `caryatid up` in {self.directory} …")
        self.directory.mkdir(exist_ok=True, mode=0o700)
        ports = self.members or [0, 0]
        self.members = [self._servers.enter_context(member(self.name, port))[1] for port in ports]
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "caryatid", "up"],
                env=self.environment, stderr=log, stdout=log, start_new_session=True,
            )  # fmt: skip
        process = self._process
        wait_for(lambda: answers(f"{self.url}/healthcheck") or process.poll() is not None, "it is up", READY_S)
        if process.poll() is not None:
            raise SystemExit(f"It did not start:\n{(self.directory / 'log').read_text()[-4000:]}")

    def report_to(self, other: "Region") -> None:
        """Before it is started the first time: how its load balancers are is told there."""
        other.make("/gslb/v1/regions", "region", name=self.name)
        (self.directory / "reporter").mkdir(parents=True, mode=0o700)
        command(other, "gslb-region", "token", self.name, "--file", f"{self.directory}/reporter/token", quiet=True)
        self.environment["CARYATID_GSLB_REPORT_TO"] = f"https://{other.conductor}"

    @contextlib.contextmanager
    def api(self) -> Iterator[httpx2.Client]:
        token = (self.directory / "admin.token").read_text().strip()
        with httpx2.Client(base_url=self.url, timeout=30, headers={"X-Auth-Token": token}) as client:
            yield client

    def make(self, path: str, envelope: str, **body: Any) -> dict[str, Any]:
        with self.api() as api:
            answer = api.post(path, json={envelope: body})
        if answer.is_error:
            raise SystemExit(f"POST {path}: {answer.status_code} {answer.text}")
        return dict(answer.json()[envelope])

    def balance(self) -> None:
        """It has a load balancer that works."""
        with self.api() as api:
            body = wanted(api, PORT, self.members)["loadbalancer"]
        made = self.make("/v2/lbaas/loadbalancers", "loadbalancer", **body)
        self.vip, self.loadbalancer_id = made["vip_address"], made["id"]
        wait_for(lambda: answers(f"http://{self.vip}:{PORT}/"), "the load balancer answers")

    def kill(self) -> None:
        """Nothing of it lives."""
        self._servers.close()
        for pid in processes_of(self.directory):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if self._process is not None:
            self._process.wait(READY_S)

    def close(self) -> None:
        """It has ended as it should, and nothing is left."""
        if self.checker is not None:
            self.checker.close()
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(READY_S)
        self.kill()


class Checker:
    """`caryatid checker` of a region, at the region that has the name."""

    def __init__(self, region: str, directory: Path) -> None:
        self.region, self.directory = region, directory
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, at: Region) -> None:
        """It is begun. The first time it brings a token, which names its region."""
        words = [sys.executable, "-m", "caryatid", "checker", "--region", self.region]
        token = self.directory / "token"
        if not self.directory.exists():
            self.directory.mkdir(mode=0o700)
            if self.region not in {region["name"] for region in listed(at, "regions")}:
                at.make("/gslb/v1/regions", "region", name=self.region)
            command(at, "gslb-region", "token", self.region, "--file", str(token), quiet=True)
        kept = {name: value for name, value in at.environment.items() if not name.startswith("CARYATID_")}
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*words, "--token-file", str(token)],
                env={**kept, "CARYATID_STATE_DIR": str(self.directory), "CARYATID_LOG_FORMAT": "json"},
                stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    def close(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(READY_S)


def name_is_made(north: Region, south: Region) -> None:
    """Through the command line, as anybody would."""
    command(north, "gslb-zone", "create", ZONE, "--backend", "embedded")
    monitor = ("--interval", "1", "--timeout", "0.5", "--rise", "1", "--fall", "2")
    command(north, "gslb-monitor", "create", "web", "--type", "http", *monitor, "--parameters", f"port={PORT}")
    for region in (north, south):
        command(north, "gslb-pool", "create", region.name, "--monitor", "web")
        there = () if region is north else ("--region", region.name)
        words = ("--type", "load_balancer", "--loadbalancer", region.loadbalancer_id, *there)
        command(north, "gslb-member", "create", region.name, "--pool", region.name, *words)
    pools = [word for region in (north, south) for word in ("--pool", region.name)]
    words = ("--fqdn", NAME, "--record-types", "A", "--ttl", "5", "--steering-policy", "multivalue")
    command(north, "gslb", "create", "www", *words, *pools, "--wait")


def listed(region: Region, what: str) -> list[dict[str, Any]]:
    with region.api() as api:
        return list(api.get(f"/gslb/v1/{what}").json()[what])


def heard(region: Region, number: int) -> bool:
    return sum(bool(one["checkers"]) for one in listed(region, "regions")) >= number


def command(region: Region, *words: str, quiet: bool = False) -> None:
    """`caryatid WORDS`, shown."""
    if not quiet:
        say(f"$ caryatid {' '.join(words)}")
    own = {"CARYATID_URL": region.url, "CARYATID_TOKEN_FILE": str(region.directory / "admin.token"), "COLUMNS": "120"}
    done = subprocess.run(
        [sys.executable, "-m", "caryatid", *words],
        env={**region.environment, **own}, capture_output=True, text=True, timeout=READY_S, check=False,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"caryatid {' '.join(words)}: {done.stdout}{done.stderr}")
    if not quiet and words[1] != "create":
        say("".join(f"  {line}\n" for line in done.stdout.splitlines()).rstrip())


def dig(region: Region, *more: str) -> None:
    """What the name server says, as `dig` shows it."""
    words = ["dig", "@127.0.0.1", "-p", str(region.dns), NAME, "A", "+noall", "+answer", *more]
    say(f"$ {' '.join(words)}")
    done = subprocess.run([shutil.which("dig") or "dig", *words[1:]], capture_output=True, text=True, check=True)
    say("".join(f"  {line}\n" for line in done.stdout.splitlines()).rstrip())


def told(region: Region) -> set[str]:
    """The addresses that the name is answered with."""
    words = [shutil.which("dig") or "dig", "@127.0.0.1", "-p", str(region.dns), NAME, "A", "+short", "+time=1"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    return {line for line in done.stdout.split() if line[0].isdigit()}


def visited(address: str) -> str:
    with httpx2.Client(timeout=5) as client:
        return f"{address} is {client.get(f'http://{address}:{PORT}/').text.strip()}"


def processes_of(directory: Path) -> Sequence[int]:
    """Everything that has the directory among its words, and what that has started."""
    found, parents = set(), {}
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            words = (entry / "cmdline").read_bytes()
            parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            if any(f"{directory}{end}".encode() in words for end in ("/", "\0")):
                found.add(int(entry.name))
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return [pid for pid in found if pid != os.getpid()]


if __name__ == "__main__":
    sys.exit(main())
