# SPDX-License-Identifier: Apache-2.0
"""Who asks: a request → its Caller."""

import hashlib
import time
from base64 import b64decode
from dataclasses import replace
from typing import Final
from urllib.parse import urlsplit
from uuid import uuid4

from starlette.types import Scope

from caryatid.control.door import Door
from caryatid.errors import Forbidden, Unauthorized
from caryatid.model.policy import Caller, Identified, Shown
from caryatid.store.wake import Wakeups

from .call import aside

CHANNEL: Final = "access"
KNOWN_MAX: Final = 10_000
Headers = dict[bytes, bytes]


def request_id() -> str:
    """A name for a request, for its answer and the log."""
    return f"req-{uuid4()}"


class Gate:
    """Asks the identity driver who a request is from, and remembers for as long as it may."""

    def __init__(self, door: Door, wakeups: Wakeups) -> None:
        self._identity = door.identity
        self._known: dict[bytes, Identified] = {}
        wakeups.subscribe(CHANNEL, self._forget)

    async def caller(self, scope: Scope, headers: Headers, request_id: str) -> Caller:
        """Raises Unauthorized, Busy."""
        shown = read(scope, headers)
        key = _key(shown)
        known = self._known.get(key)
        if known is None or known.until <= time.time():
            known = await aside(self._identity.identify, shown)
            self._remember(key, known)
        return replace(known.caller, request_id=request_id)

    def _remember(self, key: bytes, known: Identified) -> None:
        if len(self._known) >= KNOWN_MAX:
            self._forget()
        if known.until:
            self._known[key] = known

    def _forget(self) -> None:
        """Something about users, roles or tokens has changed. A new dictionary: this is another thread."""
        self._known = {}


def read(scope: Scope, headers: Headers) -> Shown:
    """What the request shows. Raises Unauthorized for what cannot be read."""
    client = scope.get("client")
    user, password, token = "", "", headers.get(b"x-auth-token", b"").decode("latin-1")
    scheme, _, said = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
    if scheme.lower() == "basic":
        try:
            user, _, password = b64decode(said, validate=True).decode().partition(":")
        except ValueError:
            raise Unauthorized("The Authorization header cannot be read.") from None
    elif scheme.lower() == "bearer" and not token:
        token = said.strip()
    project_id = headers.get(b"x-project-id", b"").decode("latin-1")
    return Shown(token, user, password, project_id, client[0] if client else "")


def _key(shown: Shown) -> bytes:
    """What an answer is remembered under: nothing that could be used, were the memory seen."""
    said = f"{shown.token}\0{shown.user}\0{shown.password}\0{shown.project_id}"
    return hashlib.sha256(said.encode()).digest()


def refuse_other_sites(scope: Scope, headers: Headers) -> None:
    """Raises Forbidden for a change that a browser sends on behalf of another site's page.

    On loopback nothing else would stop such a page: a simple request needs no permission (Fetch, §4.8).
    """
    origin = headers.get(b"origin")
    if origin is None or scope["method"] == "GET":
        return
    host = headers.get(b"host", b"").decode("latin-1")
    if urlsplit(origin.decode("latin-1")).netloc != host:
        raise Forbidden("Requests from pages of other sites are not taken.")
