# SPDX-License-Identifier: Apache-2.0
"""The words a resource uses to describe an attribute, where pydantic has none.

Type, limits, default and description are pydantic's own. These seven say who may set an attribute, where it is
kept, where it is shown and what it names; the list is closed (an eighth needs a line in ARCHITECTURE.md).
"""

from dataclasses import dataclass
from typing import Any, Final, Literal

DEFAULT: Final = object()
"""An explicit null means the declared default."""
IGNORED: Final = object()
"""An explicit null is as if the attribute had not been sent."""


@dataclass(frozen=True)
class Access:
    """Who sets the attribute, and when. Without this word: its owner, at create and by change."""

    when: Literal["generated", "create", "change"] = "change"
    on_null: Any = DEFAULT
    rule: str | None = None
    """A policy rule of its own (`loadbalancer:put:vip_sg_ids`), beside the resource's."""
    shown: bool = True
    """False: taken in a request, never given back (`request_sriov`)."""
    unset_shown: bool = True
    """False: left out of an answer while it is null (`healthmonitor_id`)."""


@dataclass(frozen=True)
class Key:
    """Kept in a column of its own, for the database to index or compare.

    Everything without `Key` or `Ref` lives in the row's `spec` document, so a new attribute needs no migration.
    """

    text: int = 255
    """Length of the column, where the type is text."""


@dataclass(frozen=True)
class Ref:
    """The id of another resource; a column."""

    kind: str
    shown: str | None = "itself"
    """`itself`: under its own name. Another name: as a list `[{"id": …}]` under that. None: not at all."""
    nested: str | None = None
    """The name under which a fully populated create may carry the other resource itself."""


@dataclass(frozen=True)
class Names:
    """The id of another resource, or the ids of several, that is kept in the document: no column."""

    kind: str


@dataclass(frozen=True)
class Back:
    """The ids of those that refer here through their attribute `via`; never stored."""

    kind: str
    via: str
    one: bool = False
    """There is at most one: shown as its bare id, not as a list `[{"id": …}]`."""
    nested: str | None = None
    """The name under which a fully populated create may carry the others themselves."""


@dataclass(frozen=True)
class Listed:
    """Shown in lists (a column of the command line), not only when one resource is shown."""


@dataclass(frozen=True)
class Secret:
    """Taken, used, never shown nor logged."""
