# SPDX-License-Identifier: Apache-2.0
"""What brings VIPs to amphorae. Which address a load balancer has is decided before, in the same transaction
as its creation, so a driver only has to make it reachable."""

from collections.abc import Sequence
from typing import Protocol, Self

from caryatid.drivers.setup import Setup
from caryatid.model.amphora import Placed, Stamp
from caryatid.model.loadbalancer import Vip


class NetworkError(Exception):
    """The VIP could not be brought there now; tried again."""


class NetworkDriver(Protocol):
    """Brings VIPs to amphorae. Every call may be repeated."""

    takes_any_reference: bool
    """Subnets, networks and ports need not be known here (noop)."""

    @classmethod
    def connect(cls, setup: Setup) -> Self:
        """The driver of a process."""

    def ensure_vips(self, amphora: Placed, vips: Sequence[Vip], stamp: Stamp) -> None:
        """`amphora` is connected so that it can answer `vips`, once it is configured. Raises NetworkError."""

    def remove_vips(self, amphora: Placed, vips: Sequence[Vip], stamp: Stamp) -> None:
        """`amphora` is not connected any more. Not an error if it never was. Raises NetworkError."""
