# SPDX-License-Identifier: Apache-2.0
"""The loops that make up an installation, and which process runs which.

A service is a loop; a process runs loops. `caryatid up` runs three processes: api, core and agent.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Service:
    """A command that runs for ever."""

    name: str
    does: str
    module: str
    """Where its `run(settings)` is."""


SERVICES: tuple[Service, ...] = (
    Service("api", "Answers requests.", "caryatid.services.api"),
    Service("worker", "Puts what is due into effect.", "caryatid.services.core"),
    Service("health", "Takes agents' reports.", "caryatid.services.core"),
    Service("housekeeping", "Does what has to be done from time to time.", "caryatid.services.core"),
    Service("conductor", "Enrols hosts, and is their door.", "caryatid.services.core"),
    Service("core", "Worker, health, housekeeping and conductor in one process.", "caryatid.services.core"),
    Service("agent", "Runs amphorae on this host.", "caryatid.services.agent"),
)

CORE = ("worker", "health", "housekeeping", "conductor")
"""What the process `core` runs."""
