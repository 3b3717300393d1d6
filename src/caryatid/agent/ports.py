# SPDX-License-Identifier: Apache-2.0
"""Which ports a process of ours may bind."""

import errno
import socket
from pathlib import Path

UNPRIVILEGED_START = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")
PRIVILEGED_END = 1024


def bindable_from(address: str = "127.0.0.1") -> int:
    """The lowest TCP port from which on all may be bound by this process and its children.

    Found by trying: root without CAP_NET_BIND_SERVICE may not, an ordinary uid with a lowered sysctl may.
    """
    if _may_bind(address, 1):
        return 1
    start = _unprivileged_start()
    if start > 1 and not _may_bind(address, start):
        return PRIVILEGED_END
    return start


def _unprivileged_start() -> int:
    try:
        return int(UNPRIVILEGED_START.read_text())
    except (OSError, ValueError):
        return PRIVILEGED_END


def _may_bind(address: str, port: int) -> bool:
    """Whether the kernel lets us; that somebody else has the port is not a refusal."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        try:
            probe.bind((address, port))
        except OSError as error:
            return error.errno == errno.EADDRINUSE
    return True
