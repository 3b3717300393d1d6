# SPDX-License-Identifier: Apache-2.0
"""The member: one that does a pool's work."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from caryatid.errors import Fault

from .field import Access, Key, Listed, Ref
from .kind import Kind
from .resource import Named, Provisioned
from .status import OperatingStatus
from .types import Address, Bool, Id, Int, Port

RESERVED_ADDRESSES = frozenset({"169.254.169.254", "0.0.0.0", "::"})  # noqa: S104  refused, not bound


class Member(Named, Provisioned):
    """An address and port that do a pool's work."""

    operating_status: Annotated[OperatingStatus, Access("generated"), Listed()] = "NO_MONITOR"
    """Whether it works, as last observed."""
    pool_id: Annotated[Id, Ref("pool", shown=None)]
    """The pool it belongs to."""
    address: Annotated[Address, Access("create"), Key(64), Listed()]
    """Where it is reached."""
    protocol_port: Annotated[Port, Access("create"), Key(), Listed()]
    """The port it is reached on."""
    weight: Annotated[Int, Field(ge=0, le=256), Listed()] = 1
    """Its share of the work, relative to its peers; 0 takes nobody new (drains)."""
    backup: Bool = False
    """Serves only while no other member does."""
    subnet_id: Annotated[Id | None, Access("create")] = None
    """The subnet on which it is reached directly; null: by the default route."""
    monitor_address: Address | None = None
    """Where it is checked, if not at its address."""
    monitor_port: Port | None = None
    """The port it is checked on, if not its own."""
    request_sriov: Annotated[Bool, Access("create", shown=False)] = False
    """Asks for a directly attached port; the flavor must allow it."""
    vnic_type: Annotated[Literal["normal", "direct"], Access("generated")] = "normal"
    """How the port towards it is attached."""

    def faults(self) -> Iterator[Fault]:
        for name in ("address", "monitor_address"):
            if getattr(self, name) in RESERVED_ADDRESSES:
                yield Fault(f"Validation failure: {getattr(self, name)} is not a valid option for member {name}", name)


MEMBER = Kind(
    name="member",
    model=Member,
    title="Member",
    path="/lbaas/pools/{pool_id}/members",
    plural="members",
    links="members_links",
    parent="pool_id",
    counted=True,
    unique=(("pool_id", "address", "protocol_port"),),
)
