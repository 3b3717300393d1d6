# SPDX-License-Identifier: Apache-2.0
"""Who asks: a request → its Caller."""

import asyncio
import hashlib
import time
from base64 import b64decode
from dataclasses import replace
from functools import partial
from typing import Final
from urllib.parse import urlsplit
from uuid import uuid4

from anyio import CapacityLimiter, to_thread
from starlette.types import Scope

from caryatid.control.door import Door
from caryatid.errors import Forbidden, Unauthorized
from caryatid.model.policy import Caller, Identified, Shown
from caryatid.store.wake import Wakeups

CHANNEL: Final = "access"
KNOWN_MAX: Final = 10_000
THREADS_MAX: Final = 8
"""Questions to the driver at a time: not of those threads that ask the database, which others need who are known."""
Headers = dict[bytes, bytes]


def request_id() -> str:
    """A name for a request, for its answer and the log."""
    return f"req-{uuid4()}"


class Gate:
    """Asks the identity driver who a request is from, and remembers for as long as it may."""

    def __init__(self, door: Door, wakeups: Wakeups) -> None:
        self._identity = door.identity
        self._policy = door.policy
        self._known: dict[bytes, Identified] = {}
        self._asked: dict[bytes, asyncio.Task[Identified]] = {}
        self._threads = CapacityLimiter(THREADS_MAX)
        wakeups.subscribe(CHANNEL, self._forget)

    async def caller(self, scope: Scope, headers: Headers, request_id: str) -> Caller:
        """Raises Unauthorized, Busy."""
        shown = read(scope, headers)
        key = _key(shown)
        known = self._known.get(key)
        if known is None or known.until <= time.time():
            known = await self._ask(key, shown)
        return replace(known.caller, request_id=request_id, policy=self._policy)

    async def _ask(self, key: bytes, shown: Shown) -> Identified:
        """The driver's answer; who shows the same meanwhile gets the same."""
        asked = self._asked
        task = asked.get(key)
        if task is None:
            task = asked[key] = asyncio.create_task(self._identify(key, shown))
            task.add_done_callback(partial(_over, asked, key))
        return await asyncio.shield(task)  # who goes away does not take the answer along

    async def _identify(self, key: bytes, shown: Shown) -> Identified:
        remembered = self._known
        known = await to_thread.run_sync(self._identity.identify, shown, limiter=self._threads)
        if remembered is self._known:  # nothing has changed since it was asked
            self._remember(key, known)
        return known

    def _remember(self, key: bytes, known: Identified) -> None:
        if len(self._known) >= KNOWN_MAX:
            self._forget()
        if known.until:
            self._known[key] = known

    def _forget(self) -> None:
        """Something about users, roles or tokens has changed. New dictionaries: this is another thread."""
        self._known, self._asked = {}, {}


def _over(asked: dict[bytes, asyncio.Task[Identified]], key: bytes, task: asyncio.Task[Identified]) -> None:
    del asked[key]
    if not task.cancelled():
        task.exception()  # heard, even if everybody who asked has gone away


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
    service_token = headers.get(b"x-service-token", b"").decode("latin-1")
    return Shown(token, user, password, project_id, client[0] if client else "", service_token)


def _key(shown: Shown) -> bytes:
    """What an answer is remembered under: nothing that could be used, were the memory seen."""
    said = f"{shown.token}\0{shown.user}\0{shown.password}\0{shown.project_id}\0{shown.service_token}"
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
