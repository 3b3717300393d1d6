# SPDX-License-Identifier: Apache-2.0
"""What a host says it can bind is what it can bind, whoever runs the agent."""

import errno
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from caryatid.agent.ports import bindable_from

PROGRAM = "from caryatid.agent.ports import bindable_from; print(bindable_from())"
AS_NOBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs"]


def can_bind(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            return error.errno == errno.EADDRINUSE
    return True


def test_from_the_lowest_port_on_all_can_be_bound_and_the_one_below_cannot():
    lowest = bindable_from()
    assert all(can_bind(port) for port in {lowest, min(lowest + 1, 65535), 1024, 65535})
    assert lowest == 1 or not can_bind(lowest - 1)


def test_it_is_right_for_an_ordinary_user_as_well():
    if os.getuid() != 0:
        pytest.skip("only root can become somebody else")
    said = subprocess.run(
        [*AS_NOBODY, sys.executable, "-c", PROGRAM], capture_output=True, text=True, cwd="/", check=False
    )
    if "Permission denied" in said.stderr:
        pytest.skip("an ordinary user cannot read this environment")
    assert said.returncode == 0, said.stderr
    start = int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())
    assert int(said.stdout) == max(start, 1)
