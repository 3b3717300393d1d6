# SPDX-License-Identifier: Apache-2.0
"""A change that is only wanted if nobody else has wished for another since (If-Match, RFC 9110 §13.1.1)."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from hashlib import blake2b
from typing import Any, Final

import orjson
from pydantic import BaseModel

from caryatid.errors import PreconditionFailed
from caryatid.model.kind import Kind

DIGEST_BYTES: Final = 6


@dataclass(frozen=True)
class Precondition:
    """The wishes that a client has seen, one of which must still stand."""

    wishes: frozenset[str]
    any: bool = False
    """It is enough that the resource exists."""


ANY: Final = Precondition(frozenset(), any=True)


def wish(kind: Kind, document: Mapping[str, Any]) -> str:
    """What somebody has asked of the resource, as a short word; nothing that is observed, or made by the service, is in
    it. The same wish again is the same word."""
    wanted = [document.get(name) for name in _wished(kind)]
    content = orjson.dumps(wanted, default=_plain, option=orjson.OPT_SORT_KEYS)
    return blake2b(content, digest_size=DIGEST_BYTES).hexdigest()


def require_unchanged(kind: Kind, document: Mapping[str, Any], precondition: Precondition | None) -> None:
    """Raises PreconditionFailed unless the resource, whose row the caller holds, stands as the precondition says."""
    if precondition is None or precondition.any or wish(kind, document) in precondition.wishes:
        return
    raise PreconditionFailed(
        f"{kind.title} {document.get(kind.key)} has been changed since you read it. Read it again, and decide anew."
    )


@cache
def _wished(kind: Kind) -> tuple[str, ...]:
    """The attributes that somebody sets; of what has no generations, also when that was done last (a secret's payload
    is not in its document)."""
    dated = () if kind.root else ("updated_at",)
    return (*(a.name for a in kind if a.access.when != "generated" and not a.back and not a.secret), *dated)


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.__dict__
    raise TypeError(f"{type(value).__name__} is not JSON")
