# SPDX-License-Identifier: Apache-2.0
"""Secrets that are kept here: taken, replaced, deleted, and read by nobody but who serves their project's listeners."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast
from uuid import uuid4

from caryatid.drivers.secrets.base import SecretsError, UnreadableError
from caryatid.errors import Fault, NotFound, Refused, Unsupported
from caryatid.model import CONTAINER, SECRET
from caryatid.model.consequences import replace
from caryatid.model.kind import Kind
from caryatid.model.policy import Caller, require
from caryatid.model.secret import Container, Secret, decoded, kept
from caryatid.store import bundles, rows, secrets
from caryatid.store.database import Database, Tx
from caryatid.store.gslb import bundles as of_monitors

from .door import Door
from .precondition import Precondition, require_unchanged
from .receipt import Accepted, Wish, accepted, moment, project_of, rule
from .vault import NoMasterKey, Vault

READ_HERE = frozenset({"local", "noop"})
"""Secrets drivers with which it makes sense to keep secrets here."""


def create(door: Door, caller: Caller, body: Any) -> Accepted:
    """The secret exists, with its payload if there is one. Raises Refused."""
    given, at = _given(door, caller, SECRET)
    row = cast(Secret, SECRET.new(body, given))
    if row.expiration is not None and row.expiration <= at:
        raise Refused([Fault("The expiration of a secret must be in the future.", "expiration")])
    with door.database.transaction() as tx:
        rows.insert(tx, SECRET, [row])
        if row.payload is not None and row.payload_content_type is not None:
            payload = decoded(row.payload, row.payload_content_type, row.payload_content_encoding)
            _seal(tx, door, row.id, payload)
        return _accept(tx, caller, "create", SECRET, row)


@dataclass(frozen=True)
class Payload:
    """What a secret shall be, as it came."""

    content: bytes
    content_type: str
    encoding: str | None = None


def write(door: Door, caller: Caller, key: str, payload: Payload, precondition: Precondition | None = None) -> Accepted:
    """The secret is `payload` from now on; what listeners and pools have of it is read again. Raises Refused,
    PreconditionFailed."""
    with door.database.transaction() as tx:
        row = cast(Secret, _row(tx, SECRET, key, "put", caller, precondition))
        try:
            plain = decoded(payload.content, payload.content_type, payload.encoding)
        except ValueError as error:
            raise Refused([Fault(str(error), "payload")]) from None
        rows.change(tx, SECRET, replace(row, payload_content_type=payload.content_type), at=moment())
        _seal(tx, door, row.id, plain)
        named = [row.id, *secrets.containers_of(tx, row.id, row.project_id)]
        bundles.look_again(tx, named)
        of_monitors.look_again(tx, named)
        return _accept(tx, caller, "update", SECRET, row)


def create_container(door: Door, caller: Caller, body: Any) -> Accepted:
    """The container exists. Raises Refused for secrets that its project has not."""
    given, _ = _given(door, caller, CONTAINER)
    row = cast(Container, CONTAINER.new(body, given))
    with door.database.transaction() as tx:
        faults = list(_missing(tx, row))
        if faults:
            raise Refused(faults)
        rows.insert(tx, CONTAINER, [row])
        return _accept(tx, caller, "create", CONTAINER, row)


def delete(door: Door, caller: Caller, kind: Kind, key: str, precondition: Precondition | None = None) -> Accepted:
    """The secret or container is gone. What is in use of it stays in use. Raises PreconditionFailed."""
    with door.database.transaction() as tx:
        row = _row(tx, kind, key, "delete", caller, precondition)
        rows.delete(tx, kind, [row.id])
        secrets.remove(tx, row.id)
        return _accept(tx, caller, "delete", kind, row)


@dataclass(frozen=True)
class Keep:
    """Reads what is kept here, for the driver `local`."""

    database: Database
    vault: Vault

    def secret(self, key: str, project_id: str) -> bytes:
        """What the secret is. Raises UnreadableError for another project's too, as if it were not there."""
        with self.database.read() as tx:
            document = self._document(tx, SECRET, key, project_id)
            if document["expiration"] and document["expiration"] <= moment():
                raise UnreadableError(f"Secret {key} has expired at {document['expiration']} UTC.")
            sealed = secrets.read(tx, key)
            if sealed is None:
                raise UnreadableError(f"Secret {key} has no payload yet.")
            try:
                return self.vault.key(tx).unseal(_bound_to(key), sealed)
            except NoMasterKey as error:
                raise SecretsError(str(error)) from error

    def container(self, key: str, project_id: str) -> Mapping[str, str]:
        """The references of its secrets by name. Raises UnreadableError."""
        with self.database.read() as tx:
            document = self._document(tx, CONTAINER, key, project_id)
        return {each["name"]: each["secret_ref"] for each in document["secret_refs"]}

    def _document(self, tx: Tx, kind: Kind, key: str, project_id: str) -> Mapping[str, Any]:
        document = rows.get(tx, kind, key)
        if document is None or document["project_id"] != project_id:
            raise UnreadableError(f"{kind.title} {key} is not there, or not project {project_id}'s.")
        return document


def _given(door: Door, caller: Caller, kind: Kind) -> tuple[dict[str, Any], str]:
    """What the service says of a new row, and the moment. Raises Forbidden; Unsupported where nobody would read it."""
    project_id, at = project_of(caller, None), moment()
    require(caller, rule(kind, "post"), project_id)
    if door.settings.secrets_driver not in READ_HERE:
        raise Unsupported(f"Secrets are kept elsewhere: the secrets driver here is {door.settings.secrets_driver}.")
    return {"id": str(uuid4()), "project_id": project_id, "created_at": at, "updated_at": at}, at


def _row(
    tx: Tx, kind: Kind, key: str, action: str, caller: Caller, precondition: Precondition | None
) -> Secret | Container:
    """The row, which nobody else changes until this transaction ends. Raises NotFound, Forbidden,
    PreconditionFailed."""
    rows.lock(tx, kind, key)
    document = rows.get(tx, kind, key)
    if document is None:
        raise NotFound(kind.title, key)
    require(caller, rule(kind, action), document["project_id"])
    require_unchanged(kind, document, precondition)
    return cast(Secret | Container, kind.load(document))


def _seal(tx: Tx, door: Door, key: str, payload: bytes) -> None:
    secrets.write(tx, key, door.vault.ensured(tx).seal(_bound_to(key), payload))


def _missing(tx: Tx, row: Container) -> Iterator[Fault]:
    for each in row.secret_refs:
        named = kept(each.secret_ref)
        document = rows.get(tx, SECRET, named.id) if named else None
        if document is None or document["project_id"] != row.project_id:
            yield Fault(f"Secret {each.secret_ref} not found.", "secret_refs", 404)


def _accept(tx: Tx, caller: Caller, action: str, kind: Kind, row: Secret | Container) -> Accepted:
    """The receipt; what is shown is the id alone."""
    return accepted(tx, caller, Wish(action, kind.name, row.id, None, row.project_id), {"id": row.id})


def _bound_to(key: str) -> str:
    return f"secret {key}"
