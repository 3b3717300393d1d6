# SPDX-License-Identifier: Apache-2.0
"""A real Ganeti of one node, for tests: all of its daemons, the fake hypervisor, instances on a network.

    this process' namespaces (tests/inside.py): tests, controllers     10.99.0.3, the network's gateway
        │ veth `ganeti` ── `tests`
    the node's (node.sh): bridge `gnt0`, RAPI on 10.99.0.1:5080        instances 10.99.0.4 … 10.99.0.254

The tests of a module that uses it run in a process of their own, in private namespaces: their conftest imports the
hooks of tests/inside.py and the fixture `ganeti` (tests/ganeti/conftest.py), which is one cluster for the module. When
that process ends, however it does, all of this is gone.

In the cluster: node `node1.gnt.test`, group `default`, disk templates `file` and `diskless`, OS `noop+default` (does
nothing, takes the parameter `seed`), Ganeti network `amphorae` (10.99.0.0/24 on the bridge `gnt0`). Files of the
machine are seen by the node where they are here, but for /run, /srv, /root (changes), /etc (changes), /var/lib/ganeti
and /var/log/ganeti, which are the node's own and in memory: whoever adds an OS, hooks or a hypervisor does so by `run`
and `put`. The node's commands and the fake instances run in the node's network, mounts and process table.
"""

import contextlib
import os
import shutil
import signal
import subprocess
from hashlib import md5
from pathlib import Path
from typing import Any, Literal, Self

from bench.waiting import children, until
from caryatid.wire.rapi.answers import Wanted
from caryatid.wire.rapi.client import Rapi

NODE = "node1.gnt.test"
BRIDGE = "gnt0"
NETWORK = "amphorae"
CIDR = "10.99.0.0/24"
OUTSIDE = "10.99.0.3"
"""This process' address, where instances find controllers."""
RAPI_PORT = 5080
URL = f"https://10.99.0.1:{RAPI_PORT}"
USER, PASSWORD = "caryatid", "correct horse"
READER, READER_PASSWORD = "watcher", "may only read"
PROGRAMS = ("gnt-cluster", "unshare", "nsenter", "ip")
PRIVATE = ("--mount", "--propagation", "private", "--mount-proc")
APART = ("unshare", "--net", "--uts", "--pid", "--fork", "--kill-child", *PRIVATE)
BEGIN = 'read -r _ && exec bash "$@"'
"""Once its cable is there."""
START_S = 150
COMMAND_S = 60
SCRIPT = Path(__file__).with_name("node.sh")
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", "HOME": "/root"}
Daemon = Literal["rapi", "luxid", "wconfd", "noded"]


