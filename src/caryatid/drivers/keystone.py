# SPDX-License-Identifier: Apache-2.0
"""Tokens from a Keystone, with which the service's own user asks other services."""

import json
import threading
import time
from datetime import UTC, datetime

import httpx2

from caryatid.drivers.setup import Keystone

from .base import SecretsError
from .limited import Answer, Asking

MARGIN_S = 60.0
"""Before its end a token is replaced."""


class Tokens:
    """One token, kept until shortly before its end. Threads may share it."""

    def __init__(self, keystone: Keystone, asking: Asking) -> None:
        self._keystone = keystone
        self._asking = asking
        self._url = f"{keystone.url.rstrip('/').removesuffix('/v3')}/v3/auth/tokens"
        self._token = ""
        self._until = 0.0
        self._lock = threading.Lock()

    def valid(self) -> str:
        """A token for the service's project. Raises SecretsError."""
        with self._lock:
            if time.time() > self._until - MARGIN_S:
                self._take(self._asking.ask("POST", self._url, headers={}, body=self._wish()))
            return self._token

    def forget(self) -> None:
        """It is not believed any more."""
        with self._lock:
            self._until = 0.0

    def _take(self, answer: Answer) -> None:
        if answer.status == httpx2.codes.UNAUTHORIZED:
            raise SecretsError(f"Keystone does not know the user {self._keystone.user}, or not by this password.")
        token = answer.headers.get("X-Subject-Token", "")
        if answer.status != httpx2.codes.CREATED or not token:
            raise SecretsError(f"Keystone answers {answer.status} to the service's user.")
        try:
            ends = datetime.fromisoformat(json.loads(answer.content)["token"]["expires_at"])
        except (ValueError, TypeError, KeyError) as error:
            raise SecretsError("Keystone answers, but not as Keystone does.") from error
        self._token, self._until = token, ends.replace(tzinfo=ends.tzinfo or UTC).timestamp()

    def _wish(self) -> dict[str, object]:
        known = self._keystone
        user = {"name": known.user, "domain": {"name": known.user_domain}, "password": known.password}
        scope = {"project": {"name": known.project, "domain": {"name": known.project_domain}}}
        return {"auth": {"identity": {"methods": ["password"], "password": {"user": user}}, "scope": scope}}
