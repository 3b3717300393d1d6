# SPDX-License-Identifier: Apache-2.0
"""Who asks, by the word of a Keystone: whose a token is, for which project, with which roles.

As Keystone's own middleware does it: each token is shown to Keystone with one of our own, and believed for a while (the
API keeps the answer until `Identified.until`; a token that is revoked meanwhile works for as long). A token of no
project, be it a domain's or the whole system's, gives no roles here: they would count for every project otherwise.
"""

import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

import httpx2

from caryatid import log
from caryatid.drivers.asking import Answer, Asking, NotAnsweredError
from caryatid.drivers.keystone import STRANGE, Tokens, moment, tokens_url
from caryatid.drivers.setup import Identity, Setup
from caryatid.errors import Busy, CaryatidError, Unauthorized
from caryatid.model.policy import Caller, Identified, Shown

REFUSED_S: Final = 5.0
"""Keystone is not asked again about a token that it does not know."""
REFUSED_MAX: Final = 10_000
REST_S: Final = 1.0
"""A Keystone that does not answer is left alone for so long."""
SERVICE: Final = "service"
"""Who has this role may bring users' tokens that have expired while it worked for them."""
CLIENTS_FAULT: Final = frozenset({400, 401, 404, 413, 414, 431})


@dataclass(frozen=True)
class Known:
    """What Keystone says of a token."""

    user_id: str
    project_id: str | None
    roles: frozenset[str]
    ends: float


class KeystoneDriver:
    """Threads may share it."""

    def __init__(self, identity: Identity) -> None:
        self._cache_s = identity.cache_s
        self._user = identity.keystone.user
        self._asking = Asking.of(identity.authorities, identity.timeout_s)
        self._tokens = Tokens(identity.keystone, self._asking)
        self._url = tokens_url(identity.keystone)
        self._challenge = f'Keystone uri="{identity.public_url or identity.keystone.url}"'
        self._refused: dict[bytes, float] = {}
        self._rest_until = 0.0

    @classmethod
    def connect(cls, setup: Setup) -> Self:
        """Raises CaryatidError if the settings name no Keystone."""
        if setup.identity is None:
            raise CaryatidError("The identity driver keystone needs the setting keystone_url.")
        return cls(setup.identity)

    def identify(self, shown: Shown) -> Identified:
        if not shown.token:
            raise Unauthorized("A token of Keystone's is wanted, in the header X-Auth-Token.", self._challenge)
        service = self._known(shown.service_token) if shown.service_token else None
        late = service is not None and SERVICE in service.roles
        known = self._known(shown.token, late=late)
        ends = service.ends if service and late else known.ends
        roles = known.roles if known.project_id else frozenset[str]()
        return Identified(Caller(known.user_id, known.project_id, roles), min(time.time() + self._cache_s, ends))

    def _known(self, token: str, *, late: bool = False) -> Known:
        """`late`: it may have expired. Raises Unauthorized, Busy."""
        key = hashlib.sha256(f"{late}{token}".encode()).digest()
        if self._refused.get(key, 0.0) > time.monotonic() or not (token.isascii() and token.isprintable()):
            raise self._unknown()
        answer = self._ask(token, {"nocatalog": "1"} | ({"allow_expired": "1"} if late else {}))
        if answer.status in CLIENTS_FAULT:
            self._refuse(key)
            raise self._unknown()
        if answer.status == httpx2.codes.FORBIDDEN:
            raise self._away(f"The user {self._user} may not check tokens: it needs the role {SERVICE} in its project.")
        if answer.status != httpx2.codes.OK:
            raise self._away(f"Keystone answers {answer.status} when it is asked whose a token is.")
        try:
            return _read(json.loads(answer.content)["token"])
        except (ValueError, TypeError, KeyError) as error:
            raise self._away(STRANGE) from error

    def _ask(self, token: str, query: Mapping[str, str]) -> Answer:
        if time.monotonic() < self._rest_until:
            raise _busy()
        url = str(httpx2.URL(self._url, params=query))
        try:
            return self._tokens.asked(
                lambda ours: self._asking.ask("GET", url, headers={"X-Auth-Token": ours, "X-Subject-Token": token})
            )
        except NotAnsweredError as error:
            self._rest_until = time.monotonic() + REST_S
            raise self._away(str(error)) from error

    def _refuse(self, key: bytes) -> None:
        if len(self._refused) >= REFUSED_MAX:
            self._refused = {}
        self._refused[key] = time.monotonic() + REFUSED_S

    def _unknown(self) -> Unauthorized:
        return Unauthorized("Keystone does not know this token, or not any more.", self._challenge)

    def _away(self, why: str) -> Busy:
        log.get().warning("nobody can be identified", reason=why)
        return _busy()


def _busy() -> Busy:
    return Busy("Keystone cannot say now whose this token is.")


def _read(token: Mapping[str, Any]) -> Known:
    """Raises ValueError, TypeError, KeyError for what is no token."""
    project = token.get("project")
    roles = frozenset(str(role["name"]) for role in token.get("roles") or ())
    return Known(str(token["user"]["id"]), str(project["id"]) if project else None, roles, moment(token["expires_at"]))
