# SPDX-License-Identifier: Apache-2.0
"""The secrets driver interface: what a container reference stands for, as whoever keeps it has it."""

from typing import Protocol

from caryatid.model.bundle import Material


class SecretsError(Exception):
    """It cannot be said now what the reference stands for; tried again."""


class UnreadableError(SecretsError):
    """Trying again will not help: nothing is there, it is not the project's, or it is of no kind that we know."""


class SecretsDriver(Protocol):
    """Reads what is kept. Called by threads, may block; ends within its own timeouts."""

    def read(self, reference: str, project_id: str) -> Material:
        """Raises SecretsError. `project_id`: of the load balancer; what other projects keep is not there for it,
        unless they let it in."""
