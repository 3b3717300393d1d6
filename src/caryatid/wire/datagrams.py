# SPDX-License-Identifier: Apache-2.0
"""What an agent needs to know to share out datagrams: who may have them, how they are checked, and the names by which
the ruleset of the same configuration calls what the agent fills and reads."""

from typing import Annotated, Literal, NamedTuple

from pydantic import Field

from .body import AmphoraId, Body

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]
"""Of a map, counter or table; a program reads it."""
Address = Annotated[str, Field(pattern=r"^[0-9A-Fa-f.:]{2,45}$")]
Port = Annotated[int, Field(ge=1, le=65535)]
Check = Literal["UDP-CONNECT", "TCP", "HTTP", "SCTP"]


class Member(NamedTuple):
    """One that does the work."""

    id: str
    address: Address
    port: Port
    weight: Annotated[int, Field(ge=0, le=256)]
    """0 takes no new flows."""
    enabled: bool
    """Not: it has no flows."""
    backup: bool
    """Only while no other can take flows."""
    check_address: Address
    check_port: Port


class Monitor(Body):
    """How members are checked."""

    type: Check
    delay_s: float = Field(gt=0)
    timeout_s: float = Field(gt=0)
    rise: int = Field(ge=1)
    """So many checks must succeed in a row."""
    fall: int = Field(ge=1)
    """So many must fail."""
    method: str = Field(default="GET", pattern=r"^[A-Z]{1,16}$")
    path: str = Field(default="/", pattern=r"^/[!-~]*$")
    version: Literal["1.0", "1.1"] = "1.0"
    host: str = Field(default="", pattern=r"^[A-Za-z0-9._-]*$")
    """Empty: the member's address and port."""
    codes: tuple[tuple[int, int], ...] = ()
    """Statuses that are good, as ranges."""


class Share(NamedTuple):
    """Where the ruleset looks for members of one family."""

    version: int
    """4 or 6."""
    slots: Name
    """Map: slot → number of a member."""
    places: Name
    """Map: number of a member → its address and port."""


class Pool(Body):
    """Members, and the maps that say which of them has which slot."""

    id: str = AmphoraId
    shares: list[Share]
    members: list[Member]
    monitor: Monitor | None = None


class Listener(Body):
    """One listener's flows."""

    id: str = AmphoraId
    pool: str = ""
    """Id; empty: it sends nowhere."""
    mark: int = Field(ge=0, lt=1 << 32)
    """Of its flows; what the table's `member_bits` leave of a mark."""
    bytes_in: Name
    """Counter."""
    bytes_out: Name
    """Counter."""
    flows: Name
    """Counter: its packets are flows that have begun."""
    limit: int = Field(default=0, ge=0)
    """Of flows at a time; 0: none."""


class Datagrams(Body):
    """All of one amphora."""

    table: Name
    """Of nftables, family inet."""
    refused: Name
    """Set of marks: of flows that a member has refused just now."""
    slots: int = Field(ge=1, le=1 << 16)
    """Of each map; numbered from 0."""
    member_bits: int = Field(ge=1, le=31)
    """How many of the lowest bits of a flow's mark are its member's number."""
    listeners: list[Listener]
    pools: list[Pool]
