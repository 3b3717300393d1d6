# SPDX-License-Identifier: Apache-2.0
"""The passwords of RAPI users; sealed by whoever writes them."""

from sqlalchemy import delete, select

from caryatid.store.database import Tx
from caryatid.store.ganeti.tables import CLUSTER_CREDENTIAL
from caryatid.store.sql import insert


def write(tx: Tx, cluster_id: str, sealed: bytes) -> None:
    """The cluster's is this from now on."""
    new = insert(tx.database.dialect, CLUSTER_CREDENTIAL).values(cluster_id=cluster_id, sealed=sealed)
    tx.connection.execute(
        new.on_conflict_do_update(index_elements=[CLUSTER_CREDENTIAL.c.cluster_id], set_={"sealed": sealed})
    )


def read(tx: Tx, cluster_id: str) -> bytes | None:
    """None: there is none."""
    return tx.connection.execute(
        select(CLUSTER_CREDENTIAL.c.sealed).where(CLUSTER_CREDENTIAL.c.cluster_id == cluster_id)
    ).scalar()


def drop(tx: Tx, cluster_id: str) -> None:
    tx.connection.execute(delete(CLUSTER_CREDENTIAL).where(CLUSTER_CREDENTIAL.c.cluster_id == cluster_id))