class RealCluster:
    """The cluster, and what a test does to it. Leave it (`with`), and nothing is left."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._first: int | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._shown = ""

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.end()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def start(self) -> None:
        """RAPI answers afterwards. About ten seconds."""
        lacking = [name for name in PROGRAMS if shutil.which(name, path=ENVIRONMENT["PATH"]) is None]
        assert not lacking, f"This environment lacks {', '.join(lacking)}: run scripts/install-system."
        users = self.directory / "users"
        users.touch(0o600)
        users.write_text(
            f"{USER} {{HA1}}{_ha1(USER, PASSWORD)} write\n{READER} {{HA1}}{_ha1(READER, READER_PASSWORD)} read\n"
        )
        with (self.directory / "node.log").open("wb") as log:
            self._process = subprocess.Popen(
                [*APART, "bash", "-c", BEGIN, "node", SCRIPT, self.directory, users],
                env=ENVIRONMENT,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._first = until(lambda: children(self._process.pid), "the node's first process runs")[0]
        self._connect()
        self._process.stdin.write(b"begin\n")
        self._process.stdin.close()
        until(self._is_up, "Ganeti is up", START_S)
        self._answers()

    def _connect(self) -> None:
        """Both ends of the cable are there before the node begins."""
        _run("ip", "link", "set", "lo", "up")
        _run("ip", "link", "add", "ganeti", "type", "veth", "peer", "name", "tests", "netns", str(self._first))
        _run("ip", "addr", "add", f"{OUTSIDE}/24", "dev", "ganeti")
        _run("ip", "link", "set", "ganeti", "up")

    def _is_up(self) -> bool:
        assert self._process.poll() is None, self.log()
        return (self.directory / "up").exists()

    def _answers(self) -> None:
        until(lambda: hasattr(self.rapi().info(), "name"), "RAPI answers", START_S)

    def end(self) -> None:
        """All of it is gone."""
        if self._process is None:
            return
        if self._first is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._first, signal.SIGKILL)  # the first of its process namespace: all go with it
        self._process.kill()
        self._process.wait(30)
        self._process.stdin.close()
        self._process = None

    def log(self) -> str:
        """What the node said while it began."""
        return (self.directory / "node.log").read_text(errors="replace")[-4000:]

    @property
    def certificate(self) -> str:
        """RAPI's, which Ganeti has signed by itself: PEM."""
        if not self._shown:
            self._shown = self.run("openssl", "x509", "-in", "/var/lib/ganeti/rapi.pem")
        return self._shown

    def rapi(self, user: str = USER, password: str = PASSWORD, **more: Any) -> Rapi:
        """A client for it."""
        return Rapi(URL, user, password, self.certificate, **more)

    def inside(self, *words: str | Path) -> list[str]:
        """How a command is started on the node."""
        return ["nsenter", "-t", str(self._first), "-n", "-m", "-u", "-p", "--", *map(str, words)]

    def run(self, *words: str | Path, text: str = "", timeout_s: float = COMMAND_S) -> str:
        """What a command on the node says. Fails with all that it said."""
        command = self.inside(*words)
        done = subprocess.run(
            command, input=text, capture_output=True, text=True, timeout=timeout_s, check=False, env=ENVIRONMENT
        )
        assert done.returncode == 0, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def put(self, source: Path, target: str, mode: str = "755") -> None:
        """A copy of a file or folder of the machine's is on the node, folders above it too."""
        self.run(
            "sh", "-c", 'mkdir -p "$(dirname "$2")" && cp -r "$1" "$2" && chmod "$3" "$2"', "-", source, target, mode
        )

    def daemon(self, verb: Literal["start", "stop"], name: Daemon) -> None:
        """A daemon begins to run, or ends in good order."""
        self.run("/usr/lib/ganeti/daemon-util", verb, f"ganeti-{name}")

    def kill(self, name: Daemon) -> None:
        """A daemon is gone from one moment to the next; whom it answers to is cut off."""
        self.run("sh", "-c", f"kill -9 $(cat /run/ganeti/ganeti-{name}.pid)")
        self.run("rm", "-f", f"/run/ganeti/ganeti-{name}.pid")

    def drain(self) -> None:
        """The job queue takes nothing."""
        self.run("gnt-cluster", "queue", "drain")

    def undrain(self) -> None:
        self.run("gnt-cluster", "queue", "undrain")

    def crash(self, instance: str) -> None:
        """The instance runs no more, and nobody asked for that."""
        self.run("rm", f"/run/ganeti/fake-hypervisor/{instance}")

    def archive(self, job_id: int) -> None:
        """The job is out of the queue."""
        self.run("gnt-job", "archive", str(job_id))

    def instances(self) -> list[str]:
        """Names of all, as Ganeti's own command says."""
        return self.run("gnt-instance", "list", "--no-headers", "-o", "name").split()

    def remove(self, instance: str) -> None:
        """Behind everybody's back."""
        self.run("gnt-instance", "remove", "-f", "--shutdown-timeout=0", instance)


def wanted(name: str, *tags: str, **other: Any) -> Wanted:
    """An instance as small as they get, without a disk, on the network of the instances."""
    body = {
        "__version__": 1,
        "mode": "create",
        "instance_name": name,
        "disk_template": "diskless",
        "disks": [],
        "nics": [{"network": NETWORK, "ip": "pool"}],
        "os_type": "noop+default",
        "pnode": NODE,
        "hypervisor": "fake",
        "name_check": False,
        "ip_check": False,
        "beparams": {"minmem": 128, "maxmem": 128, "vcpus": 1},
        "tags": list(tags),
        **other,
    }
    return Wanted(name, body)


def _ha1(user: str, password: str) -> str:
    """How RAPI's file of users keeps a password that is not to be read there."""
    return md5(f"{user}:Ganeti Remote API:{password}".encode(), usedforsecurity=False).hexdigest()


def _run(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True, timeout=30)
