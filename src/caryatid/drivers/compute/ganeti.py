# SPDX-License-Identifier: Apache-2.0
"""Amphorae as instances of Ganeti clusters. The driver asks no cluster anything: it says what is wanted, and looks how
far that is. Whoever watches the cluster (`control/ganeti/watcher.py`) does the rest, and wakes the load balancer."""

from typing import Self
from urllib.parse import urlsplit

from caryatid.drivers.setup import Machines, Setup
from caryatid.model.amphora import Placed
from caryatid.model.cluster import GIVEN_UP, Machine, MachineWish

from .base import Built, ComputeError

AGAIN_S = 10.0
"""Whoever watches the cluster wakes the load balancer, and so does its agent: this is for a wake-up that is lost."""


class GanetiDriver:
    """A machine is a row that is wanted (decision 45); it is there when its agent has enrolled."""

    makes_machines = True
    has_agents = True

    def __init__(self, machines: Machines | None) -> None:
        self._machines = machines

    @classmethod
    def connect(cls, setup: Setup) -> Self:
        return cls(setup.machines)

    def build(self, amphora: Placed) -> Built:
        machine = self._known.want(amphora.id, amphora.machine or MachineWish())
        if machine.phase in GIVEN_UP or (machine.phase == "WANTED" and machine.reason):
            told = machine.reason or f"it is {machine.phase}"
            raise ComputeError(
                f"The machine of amphora {amphora.id} cannot be had: {told}",
                remedy=machine.remedy or "",
                hopeless=machine.hopeless,
            )
        if machine.phase != "READY" or amphora.host is None or amphora.host.id != machine.host_id:
            return Built("building", machine.address, words=_words(machine), again_s=AGAIN_S)
        address = urlsplit(amphora.host.agent_url).hostname
        return Built("ready", address, said=self._known.said(amphora.id))

    def delete(self, amphora: Placed) -> None:
        """Its row stays until the instance is known to be gone."""
        self._known.unwant(amphora.id)

    @property
    def _known(self) -> Machines:
        if self._machines is None:
            raise ComputeError("This process makes no machines.")
        return self._machines


def _words(machine: Machine) -> str:
    """How far it is, in words of users' job logs."""
    where = f" on node {machine.node}" if machine.node else ""
    match machine.phase:
        case "WANTED":
            return "its machine is asked for"
        case "CREATING" if machine.job_id is not None:
            return f"Ganeti job {machine.job_id} makes its machine{where}"
        case "CREATING":
            return f"Ganeti was asked for its machine{where}"
        case "BOOTING":
            return f"its machine has been made{where}, and its agent has not spoken yet"
        case _:
            return f"its machine is there{where}"
