# SPDX-License-Identifier: Apache-2.0
"""A Keystone: tokens of the service's own user, for asking other services, and whose the tokens of others are."""

import json
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime

import httpx2

from .asking import Answer, Asking, NotAnsweredError
from .setup import Keystone

MARGIN_S = 60.0
"""Before its end a token is replaced."""
REST_S = 1.0
"""Where no token was given, nobody asks again for so long."""
STRANGE = "Keystone answers, but not as Keystone does."


def tokens_url(keystone: Keystone) -> str:
    """Where tokens are made and checked."""
    return f"{keystone.url.rstrip('/').removesuffix('/v3')}/v3/auth/tokens"


def moment(text: str) -> float:
    """Keystone's time, in seconds since the epoch. Raises ValueError, TypeError."""
    at = datetime.fromisoformat(text)
    return at.replace(tzinfo=at.tzinfo or UTC).timestamp()


class Tokens:
    """One token, kept until shortly before its end. Threads may share it."""

    def __init__(self, keystone: Keystone, asking: Asking) -> None:
        self._keystone = keystone
        self._asking = asking
        self._url = tokens_url(keystone)
        self._token = ""
        self._until = 0.0
        self._failure = ""
        self._failed_at = -REST_S
        self._lock = threading.Lock()

    def valid(self) -> str:
        """A token for the service's project. Raises NotAnsweredError."""
        with self._lock:
            if time.time() > self._until - MARGIN_S:
                self._renew()
            return self._token

    def asked(self, ask: Callable[[str], Answer]) -> Answer:
        """What `ask` is answered to a token: to another one, if it is told that the first is not believed (it may have
        been revoked). Raises NotAnsweredError, as `ask` does."""
        token = self.valid()
        answer = ask(token)
        if answer.status != httpx2.codes.UNAUTHORIZED:
            return answer
        with self._lock:
            if token == self._token:
                self._until = 0.0
        return ask(self.valid())

    def _renew(self) -> None:
        """Who comes while it fails does not wait for as long again."""
        if time.monotonic() < self._failed_at + REST_S:
            raise NotAnsweredError(self._failure)
        try:
            self._take(self._asking.ask("POST", self._url, headers={}, body=self._wish()))
        except NotAnsweredError as error:
            self._failure, self._failed_at = str(error), time.monotonic()
            raise

    def _take(self, answer: Answer) -> None:
        if answer.status == httpx2.codes.UNAUTHORIZED:
            raise NotAnsweredError(f"Keystone does not know the user {self._keystone.user}, or not by this password.")
        token = answer.headers.get("X-Subject-Token", "")
        if answer.status != httpx2.codes.CREATED or not token:
            raise NotAnsweredError(f"Keystone answers {answer.status} to the service's user.")
        try:
            self._token, self._until = token, moment(json.loads(answer.content)["token"]["expires_at"])
        except (ValueError, TypeError, KeyError) as error:
            raise NotAnsweredError(STRANGE) from error

    def _wish(self) -> dict[str, object]:
        known = self._keystone
        user = {"name": known.user, "domain": {"name": known.user_domain}, "password": known.password}
        scope = {"project": {"name": known.project, "domain": {"name": known.project_domain}}}
        return {"auth": {"identity": {"methods": ["password"], "password": {"user": user}}, "scope": scope}}
