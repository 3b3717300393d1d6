# SPDX-License-Identifier: Apache-2.0
"""An echo, asked for through the kernel's own sockets for that (icmp(7)): no privilege, but leave."""

import asyncio
import os
import socket
from collections.abc import Mapping
from typing import Any, Final

from caryatid.model.gslb.parameters import Icmp as Parameters

from .base import Means, Place, Unable, read

REQUEST: Final = {socket.AF_INET: 8, socket.AF_INET6: 128}
REPLY: Final = {socket.AF_INET: 0, socket.AF_INET6: 129}
PROTOCOL: Final = {socket.AF_INET: socket.IPPROTO_ICMP, socket.AF_INET6: socket.IPPROTO_ICMPV6}
HEAD_BYTES: Final = 8
MARK_BYTES: Final = 16
ANSWER_BYTES: Final = 1500


class Icmp:
    def __init__(self, parameters: Mapping[str, Any], _means: Means) -> None:
        read(Parameters, parameters)

    async def ask(self, place: Place) -> None:
        family = socket.AF_INET6 if ":" in place.address else socket.AF_INET
        mark = os.urandom(MARK_BYTES)
        with _socket(family) as asking:
            asking.setblocking(False)
            asking.connect((place.address, 0))
            asking.send(bytes([REQUEST[family], *bytes(HEAD_BYTES - 1)]) + mark)
            place.doing = "waiting for an echo"
            heard = b""
            while heard[:1] != bytes([REPLY[family]]) or heard[HEAD_BYTES:] != mark:
                heard = await asyncio.get_running_loop().sock_recv(asking, ANSWER_BYTES)


def _socket(family: socket.AddressFamily) -> socket.socket:
    try:
        return socket.socket(family, socket.SOCK_DGRAM, PROTOCOL[family])
    except PermissionError:
        raise Unable(
            "the checker's machine lets it send no echo: net.ipv4.ping_group_range must include its group"
        ) from None
