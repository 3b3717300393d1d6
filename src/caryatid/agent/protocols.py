# SPDX-License-Identifier: Apache-2.0
"""Which protocols of datagrams this host can carry, found by trying: kernels and their modules differ."""

import socket
import subprocess

import structlog

from caryatid.agent.checks import IPPROTO_SCTP
from caryatid.agent.namespace import find

ATTEMPT = """
table inet attempt {{
    set refused {{ type mark; size 65535; flags dynamic, timeout; timeout 3s; }}
    counter flows {{ }}
    map slots {{ type mark : mark; size 4; }}
    map places {{ type mark : ipv6_addr . inet_service; }}
    chain arrival {{
        type filter hook prerouting priority raw; policy accept;
        meta l4proto != {{ {protocol}, icmp }} notrack
    }}
    chain share {{
        type nat hook prerouting priority dstnat; policy accept;
        meta mark set jhash ip6 saddr . {protocol} sport mod 4 seed 0x1
        {protocol} dport 1 ct count over 1 drop
        {protocol} dport 1 meta mark set meta mark map @slots counter name "flows" dnat ip6 to meta mark map @places
    }}
    chain passage {{
        type filter hook forward priority filter; policy drop;
        ct direction reply ct state related icmpv6 type destination-unreachable update @refused {{ ct mark }}
    }}
    chain departure {{
        type nat hook postrouting priority srcnat; policy accept;
        ct status dnat masquerade
    }}
}}
"""
"""A bit of everything that rulesets for datagrams are made of."""
DEADLINE_S = 10.0

log = structlog.get_logger()


def carried() -> list[str]:
    """Of UDP and SCTP. That one is not is said in the log, and why."""
    found = []
    for protocol in ("UDP", "SCTP"):
        if hindrance := _hindrance(protocol):
            log.info("protocol not carried", protocol=protocol, reason=hindrance)
        else:
            found.append(protocol)
    return found


def _hindrance(protocol: str) -> str:
    """Why not; empty: it is."""
    if protocol == "SCTP":
        try:
            socket.socket(socket.AF_INET, socket.SOCK_STREAM, IPPROTO_SCTP).close()
        except OSError as error:
            return f"The kernel has no SCTP: {error.strerror}."
    command = [find("unshare"), "--net", find("nft"), "-f", "-"]
    text = ATTEMPT.format(protocol=protocol.lower()).encode()
    try:
        ended = subprocess.run(command, input=text, capture_output=True, check=False, timeout=DEADLINE_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return ended.stderr.decode(errors="replace").strip() if ended.returncode else ""
