# SPDX-License-Identifier: Apache-2.0
"""Run in a network of its own, whose administrator it is: asks for echoes, and writes what came of it (JSON)."""

import json
import os
import subprocess
from dataclasses import asdict
from pathlib import Path

from tests.checker.checks.places import check, tried

LEAVE = Path("/proc/sys/net/ipv4/ping_group_range")
IGNORE = Path("/proc/sys/net/ipv4/icmp_echo_ignore_all")


def main():
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    LEAVE.write_text("1 0")
    found = {"without leave": tried(check("icmp"))}
    LEAVE.write_text(f"{os.getgid()} {os.getgid()}")
    found["IPv4"] = tried(check("icmp"))
    found["IPv6"] = tried(check("icmp", address="::1"))
    found["no way"] = tried(check("icmp", address="203.0.113.1"))
    IGNORE.write_text("1")
    found["silent"] = tried(check("icmp", timeout_s=0.5))
    print(json.dumps({name: asdict(outcome) for name, outcome in found.items()}))


if __name__ == "__main__":
    main()
