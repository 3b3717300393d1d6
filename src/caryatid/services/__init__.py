# SPDX-License-Identifier: Apache-2.0
"""The loops that make up an installation, and which process runs which.

A service is a loop; a process runs loops. `caryatid up` runs three processes: api, core and agent; and dns, if
PowerDNS is installed.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Service:
    """A command that runs for ever."""

    name: str
    does: str


SERVICES: tuple[Service, ...] = (
    Service("api", "Answers requests."),
    Service("worker", "Puts what is due into effect."),
    Service("health", "Takes agents' reports."),
    Service("housekeeping", "Does what has to be done from time to time."),
    Service("conductor", "Enrols hosts and checkers, and is their door."),
    Service("core", "Worker, health, housekeeping and conductor in one process."),
    Service("agent", "Runs amphorae on this host."),
    Service("dns", "Looks after this installation's own name server."),
    Service("checker", "Checks members of global load balancers from its region."),
)

CORE = ("worker", "health", "housekeeping", "conductor")
"""What the process `core` runs."""
