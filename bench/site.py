# SPDX-License-Identifier: Apache-2.0
"""A site in network namespaces of its own: controllers here, hosts each in a namespace, a network between them.

    this process' namespace: controllers (10.77.0.1), and 10.88.0.1 as a machine of the VIPs' network
        │ bridge `manage`                  │ bridge `outside`
        eth0 10.77.0.11…       host-1…     eth1, the uplink of the host

`inside()` starts the program anew in such namespaces if it is not there yet: as root, or as anybody in a user
namespace. Each host has its own process namespace: when it is killed, all of it is gone at once.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

from bench.installation import Installation
from bench.waiting import children, command_line, until

INSIDE = "CARYATID_SITE"
CONTROLLERS = "10.77.0.1"
CLIENT = "10.88.0.1"
CIDR = "10.88.0.0/16"
HOST_START_S = 60
APART = ("--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "--mount-proc")
"""How the processes of the site, and of each host, are set apart: when the first of them dies, all do."""


def inside() -> bool:
    """This process is in namespaces of its own."""
    return INSIDE in os.environ


def enter() -> None:
    """The program begins anew in namespaces of its own; returns only there."""
    if inside():
        run("ip", "link", "set", "lo", "up")  # for parts that need no site, in the same run
        return
    words = [*apart(), sys.executable, *sys.orig_argv[1:]]
    os.execvpe(words[0], words, {**os.environ, INSIDE: "1"})


def apart() -> list[str]:
    """How a command is started in namespaces of its own."""
    own = ["--user", "--map-root-user"] if os.geteuid() else []
    return ["unshare", *own, "--net", *APART]


def run(*words: str) -> str:
    """What a command says; raises CalledProcessError when it fails."""
    return subprocess.run(words, check=True, capture_output=True, text=True, timeout=30).stdout


class Host:
    """A machine with an agent."""

    def __init__(self, site: "Site", number: int, settings: Mapping[str, str]) -> None:
        self.name = f"host-{number}"
        self.address = f"10.77.0.{10 + number}"
        self.directory = site.made.directory / self.name
        self._site = site
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None
        self.directory.mkdir()
        self._wire(number)

    def _wire(self, number: int) -> None:
        run("ip", "netns", "add", self.name)
        for bridge, port, inner in (("manage", f"m{number}", "eth0"), ("outside", f"o{number}", "eth1")):
            run("ip", "link", "add", port, "type", "veth", "peer", "name", inner, "netns", self.name)
            run("ip", "link", "set", port, "master", bridge, "up")
            run("ip", "-n", self.name, "link", "set", inner, "up")
        run("ip", "-n", self.name, "link", "set", "lo", "up")
        run("ip", "-n", self.name, "addr", "add", f"{self.address}/16", "dev", "eth0")
        self.ports = (f"m{number}", f"o{number}")

    @property
    def environment(self) -> dict[str, str]:
        keep = {name: value for name, value in os.environ.items() if not name.startswith("CARYATID_")}
        return {
            **keep,
            "CARYATID_STATE_DIR": str(self.directory),
            "CARYATID_LOG_FORMAT": "json",
            "CARYATID_AGENT_LISTEN": f"{self.address}:9443",
            "CARYATID_AGENT_NAME": self.name,
            **self._settings,
        }

    def start(self) -> None:
        """Its agent runs, and is started again when it ends, as an init system would; nothing is waited for."""
        token = self.directory / "token"
        if not token.exists() and not (self.directory / "agent" / "enrolment.json").exists():
            self._site.made.command("host", "token", "--file", str(token))
        agent = f"{sys.executable} -m caryatid agent --token-file {token}"
        script = (
            "mount -t tmpfs none /run && mkdir -p /run/netns && mount -t sysfs none /sys 2>/dev/null; "
            f"while true; do {agent}; sleep 0.2; done"
        )
        with (self.directory / "agent.log").open("ab") as log:
            self._process = subprocess.Popen(
                ["nsenter", f"--net=/run/netns/{self.name}", "unshare", *APART, "sh", "-c", script],
                env=self.environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def kill(self) -> None:
        """The machine is gone from one moment to the next: its processes, its cables."""
        if self._process is None:
            return
        self.cut()
        for pid in children(self._process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)  # the first of its process namespace: all go with it
        self._process.kill()
        self._process.wait(10)
        self._process = None

    def cut(self, *, manage: bool = True, outside: bool = True) -> None:
        """Its cables are out."""
        for port, out in zip(self.ports, (manage, outside), strict=True):
            if out:
                run("ip", "link", "set", port, "down")

    def mend(self) -> None:
        """Its cables are in."""
        for port in self.ports:
            run("ip", "link", "set", port, "up")

    @property
    def root(self) -> Path:
        """Where files that its processes name are seen from here."""
        first = children(self._process.pid)[0] if self._process else 0
        return Path(f"/proc/{first}/root")

    def agent(self) -> int | None:
        """The agent's process."""
        return next((pid for pid in self._processes() if command_line(pid)[1:4] == ["-m", "caryatid", "agent"]), None)

    def processes(self, name: str) -> list[int]:
        """Its processes whose program is called so."""
        return [pid for pid in self._processes() if Path((command_line(pid) or [""])[0]).name == name]

    def log(self, characters: int = 3000) -> str:
        return (self.directory / "agent.log").read_text(errors="replace")[-characters:]

    def _processes(self) -> list[int]:
        """All of its process namespace."""
        if self._process is None:
            return []
        first = children(self._process.pid)
        if not first:
            return []
        space = Path(f"/proc/{first[0]}/ns/pid").readlink()
        found = []
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if entry.name.isdigit() and (entry / "ns" / "pid").readlink() == space:
                    found.append(int(entry.name))
        return found


