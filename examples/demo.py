# SPDX-License-Identifier: Apache-2.0
"""A load balancer with real traffic, on this machine: `make demo`.

Starts Caryatid with its defaults in a directory of its own, two small web servers as members, and a load balancer in
front of them; sends requests, ends one member, and shows that the other serves. `--once` ends by itself.
"""

import argparse
import collections
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2

READY_S = 60
MEMBER = """
import http.server, sys
class Answer(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 65536
    def do_GET(self):
        body = (sys.argv[2] + "\\n").encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_):
        pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Answer).serve_forever()
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--once", action="store_true", help="end after the show instead of waiting for Ctrl-C")
    parser.add_argument("--port", type=int, default=8080, help="the listener's port (default 8080)")
    arguments = parser.parse_args()
    if os.getuid() == 0:
        say("You are root; everything is run as you. It needs no more than an ordinary user.")
    with tempfile.TemporaryDirectory(prefix="caryatid-demo-") as directory, contextlib.ExitStack() as stack:
        members = [stack.enter_context(member(name)) for name in ("one", "two")]
        url = stack.enter_context(installation(Path(directory)))
        token = (Path(directory) / "admin.token").read_text().strip()
        with httpx2.Client(base_url=url, timeout=30, headers={"X-Auth-Token": token}) as api:
            show(api, arguments.port, members)
        if not arguments.once:
            say(f"\nIt stays up: the API is at {url} (docs at {url}/docs), a token in {directory}/admin.token.")
            say("Ctrl-C ends it.")
            wait_for_ctrl_c()
    say("Stopped; nothing is left behind.")
    return 0


def show(api: httpx2.Client, port: int, members: list[tuple[subprocess.Popen[bytes], int]]) -> None:
    """The main job, told as it goes."""
    say("\nOne request asks for the whole: a listener, a pool, a health monitor and two members.")
    began = time.monotonic()
    answer = api.post("/v2/lbaas/loadbalancers", json=wanted(api, port, [number for _, number in members]))
    answer.raise_for_status()
    loadbalancer = answer.json()["loadbalancer"]
    address = f"http://{loadbalancer['vip_address']}:{port}/"
    first_answer(address)
    say(f"{(time.monotonic() - began) * 1000:.0f} ms later the first request was answered at {address}")
    say_job(api, answer.headers["Caryatid-Job"])
    say(f"\n20 requests: {count(address, 20)}")
    wait_for(lambda: members_online(api, loadbalancer) == 2, "both members checked")
    say(f"Operating status: {operating(api, loadbalancer)}")

    say("\nNow member `one` is killed.")
    members[0][0].kill()
    members[0][0].wait()
    wait_for(lambda: members_online(api, loadbalancer) == 1, "the monitor has noticed")
    say(f"20 requests: {count(address, 20)}")
    say(f"Operating status: {operating(api, loadbalancer)}")


def wanted(api: httpx2.Client, port: int, ports: list[int]) -> dict[str, Any]:
    subnets = api.get("/v1/subnets", params={"name": "default"}).json()["subnets"]
    return {
        "loadbalancer": {
            "name": "demo",
            "vip_subnet_id": subnets[0]["id"],
            "listeners": [
                {
                    "name": "web",
                    "protocol": "HTTP",
                    "protocol_port": port,
                    "default_pool": {
                        "name": "app",
                        "protocol": "HTTP",
                        "lb_algorithm": "ROUND_ROBIN",
                        "healthmonitor": {
                            "type": "HTTP",
                            "delay": 1,
                            "timeout": 1,
                            "max_retries": 1,
                            "max_retries_down": 1,
                        },
                        "members": [{"address": "127.0.0.1", "protocol_port": number} for number in ports],
                    },
                }
            ],
        }
    }


@contextlib.contextmanager
def installation(directory: Path) -> Iterator[str]:
    """Caryatid, up; its URL. Everything of it is stopped afterwards."""
    listen = f"127.0.0.1:{free_port(9876)}"
    environment = {
        **os.environ,
        "CARYATID_STATE_DIR": str(directory),
        "CARYATID_LISTEN": listen,
        "CARYATID_CONDUCTOR_LISTEN": f"127.0.0.1:{free_port(9877)}",
        "CARYATID_HEALTH_LISTEN": f"127.0.0.1:{free_port(5555, socket.SOCK_DGRAM)}",
        "CARYATID_DNS_LISTEN": "",
        "CARYATID_LOG_FORMAT": "json",
    }
    say(f"Starting Caryatid in {directory} …")
    log_path = directory / "log"
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "caryatid", "up"], env=environment, stderr=log, stdout=log, start_new_session=True
        )
        try:
            wait_for(lambda: answers(f"http://{listen}/healthcheck") or process.poll() is not None, "it is up", READY_S)
            if process.poll() is not None:
                raise SystemExit(f"It did not start:\n{log_path.read_text()[-4000:]}")
            yield f"http://{listen}"
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(60)


@contextlib.contextmanager
def member(name: str, port: int = 0) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A web server that answers with `name`, and its port."""
    port = port or free_port(0)
    process = subprocess.Popen([sys.executable, "-c", MEMBER, str(port), name], stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: answers(f"http://127.0.0.1:{port}/"), f"member {name} serves")
        yield process, port
    finally:
        process.kill()
        process.wait()


