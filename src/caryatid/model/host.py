# SPDX-License-Identifier: Apache-2.0
"""The host: a machine with an agent on it, that can carry amphorae."""

from typing import Annotated

from pydantic import Field

from .field import Access, Key, Listed
from .kind import Kind
from .resource import Dated
from .types import Bool, Int, Name, Time


class Host(Dated):
    """A machine whose agent has enrolled."""

    name: Annotated[Name, Access("generated"), Key(), Listed()]
    """What the machine calls itself."""
    agent_url: Annotated[Name, Access("generated"), Listed()]
    """Where its agent answers."""
    agent_version: Annotated[Name, Access("generated"), Listed()] = ""
    """Version of the agent."""
    haproxy_version: Annotated[Name, Access("generated"), Listed()] = ""
    """Version of HAProxy that it runs."""
    bindable_from: Annotated[Int, Access("generated")] = 1
    """The lowest port that its listeners may have."""
    capacity: Annotated[Int, Field(ge=0)] = 1000
    """Amphorae it may carry."""
    labels: dict[str, str] = {}
    """What placement may ask for."""
    enabled: Annotated[Bool, Access(on_null=False), Listed()] = True
    """New amphorae may be placed here."""
    certificate_expiration: Annotated[Time | None, Access("generated")] = None
    """When its certificate ends. UTC."""


HOST = Kind(name="host", model=Host, title="Host", path="/hosts", plural="hosts", links="hosts_links", root=None)
