# SPDX-License-Identifier: Apache-2.0
"""Amphorae on enrolled hosts: the machine is there already, and its agent is who answers."""

from typing import Self
from urllib.parse import urlsplit

from caryatid.drivers.setup import Setup
from caryatid.model.amphora import Placed

from .base import Built, ComputeError


class HostsDriver:
    """An amphora is a process of a host's agent; nothing has to be built."""

    makes_machines = False
    has_agents = True

    @classmethod
    def connect(cls, setup: Setup) -> Self:  # noqa: ARG003  nobody has to be asked
        return cls()

    def build(self, amphora: Placed) -> Built:
        if amphora.host is None:
            raise ComputeError(f"The host of amphora {amphora.id} is no longer enrolled.")
        return Built("ready", urlsplit(amphora.host.agent_url).hostname)

    def delete(self, amphora: Placed) -> None:
        """The host stays; what the amphora driver left there is gone with the amphora."""
