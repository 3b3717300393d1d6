# SPDX-License-Identifier: Apache-2.0
"""VIPs within 127.0.0.0/8: every address is the host's own already, without any privilege."""

from collections.abc import Sequence
from ipaddress import ip_address

from caryatid.model.amphora import Placed
from caryatid.model.loadbalancer import Vip

from .base import NetworkError


class LoopbackDriver:
    """Nothing has to be plugged: the kernel answers on the whole of 127.0.0.0/8."""

    takes_any_reference = False

    def ensure_vips(self, amphora: Placed, vips: Sequence[Vip]) -> None:
        for vip in vips:
            if not ip_address(vip.ip_address).is_loopback:
                raise NetworkError(
                    f"{vip.ip_address} is not a loopback address, and amphora {amphora.id} has no other."
                )

    def remove_vips(self, amphora: Placed, vips: Sequence[Vip]) -> None:
        """The addresses are the kernel's."""
