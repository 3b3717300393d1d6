# SPDX-License-Identifier: Apache-2.0
"""What provides the machines of amphorae. Fits drivers that take minutes: a build is asked for, then polled."""

from dataclasses import dataclass
from typing import Literal, Protocol

from caryatid.model.amphora import Placed


class ComputeError(Exception):
    """The machine could not be had now; tried again."""


@dataclass(frozen=True)
class Built:
    """How far the machine of an amphora is. `address`: of its agent, once known."""

    state: Literal["building", "ready"]
    address: str | None = None


class ComputeDriver(Protocol):
    """Provides the machine of an amphora. Every call may be repeated."""

    def build(self, amphora: Placed) -> Built:
        """The machine of `amphora` exists or is being made; raises ComputeError."""

    def delete(self, amphora: Placed) -> None:
        """The machine of `amphora` does not exist. Not an error if it never did."""
