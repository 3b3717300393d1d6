# SPDX-License-Identifier: Apache-2.0
"""What provides the machines of amphorae. Fits drivers that take minutes: a build is asked for, then polled."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, Self

from caryatid.drivers.setup import Setup
from caryatid.model.amphora import Placed


class ComputeError(Exception):
    """The machine could not be had now; tried again."""

    def __init__(self, message: str, *, remedy: str = "", hopeless: bool = False) -> None:
        """`remedy`: what helps. `hopeless`: that alone does; it will not pass by itself."""
        super().__init__(message)
        self.remedy = remedy
        self.hopeless = hopeless


@dataclass(frozen=True)
class Built:
    """How far the machine of an amphora is. `address`: of its agent, once known."""

    state: Literal["building", "ready"]
    address: str | None = None
    words: str = ""
    """How far it is being built, to go after "is being built"; empty: nothing more is known."""
    again_s: float = 1.0
    """Seconds after which it is worth looking again, unless somebody wakes the load balancer before."""
    said: Sequence[str] = ()
    """Once it is ready: what those who made it had to say, for the job's log."""


class ComputeDriver(Protocol):
    """Provides the machine of an amphora. Every call may be repeated."""

    makes_machines: bool
    """Each amphora gets a machine of its own. Else they go to hosts that have enrolled."""
    has_agents: bool
    """Whoever runs its amphorae is an agent that enrols: a host."""

    @classmethod
    def connect(cls, setup: Setup) -> Self:
        """The driver of a process."""

    def build(self, amphora: Placed) -> Built:
        """The machine of `amphora` exists or is being made; raises ComputeError."""

    def delete(self, amphora: Placed) -> None:
        """The machine of `amphora` does not exist, or will not. Not an error if it never did."""


def own_hosts(compute: ComputeDriver) -> bool:
    """Each amphora's machine enrols as a host of its own."""
    return compute.makes_machines and compute.has_agents