def count(address: str, number: int) -> str:
    """Who answered how often; each request on a connection of its own."""
    seen: collections.Counter[str] = collections.Counter()
    for _ in range(number):
        with httpx2.Client(timeout=5) as client:
            seen[client.get(address).text.strip()] += 1
    return ", ".join(f"{who} answered {times}" for who, times in sorted(seen.items()))


def first_answer(address: str) -> None:
    def served() -> bool:
        with contextlib.suppress(httpx2.HTTPError):
            return httpx2.get(address, timeout=1).status_code == 200
        return False

    wait_for(served, "the first request is answered", 30, 0.005)


def say_job(api: httpx2.Client, job_id: str) -> None:
    def done() -> bool:
        return bool(api.get(f"/v1/jobs/{job_id}").json()["job"]["ended_at"])

    wait_for(done, "the job is done")
    job = api.get(f"/v1/jobs/{job_id}").json()["job"]
    say(f"Its job {job['state']} after {job['attempts']} attempt(s):")
    for line in job["log"]:
        say(f"  {line['at'][11:23]}  {line['text']}")


def statuses(api: httpx2.Client, loadbalancer: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = api.get(f"/v2/lbaas/loadbalancers/{loadbalancer['id']}/status").json()
    return dict(found["statuses"]["loadbalancer"])


def members_online(api: httpx2.Client, loadbalancer: dict[str, Any]) -> int:
    tree = statuses(api, loadbalancer)
    members = [m for listener in tree["listeners"] for pool in listener["pools"] for m in pool["members"]]
    return sum(m["operating_status"] == "ONLINE" for m in members)


def operating(api: httpx2.Client, loadbalancer: dict[str, Any]) -> str:
    tree = statuses(api, loadbalancer)
    members = [m for listener in tree["listeners"] for pool in listener["pools"] for m in pool["members"]]
    words = [f"{m['address']}:{m['protocol_port']} {m['operating_status']}" for m in members]
    return f"load balancer {tree['operating_status']}; members {json.dumps(words)}"


def answers(url: str) -> bool:
    with contextlib.suppress(httpx2.HTTPError):
        return httpx2.get(url, timeout=1).status_code == 200
    return False


def free_port(preferred: int, kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    """`preferred` if nobody has it, else another."""
    for number in (preferred, 0):
        with socket.socket(socket.AF_INET, kind) as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", number))
            return int(probe.getsockname()[1])
    raise SystemExit("No port is free on 127.0.0.1.")


def wait_for(what: Any, name: str, timeout_s: float = 30, pause_s: float = 0.1) -> None:
    deadline = time.monotonic() + timeout_s
    while not what():
        if time.monotonic() > deadline:
            raise SystemExit(f"Waited {timeout_s} s in vain until {name}.")
        time.sleep(pause_s)  # noqa: TID251  a script that polls as its reader would


def wait_for_ctrl_c() -> None:
    with contextlib.suppress(KeyboardInterrupt):
        signal.pause()


def say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
