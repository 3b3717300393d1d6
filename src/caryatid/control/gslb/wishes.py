# SPDX-License-Identifier: Apache-2.0
"""Wishes about global load balancing, each to whoever knows its kind; in the order of all wishes."""

from typing import Any

from caryatid.control.door import Door
from caryatid.control.precondition import Precondition
from caryatid.control.receipt import Accepted
from caryatid.model import GSLB
from caryatid.model.kind import Kind
from caryatid.model.policy import Caller

from . import gslbs, parts, places


def create(door: Door, caller: Caller, kind: Kind, body: Any, parent_id: str | None = None) -> Accepted:
    """What `body` asks for is wanted, or there."""
    if kind is GSLB:
        return gslbs.create(door, caller, body)
    if kind in places.KINDS:
        return places.create(door, caller, kind, body)
    return parts.create(door, caller, kind, body, parent_id)


def change(  # noqa: PLR0913  a wish has this many parts
    door: Door,
    caller: Caller,
    kind: Kind,
    key: str,
    body: Any,
    *,
    parent_id: str | None = None,
    precondition: Precondition | None = None,
) -> Accepted:
    """It is wanted as `body` says; what that does not name stays. Raises PreconditionFailed."""
    if kind is GSLB:
        return gslbs.change(door, caller, key, body, precondition)
    if kind in places.KINDS:
        return places.change(door, caller, kind, key, body, precondition)
    return parts.change(door, caller, kind, key, body, parent_id=parent_id, precondition=precondition)


def delete(
    door: Door,
    caller: Caller,
    kind: Kind,
    key: str,
    parent_id: str | None = None,
    precondition: Precondition | None = None,
) -> Accepted:
    """It is no longer wanted. Raises PreconditionFailed."""
    if kind is GSLB:
        return gslbs.delete(door, caller, key, precondition)
    if kind in places.KINDS:
        return places.delete(door, caller, kind, key, precondition)
    return parts.delete(door, caller, kind, key, parent_id, precondition)
