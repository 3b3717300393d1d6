# SPDX-License-Identifier: Apache-2.0
"""What secrets are, encrypted by whoever writes it; their documents are rows of their kind."""

from sqlalchemy import Text, bindparam, cast, delete, select

from caryatid.model import CONTAINER

from .database import Tx
from .sql import insert
from .tables import PAYLOAD, TABLES


def write(tx: Tx, secret_id: str, sealed: bytes) -> None:
    """The secret is this, whatever it was."""
    statement = insert(tx.database.dialect, PAYLOAD).values(secret_id=secret_id, sealed=sealed)
    tx.connection.execute(statement.on_conflict_do_update(index_elements=["secret_id"], set_={"sealed": sealed}))


def read(tx: Tx, secret_id: str) -> bytes | None:
    """What was written; None: nothing was."""
    return tx.connection.execute(_READ, {"secret": secret_id}).scalar_one_or_none()


def remove(tx: Tx, secret_id: str) -> None:
    tx.connection.execute(_REMOVE, {"secret": secret_id})


def containers_of(tx: Tx, secret_id: str, project_id: str) -> list[str]:
    """Ids of the project's containers that name the secret."""
    found = tx.connection.execute(_NAMING, {"project": project_id, "secret": f"%/secrets/{secret_id}%"})
    return list(found.scalars())


_CONTAINERS = TABLES[CONTAINER.name].c
_NAMING = select(_CONTAINERS.id).where(
    _CONTAINERS.project_id == bindparam("project"), cast(_CONTAINERS.spec, Text).like(bindparam("secret"))
)
_MINE = PAYLOAD.c.secret_id == bindparam("secret")
_READ = select(PAYLOAD.c.sealed).where(_MINE)
_REMOVE = delete(PAYLOAD).where(_MINE)
