# SPDX-License-Identifier: Apache-2.0
"""What was given for requests that may come again under the same key: kept with the wish itself, or not at all."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, delete, select
from sqlalchemy.exc import IntegrityError

from caryatid.errors import Conflict
from caryatid.model.policy import Caller

from .database import Tx
from .sql import storable
from .tables import IDEMPOTENCY


class Repeated(Conflict):
    """The same key has been used meanwhile; nothing of this transaction is to stay."""


@dataclass(frozen=True)
class Given:
    """What was given for the first request under a key."""

    fingerprint: str
    """Of what was asked for."""
    job_id: str
    document: dict[str, Any] | None


def find(tx: Tx, caller: Caller) -> Given | None:
    """What was given to the caller under the key of this request; None: nothing yet."""
    this = _key(caller)
    if not all(storable(part) for part in this.values()):
        return None
    row = tx.connection.execute(_FIND, this).first()
    return Given(*row) if row else None


def keep(tx: Tx, caller: Caller, job_id: str, document: Mapping[str, Any] | None, at: str) -> None:
    """It is given again under the key of this request. Raises Repeated if somebody else was quicker."""
    if caller.once is None:
        return
    row = {**_key(caller), "fingerprint": caller.once.fingerprint, "created_at": at}
    try:
        tx.connection.execute(_KEEP, {**row, "job_id": job_id, "document": document})
    except IntegrityError:
        raise Repeated(f"The Idempotency-Key {caller.once.key} is in use by another request.") from None


def purge(tx: Tx, before: str) -> int:
    """Keys of before `before` are forgotten; how many they were."""
    return tx.connection.execute(delete(IDEMPOTENCY).where(IDEMPOTENCY.c.created_at < before)).rowcount


def _key(caller: Caller) -> dict[str, str]:
    key = caller.once.key if caller.once else ""
    return {"user_id": caller.user_id, "project_id": caller.project_id or "", "key": key}


_KEEP = IDEMPOTENCY.insert()
_FIND = select(IDEMPOTENCY.c.fingerprint, IDEMPOTENCY.c.job_id, IDEMPOTENCY.c.document).where(
    IDEMPOTENCY.c.user_id == bindparam("user_id"),
    IDEMPOTENCY.c.project_id == bindparam("project_id"),
    IDEMPOTENCY.c.key == bindparam("key"),
)
