# SPDX-License-Identifier: Apache-2.0
"""What secrets are, encrypted by whoever writes it; their documents are rows of their kind."""

from sqlalchemy import bindparam, delete, select

from .database import Tx
from .sql import insert
from .tables import PAYLOAD


def write(tx: Tx, secret_id: str, sealed: bytes) -> None:
    """The secret is this, whatever it was."""
    statement = insert(tx.database.dialect, PAYLOAD).values(secret_id=secret_id, sealed=sealed)
    tx.connection.execute(statement.on_conflict_do_update(index_elements=["secret_id"], set_={"sealed": sealed}))


def read(tx: Tx, secret_id: str) -> bytes | None:
    """What was written; None: nothing was."""
    return tx.connection.execute(_READ, {"secret": secret_id}).scalar_one_or_none()


def remove(tx: Tx, secret_id: str) -> None:
    tx.connection.execute(_REMOVE, {"secret": secret_id})


_MINE = PAYLOAD.c.secret_id == bindparam("secret")
_READ = select(PAYLOAD.c.sealed).where(_MINE)
_REMOVE = delete(PAYLOAD).where(_MINE)
