# SPDX-License-Identifier: Apache-2.0
"""Secrets and containers that a Barbican keeps.

They are read as the service's own user, whom each secret's project must have let in, as with Octavia. Only the
configured Barbican is ever asked, whatever a reference says, and it sends us nowhere else.
"""

import json
from collections.abc import Mapping
from functools import partial
from typing import Any, Self

import httpx2

from caryatid.drivers.asking import Answer, Asking, NotAnsweredError
from caryatid.drivers.keystone import Tokens
from caryatid.drivers.setup import KeyManager, Setup
from caryatid.errors import CaryatidError
from caryatid.model.bundle import Material
from caryatid.model.secret import Kept, kept

from .base import SecretsError, UnreadableError
from .container import read

JSON = "application/json"
FORBIDDEN = frozenset({401, 403})


class BarbicanDriver:
    """Threads may share it."""

    def __init__(self, manager: KeyManager) -> None:
        self._base = _version_1(manager.url)
        self._names = tuple(f"{_version_1(name)}/" for name in manager.names or (manager.url,))
        self._asking = Asking.of(manager.authorities, manager.timeout_s)
        self._tokens = Tokens(manager.keystone, self._asking) if manager.keystone else None
        self._user = manager.keystone.user if manager.keystone else "USER"

    @classmethod
    def connect(cls, setup: Setup) -> Self:
        """Raises CaryatidError if the settings name no Barbican."""
        if setup.key_manager is None:
            raise CaryatidError("The secrets driver barbican needs the setting barbican_url.")
        return cls(setup.key_manager)

    def read(self, reference: str, project_id: str) -> Material:
        named = self._named(reference)
        try:
            return read(
                named,
                lambda key: self._secret(key, project_id),
                lambda key: self._container(reference, key, project_id),
            )
        except NotAnsweredError as error:
            raise SecretsError(str(error)) from error

    def _named(self, reference: str) -> Kept:
        """What the reference names. Raises UnreadableError for those of others."""
        named = kept(reference)
        if named is None or not reference.startswith(self._names):
            raise UnreadableError(f"It is no reference of a secret or container at {' or '.join(self._names)}.")
        return named

    def _secret(self, key: str, project_id: str) -> bytes:
        """What the secret is: it must be asked for as what it is."""
        path = f"secrets/{key}"
        types = self._document(path, project_id).get("content_types")
        content_type = types.get("default") if isinstance(types, Mapping) else None
        if not isinstance(content_type, str):
            raise UnreadableError(f"Secret {key} has no payload yet.")
        return self._get(path, project_id, content_type, "/payload")

    def _container(self, reference: str, key: str, project_id: str) -> Mapping[str, str]:
        refs = self._document(f"containers/{key}", project_id).get("secret_refs")
        try:
            return {str(each["name"]): self._named(each["secret_ref"]).id for each in refs or ()}
        except (TypeError, KeyError) as error:
            raise UnreadableError(f"{reference} is no container that can be read.") from error

    def _document(self, path: str, project_id: str) -> Mapping[str, Any]:
        try:
            document = json.loads(self._get(path, project_id, JSON))
        except ValueError as error:
            raise SecretsError("The key store answers, but not as Barbican does.") from error
        if not isinstance(document, dict):
            raise SecretsError("The key store answers, but not as Barbican does.")
        return document

    def _get(self, path: str, project_id: str, accept: str, of_it: str = "") -> bytes:
        """What Barbican has under the path."""
        url = f"{self._base}/{path}"
        answer = self._ask(url + of_it, project_id, accept)
        if answer.status in FORBIDDEN:
            remedy = f"openstack acl user add --user {self._user} --operation-type read {url}"
            raise UnreadableError(f"Barbican does not let the service read {path}. Who owns it can: {remedy}")
        if answer.status == httpx2.codes.NOT_FOUND:
            raise UnreadableError(f"Barbican has no {path}, or it has expired.")
        if answer.status != httpx2.codes.OK:
            kind = SecretsError if _passes(answer.status) else UnreadableError
            raise kind(f"Barbican answers {answer.status} for {path}.")
        return answer.content

    def _ask(self, url: str, project_id: str, accept: str) -> Answer:
        def ask(name: str, value: str) -> Answer:
            return self._asking.ask("GET", url, headers={"Accept": accept, name: value})

        return self._tokens.asked(partial(ask, "X-Auth-Token")) if self._tokens else ask("X-Project-Id", project_id)


def _version_1(url: str) -> str:
    return f"{url.rstrip('/').removesuffix('/v1')}/v1"


def _passes(status: int) -> bool:
    """Trying again may help."""
    return status >= httpx2.codes.INTERNAL_SERVER_ERROR or status in (
        httpx2.codes.REQUEST_TIMEOUT,
        httpx2.codes.TOO_MANY_REQUESTS,
    )
