# SPDX-License-Identifier: Apache-2.0
"""VIPs within 127.0.0.0/8: every address is the host's own already, without any privilege."""

from collections.abc import Sequence
from ipaddress import ip_address
from typing import Self

from caryatid.drivers.setup import Setup
from caryatid.model.amphora import Placed, Stamp
from caryatid.model.loadbalancer import Vip

from .base import NetworkError


class LoopbackDriver:
    """Nothing has to be plugged: the kernel answers on the whole of 127.0.0.0/8."""

    takes_any_reference = False

    @classmethod
    def connect(cls, setup: Setup) -> Self:  # noqa: ARG003  nobody has to be asked
        return cls()

    def ensure_vips(self, amphora: Placed, vips: Sequence[Vip], stamp: Stamp) -> None:
        for vip in vips:
            if not ip_address(vip.ip_address).is_loopback:
                raise NetworkError(
                    f"{vip.ip_address} is not a loopback address, and amphora {amphora.id} has no other."
                )

    def remove_vips(self, amphora: Placed, vips: Sequence[Vip], stamp: Stamp) -> None:
        """The addresses are the kernel's."""
