# SPDX-License-Identifier: Apache-2.0
"""An installation of its own: state directory, ports and VIPs that nobody else uses; its processes, from `/proc`."""

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import httpx2

from bench.waiting import alive, children, command_line, free_port, processes, until
from caryatid.agent.settings import AgentSettings
from caryatid.services import nameserver

START_S = 60
SETTLE_S = 30
READY = re.compile(r'\{"service": "(?P<service>\w+)",.* "event": "(agent )?ready",')
ENDED = re.compile(r"Process `(?P<service>\w+)` ended")
NOOP = {f"CARYATID_{family}_DRIVER": "noop" for family in ("AMPHORA", "COMPUTE", "NETWORK", "SECRETS")}


@dataclass(frozen=True)
class Haproxy:
    """One amphora's HAProxy, as `/proc` shows it."""

    amphora_id: str
    master: int
    workers: tuple[int, ...]


class Installation:
    """`caryatid up` in a directory of its own. `start` and `stop` may be repeated; `close` leaves nothing behind."""

    def __init__(
        self,
        *,
        noop: bool = False,
        environment: Mapping[str, str] | None = None,
        words: Sequence[str] = ("up",),
    ) -> None:
        """`words`: how `caryatid` is started."""
        self.directory = Path(tempfile.mkdtemp(prefix="cb", dir="/tmp"))
        self.listen = f"127.0.0.1:{free_port()}"
        self.url = f"http://{self.listen}"
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("CARYATID_", "OS_"))},
            "CARYATID_STATE_DIR": str(self.directory),
            "CARYATID_LISTEN": self.listen,
            "CARYATID_CONDUCTOR_LISTEN": f"127.0.0.1:{free_port()}",
            "CARYATID_HEALTH_LISTEN": f"127.0.0.1:{free_port(socket.SOCK_DGRAM)}",
            "CARYATID_DNS_LISTEN": "",  # a name server takes a port, and time, that most need not
            "CARYATID_DEFAULT_SUBNET_CIDR": f"127.{80 + os.getpid() % 10}.0.0/16",
            "CARYATID_LOG_FORMAT": "json",
            "CARYATID_IDENTITY_DRIVER": "noauth",  # who asks is another matter
            **(NOOP if noop else {}),
            **(environment or {}),
        }
        self.subnet = ""
        """Where load balancers are made; empty: on the subnet that there is from the beginning."""
        self.member = "127.0.0.1"
        """The address of their members."""
        self.agent = self.directory / "agent"
        """The directory of the agent that carries them."""
        self.root = Path("/")
        """Where the files that it names are seen."""
        self._words = words
        self._expected = 2 if noop or "--no-agent" in words else 3
        self._expected += bool(self.environment["CARYATID_DNS_LISTEN"] and not nameserver.missing())
        self.process: subprocess.Popen[bytes] | None = None
        self.api = httpx2.Client(base_url=self.url, timeout=30)

    # -- life

    def start(self, timeout_s: float = START_S) -> Self:
        """It is up and answers."""
        self.spawn()
        until(self.answers, f"it is up:\n{self.log()}", timeout_s)
        if self.process and self.process.poll() is not None:
            raise AssertionError(f"It did not start:\n{self.log()}")
        return self

    def spawn(self, *words: str) -> subprocess.Popen[bytes]:
        """`caryatid up` is begun; nothing is waited for."""
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "caryatid", *(words or self._words)],
                env=self.environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        return self.process

    def answers(self) -> bool:
        if self.process is None or self.process.poll() is not None:
            return self.process is not None
        with contextlib.suppress(httpx2.HTTPError):
            return self.api.get("/healthcheck", timeout=1).status_code == 200 and len(self.services()) == self._expected
        return False

    def works(self) -> bool:
        """Every process has said that it is ready since it was started last: until then nobody hears what is so."""
        ready: dict[str, bool] = {}
        for line in self.log_path.read_text(errors="replace").splitlines():
            if said := READY.match(line):
                ready[said["service"]] = True
            elif ended := ENDED.match(line):
                ready[ended["service"]] = False
        return all(ready.get(name) for name in self.services())

    def stop(self, number: signal.Signals = signal.SIGINT, timeout_s: float = 40) -> int:
        """It has ended after this signal; its exit status."""
        assert self.process is not None
        self.process.send_signal(number)
        status = self.process.wait(timeout_s)
        self.process = None
        return status

    def close(self) -> None:
        """Nothing of it is left: no process, no file."""
        self.api.close()
        if self.process is not None and self.process.poll() is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.stop()
        for pid in self.leftovers():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for path in filter(None, (self.keys, self.directory)):
            shutil.rmtree(path, ignore_errors=True)

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(self, *_: object) -> None:
        self.close()

    def command(self, *words: str, timeout_s: float = 60) -> subprocess.CompletedProcess[str]:
        """`caryatid WORDS` against it."""
        return subprocess.run(
            [sys.executable, "-m", "caryatid", *words],
            env={**self.environment, "CARYATID_URL": self.url},
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    # -- its processes

    @property
    def log_path(self) -> Path:
        return self.directory / "up.log"

    def log(self, characters: int = 6000) -> str:
        return self.log_path.read_text(errors="replace")[-characters:] if self.log_path.exists() else ""

    def services(self) -> dict[str, int]:
        """Processes of `up`, by the name of the service."""
        assert self.process is not None
        found = {}
        for pid in children(self.process.pid):
            words = command_line(pid)
            if len(words) >= 4 and words[2] == "caryatid":
                found[words[3]] = pid
        return found

    def haproxies(self) -> dict[str, Haproxy]:
        """By amphora; those whose master lives."""
        mine: dict[str, list[int]] = {}
        for pid, words in processes():
            for word in words:
                path = Path(word)
                if path.name == "haproxy.cfg" and path.is_relative_to(self.amphorae):
                    mine.setdefault(path.parent.name, []).append(pid)
        found = {}
        for amphora_id, pids in mine.items():
            for pid in pids:
                workers = tuple(child for child in children(pid) if child in pids)
                if workers:
                    found[amphora_id] = Haproxy(amphora_id, pid, workers)
        return found

    def leftovers(self) -> list[int]:
        """Every living process that has our directory among its words or in its environment."""
        found = [pid for pid, words in processes() if any(str(self.directory) in word for word in words)]
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if (
                    entry.name.isdigit()
                    and f"CARYATID_STATE_DIR={self.directory}\0".encode() in (entry / "environ").read_bytes()
                ):
                    found.append(int(entry.name))
        return [pid for pid in sorted(set(found)) if pid != os.getpid() and alive(pid)]

    @property
    def amphorae(self) -> Path:
        return self.agent / "amphorae"

    @property
    def keys(self) -> Path | None:
        """Where its agent keeps private keys, in memory."""
        return AgentSettings(self.directory / "agent").keys_dir

    # -- asking it

    def get(self, path: str, **query: Any) -> Any:
        """The body of a 200, without its envelope."""
        answer = self.api.get(path, params=query)
        assert answer.status_code == 200, (answer.status_code, answer.text)
        return next(value for name, value in answer.json().items() if not name.endswith("_links"))

    def send(self, verb: str, path: str, body: Any = None) -> Any:
        """What an accepted change answers, without its envelope; None if nothing."""
        answer = self.api.request(verb, path, json=body)
        assert answer.status_code in {200, 201, 202, 204}, (verb, path, answer.status_code, answer.text)
        return next(iter(answer.json().values())) if answer.content else None

    def post(self, path: str, body: Any) -> Any:
        return self.send("POST", f"/v2/lbaas/{path}", body)

    def put(self, path: str, body: Any) -> Any:
        return self.send("PUT", f"/v2/lbaas/{path}", body)

    def delete(self, path: str) -> None:
        self.send("DELETE", f"/v2/lbaas/{path}")

    def subnet_id(self) -> str:
        return self.subnet or str(self.get("/v1/subnets", name="default")[0]["id"])

    def show(self, path: str) -> dict[str, Any]:
        return dict(self.get(f"/v2/lbaas/{path}"))

    def active(self, path: str, timeout_s: float = SETTLE_S, pause_s: float = 0.02) -> dict[str, Any]:
        """The resource, once it is ACTIVE."""

        def look() -> dict[str, Any] | None:
            found = self.show(path)
            return found if found["provisioning_status"] == "ACTIVE" else None

        return until(look, f"{path} is ACTIVE", timeout_s, pause_s)

    def gone(self, path: str, timeout_s: float = SETTLE_S) -> None:
        until(lambda: self.api.get(f"/v2/lbaas/{path}").status_code == 404, f"{path} is gone", timeout_s)

    def loadbalancer(self, ports: Sequence[int], **more: Any) -> dict[str, Any]:
        """A load balancer made in one call and ACTIVE: HTTP on 8080, round robin over these ports of the members."""
        body = whole(self.subnet_id(), ports, self.member, **more)
        asked = self.post("loadbalancers", {"loadbalancer": body})
        return self.active(f"loadbalancers/{asked['id']}")


def whole(subnet_id: str, ports: Sequence[int], member: str = "127.0.0.1", **more: Any) -> dict[str, Any]:
    """Body of a create in one call. `listener`, `pool`, `monitor`: what is added to these; the rest to the whole."""
    listener, pool, monitor = more.pop("listener", {}), more.pop("pool", {}), more.pop("monitor", None)
    members = [{"name": f"m{number}", "address": member, "protocol_port": port} for number, port in enumerate(ports)]
    default = {"name": "app", "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN", "members": members, **pool}
    if monitor:
        default["healthmonitor"] = {
            "type": "HTTP",
            "delay": 1,
            "timeout": 1,
            "max_retries": 1,
            "max_retries_down": 1,
            **monitor,
        }
    web = {"name": "web", "protocol": "HTTP", "protocol_port": 8080, "default_pool": default, **listener}
    return {"name": "bench", "vip_subnet_id": subnet_id, "listeners": [web], **more}


@contextlib.contextmanager
def installation(*, noop: bool = False, **environment: str) -> Iterator[Installation]:
    """An installation that is up, and is gone afterwards."""
    with Installation(noop=noop, environment=environment) as made:
        yield made
