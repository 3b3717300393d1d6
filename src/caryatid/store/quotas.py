# SPDX-License-Identifier: Apache-2.0
"""Quotas: what a project may have, compared with what is counted while nobody else of the project counts."""

import hashlib
from collections.abc import Mapping

from sqlalchemy import BigInteger, bindparam, func, literal, select

from caryatid.errors import Forbidden
from caryatid.model import BY_NAME, QUOTA
from caryatid.model.quota import UNLIMITED

from .database import POSTGRESQL, Tx
from .rows import count
from .tables import TABLES

_QUOTA = TABLES[QUOTA.name].c
_LIMITS = select(_QUOTA.spec).where(_QUOTA.project_id == bindparam("project"))


def take(tx: Tx, project_id: str, wanted: Mapping[str, int], defaults: Mapping[str, int]) -> None:
    """There is room for so many more of each kind; raises Forbidden, naming every kind for which there is not.

    Until this transaction ends nobody else takes from the project's limited kinds.
    """
    more = {name: number for name, number in wanted.items() if number > 0}
    found = limits(tx, project_id, defaults)
    limited = {name: found[name] for name in more if found.get(name, UNLIMITED) != UNLIMITED}
    if not limited:
        return
    _lock(tx, project_id)
    over = [name for name, limit in limited.items() if _used(tx, project_id, name) + more[name] > limit]
    if over:
        titles = ", ".join(BY_NAME[name].title for name in over)
        raise Forbidden(f"Quota has been met for resources: {titles}")


def limits(tx: Tx, project_id: str, defaults: Mapping[str, int]) -> dict[str, int]:
    """How many of each kind the project may have: its own limits, else the operator's; -1 is any number."""
    spec = tx.connection.execute(_LIMITS, {"project": project_id}).scalar() or {}
    own = {name: limit for name, limit in spec.items() if limit is not None and name in BY_NAME}
    return {**defaults, **own}


def used(tx: Tx, project_id: str) -> dict[str, int]:
    """How many of each counted kind the project has; rows being deleted are not counted."""
    return {name: _used(tx, project_id, name) for name, kind in BY_NAME.items() if kind.counted}


def _used(tx: Tx, project_id: str, name: str) -> int:
    return count(tx, BY_NAME[name], project_id=project_id)


def _lock(tx: Tx, project_id: str) -> None:
    """SQLite has one writer at a time as it is."""
    if tx.database.dialect == POSTGRESQL:
        digest = hashlib.blake2b(project_id.encode(), digest_size=8, person=b"caryatid quota").digest()
        key = literal(int.from_bytes(digest, signed=True), BigInteger)
        tx.connection.execute(select(func.pg_advisory_xact_lock(key)))
