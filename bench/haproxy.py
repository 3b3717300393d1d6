# SPDX-License-Identifier: Apache-2.0
"""What the HAProxies of an installation say of themselves, asked at their own sockets: not what we recorded."""

import contextlib
import csv
import json
import socket
from pathlib import Path
from typing import NamedTuple

from bench.installation import Installation

FORCED_MAINTENANCE = 0x01
CALL_S = 5.0


class ServerState(NamedTuple):
    """A line of `show servers state`."""

    pool: str
    member: str
    address: str
    port: int
    weight: int
    enabled: bool
    up: bool


def stats_socket(installation: Installation, amphora_id: str) -> Path:
    """Where its configuration says."""
    for word in (installation.amphorae / amphora_id / "haproxy.cfg").read_text().split():
        if word.endswith("stats.sock"):
            return installation.root / word.lstrip("/")
    raise AssertionError(f"no stats socket in the configuration of {amphora_id}")


def amphora_of(installation: Installation, loadbalancer_id: str) -> str:
    """Its amphora, as the agent has it on disk; empty if it has none."""
    for record in installation.amphorae.glob("*/record.json"):
        with contextlib.suppress(OSError):
            if json.loads(record.read_bytes())["loadbalancer_id"] == loadbalancer_id:
                return record.parent.name
    return ""


def socket_of(installation: Installation, loadbalancer_id: str) -> Path:
    return stats_socket(installation, amphora_of(installation, loadbalancer_id))


def call(path: Path, command: str) -> str:
    """One command; its answer. Raises OSError when nobody is there."""
    answer = b""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(CALL_S)
        sock.connect(str(path))
        sock.sendall(command.encode() + b"\n")
        while chunk := sock.recv(1 << 18):
            answer += chunk
    return answer.decode()


def server_states(path: Path) -> list[ServerState]:
    found = []
    for line in call(path, "show servers state").splitlines():
        words = line.split()
        if len(words) < 19 or words[0] == "#":
            continue
        enabled = not int(words[6]) & FORCED_MAINTENANCE
        found.append(ServerState(words[1], words[3], words[4], int(words[18]), int(words[7]), enabled, words[5] != "0"))
    return found


def statistics(path: Path) -> list[dict[str, str]]:
    """`show stat`, line by line."""
    return list(csv.DictReader(call(path, "show stat").removeprefix("# ").splitlines()))


def frontends(path: Path) -> set[str]:
    """Names of what listens."""
    return {row["pxname"] for row in statistics(path) if row["svname"] == "FRONTEND"}


def worker(path: Path) -> int:
    """The process that answers at this socket; 0 if none does."""
    try:
        lines = call(path, "show info").splitlines()
    except OSError:
        return 0
    return next((int(line.split(":")[1]) for line in lines if line.startswith("Pid:")), 0)
