# SPDX-License-Identifier: Apache-2.0
"""Requests that depend on what the client has seen (RFC 9110 §13), and how old what is seen is.

The entity tag of a resource is `"<wish>.<seen>"`: what somebody asked for, and all that is shown. If-None-Match
compares the whole; If-Match the wish alone, because what was observed meanwhile is nothing that a change could
overwrite.
"""

import re
import time
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any, Final

import orjson
from starlette.responses import Response
from starlette.types import Scope

from caryatid.control.precondition import ANY, Precondition, wish
from caryatid.errors import Fault, Refused
from caryatid.model.kind import Kind

from .call import JSON

AGE: Final = "Caryatid-Status-Age"
TAG: Final = re.compile(r'(W/)?"([\x21\x23-\x7e\x80-\xff]*)"')
DIGEST_BYTES: Final = 8
NOT_MODIFIED: Final = 304


def digest(content: bytes) -> str:
    """What two answers differ in if they differ."""
    return blake2b(content, digest_size=DIGEST_BYTES).hexdigest()


def tagged(scope: Scope, kind: Kind, document: Mapping[str, Any], shown: Any, headers: Mapping[str, str]) -> Response:
    """The answer that shows a resource: `shown`, unless the client has that already."""
    content = orjson.dumps(shown)
    tag = f'"{wish(kind, document)}.{digest(content)}"'
    return unless_known(scope, tag, content, headers)


def unless_known(scope: Scope, tag: str, content: bytes, headers: Mapping[str, str]) -> Response:
    """The answer with this content and entity tag; 304 if the client says that it has it (If-None-Match)."""
    told = {"ETag": tag, **headers}
    if knows(scope, tag):
        return Response(None, NOT_MODIFIED, told)
    response = Response(content, 200, told)
    response.raw_headers.append(JSON)
    return response


def age(heard_at: float | None) -> dict[str, str]:
    """The header that says how old the knowledge is of what is shown as observed, in milliseconds; none: it was never
    heard of."""
    return {} if heard_at is None else {AGE: str(max(0, round((time.time() - heard_at) * 1000)))}


def knows(scope: Scope, tag: str) -> bool:
    """Whether the client has what the tag names. Weak and strong compare alike here (RFC 9110 §8.8.3.2)."""
    said = _header(scope, b"if-none-match")
    if not said:
        return False
    opaque = tag.removeprefix("W/").strip('"')
    return said == "*" or any(found[2] == opaque for found in TAG.finditer(said))


def precondition(scope: Scope) -> Precondition | None:
    """What a change depends on (If-Match); None: nothing. Raises Refused for what cannot be read."""
    said = _header(scope, b"if-match")
    if not said:
        return None
    if said == "*":
        return ANY
    tags = TAG.findall(said)
    if not tags or TAG.sub("", said).strip(" ,\t"):
        raise Refused([Fault('The header If-Match must be "*" or entity tags, as ETag gave them.', "If-Match")])
    return Precondition(frozenset(opaque.partition(".")[0] for weak, opaque in tags if not weak))


def _header(scope: Scope, name: bytes) -> str:
    found = [value.decode("latin-1") for key, value in scope["headers"] if key == name]
    return ",".join(found).strip()