class Site:
    """Controllers without a data plane of their own, and hosts that have enrolled with them."""

    def __init__(self, hosts: int, settings: Mapping[str, str] | None = None, uplink: str = "bridge:eth1") -> None:
        assert inside(), "A site is made in namespaces of its own: call enter() first."
        self._networks()
        self.made = Installation(
            words=("up", "--no-agent"),
            environment={
                "CARYATID_CONDUCTOR_LISTEN": f"{CONTROLLERS}:9877",
                "CARYATID_HEALTH_LISTEN": f"{CONTROLLERS}:5555",
                **(settings or {}),
            },
        )
        agent = {"CARYATID_AGENT_UPLINKS": f"default={uplink}"}
        self.hosts = [Host(self, number + 1, agent) for number in range(hosts)]

    def _networks(self) -> None:
        run("mount", "-t", "tmpfs", "none", "/run")
        Path("/run/netns").mkdir()
        run("ip", "link", "set", "lo", "up")
        for bridge, address in (("manage", CONTROLLERS), ("outside", CLIENT)):
            run("ip", "link", "add", bridge, "type", "bridge", "stp_state", "0", "forward_delay", "0")
            run("ip", "addr", "add", f"{address}/16", "dev", bridge)
            run("ip", "link", "set", bridge, "up")

    def __enter__(self) -> Self:
        try:
            self.made.start()
            for host in self.hosts:
                host.start()
            until(self.complete, "all hosts have enrolled, and said what they can", HOST_START_S, 0.1)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Nothing of it is left, but for what goes with the namespaces."""
        for host in self.hosts:
            host.kill()
            for port in host.ports:
                run("ip", "link", "delete", port)
            run("ip", "netns", "delete", host.name)
        self.made.close()
        for bridge in ("manage", "outside"):
            run("ip", "link", "delete", bridge)
        shutil.rmtree(self.made.directory, ignore_errors=True)

    def complete(self) -> bool:
        """Every host can be given amphorae."""
        ready = [h for h in self.enrolled().values() if h["attachments"] and h["operating_status"] == "ONLINE"]
        return len(ready) == len(self.hosts)

    def enrolled(self) -> dict[str, dict[str, Any]]:
        """Hosts as the API shows them, by name."""
        return {host["name"]: host for host in self.made.get("/v1/hosts")}

    def host_of(self, amphora: Mapping[str, Any]) -> Host:
        """The machine that an amphora is on."""
        names = {host["id"]: name for name, host in self.enrolled().items()}
        return next(host for host in self.hosts if host.name == names[amphora["compute_id"]])

    def subnet(self, **more: Any) -> str:
        """A subnet on the network of the VIPs; its id."""
        network = self.made.get("/v1/networks", name="default")[0]["id"]
        body = {"network_id": network, "cidr": CIDR, "attachment": "uplink", **more}
        body.setdefault("allocation_pools", [{"start": "10.88.1.1", "end": "10.88.20.254"}])
        return str(self.made.send("POST", "/v1/subnets", {"subnet": body})["id"])

    def flavor(self, name: str) -> str:
        return str(self.made.get("/v2/lbaas/flavors", name=name)[0]["id"])

    def amphorae(self, loadbalancer_id: str) -> list[dict[str, Any]]:
        return list(self.made.get("/v2/octavia/amphorae", loadbalancer_id=loadbalancer_id))


@contextlib.contextmanager
def site(hosts: int, settings: Mapping[str, str] | None = None, **more: Any) -> Iterator[Site]:
    """A site that is up, and is gone afterwards."""
    with Site(hosts, settings, **more) as made:
        yield made
