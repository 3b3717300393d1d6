# SPDX-License-Identifier: Apache-2.0
"""What resources have in common: the strict base class and the attributes that several share."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import BaseModel

from caryatid.errors import Fault

from .field import IGNORED, Access, Key, Listed
from .status import OperatingStatus, ProvisioningStatus
from .types import Bool, Id, Name, ProjectId, Tags, Time


class Document(BaseModel, strict=True, extra="forbid", use_attribute_docstrings=True, defer_build=True):
    """A part of a resource's document, or the whole of it."""

    @classmethod
    def implied(cls, wanted: Mapping[str, Any]) -> Mapping[str, Any]:  # noqa: ARG003  most imply nothing
        """What a change says without saying it, given the attributes that it names."""
        return {}

    def faults(self) -> Iterator[Fault]:
        """What is wrong with this document as a whole, each attribute being right by itself.

        May meet an instance from which attributes that are wrong by themselves are absent; what it cannot then
        judge it leaves out (an AttributeError ends it).
        """
        yield from ()


class Row(Document):
    """Anything that is kept under an id."""

    id: Annotated[Id, Access("generated"), Listed()]
    """Made by the service."""


class Owned(Row):
    """Belongs to a project."""

    project_id: Annotated[ProjectId, Access("generated"), Key(36)]
    """The project that owns it (for what hangs below a load balancer: the load balancer's)."""


class Assigned(Owned):
    """Belongs to a project that whoever makes it may name."""

    project_id: Annotated[ProjectId, Access("create"), Key(36)]
    """The project that owns it; default: the caller's."""


class Dated(Row):
    created_at: Annotated[Time, Access("generated"), Key(26)]
    """When it was accepted. UTC."""
    updated_at: Annotated[Time | None, Access("generated"), Key(26)] = None
    """When its wish last changed. UTC; null only while PENDING_CREATE."""


class Provisioned(Owned, Dated):
    """A root, or what hangs below one: takes effect some time after it was accepted."""

    admin_state_up: Annotated[Bool, Access(on_null=False)] = True
    """False takes it out of service without deleting it."""
    tags: Annotated[Tags, Access(on_null=IGNORED)] = []
    """Short labels; [] clears them, null leaves them as they are."""
    provisioning_status: Annotated[ProvisioningStatus, Access("generated"), Listed()] = "PENDING_CREATE"
    """Whether what is shown is in effect."""
    operating_status: Annotated[OperatingStatus, Access("generated"), Listed()] = "OFFLINE"
    """Whether it works, as last observed."""


class Named(Row):
    name: Annotated[Name, Listed()] = ""
    """Human-readable; need not be unique."""


class Described(Named):
    description: Name = ""
    """Human-readable."""
