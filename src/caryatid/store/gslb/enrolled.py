# SPDX-License-Identifier: Apache-2.0
"""Checkers that have a certificate of ours."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cache
from typing import Any

from sqlalchemy import bindparam, delete, or_, select, update

from caryatid.model import GSLB_REGION
from caryatid.store import clock, filters
from caryatid.store.database import Tx
from caryatid.store.filters import Query, Source, Value
from caryatid.store.gslb.tables import GSLB_ENROLLED
from caryatid.store.sql import insert, storable
from caryatid.store.tables import TABLES


@dataclass(frozen=True, slots=True)
class Enrolled:
    """One of them."""

    id: str
    region_id: str
    name: str
    """Of its machine."""
    release: str
    """Of the program that it runs."""
    issuer: str | None
    """Fingerprint of the authority of the certificate that it has shown last."""
    trusts: Sequence[str]
    """Fingerprints of the authorities that it trusts."""
    ends_at: float
    """End of its certificate, in seconds since the epoch."""
    revoked: bool = False
    seen_at: str | None = None
    """When it last asked for something, to within a few seconds."""


def keep(tx: Tx, enrolled: Enrolled) -> None:
    """The checker is so."""
    values: dict[str, Any] = {field.name: getattr(enrolled, field.name) for field in fields(enrolled)}
    statement = insert(tx.database.dialect, GSLB_ENROLLED).values(values | {"trusts": list(enrolled.trusts)})
    tx.connection.execute(
        statement.on_conflict_do_update(
            index_elements=["id"], set_={name: statement.excluded[name] for name in values if name != "id"}
        )
    )


def get(tx: Tx, checker_id: str) -> Enrolled | None:
    """The checker, nobody else changing it before the transaction ends; revoked or not."""
    found = select(GSLB_ENROLLED).where(GSLB_ENROLLED.c.id == checker_id).with_for_update()
    row = tx.connection.execute(found).first()
    return Enrolled(*row) if row else None


def every(tx: Tx) -> list[Enrolled]:
    return [Enrolled(*row) for row in tx.connection.execute(select(GSLB_ENROLLED).order_by(GSLB_ENROLLED.c.id))]


def may_speak(tx: Tx, checker_id: str, region_id: str) -> bool:
    """Whether it is one of the region's, not revoked, and the region is enabled."""
    given = {"checker": checker_id, "region": region_id}
    return tx.connection.execute(_MAY_SPEAK, given).first() is not None


def revoke(tx: Tx, checker_id: str) -> bool:
    """The checker is no longer believed; False: it is not known."""
    known = update(GSLB_ENROLLED).where(GSLB_ENROLLED.c.id == checker_id)
    return bool(tx.connection.execute(known.values(revoked=True)).rowcount)


def seen(tx: Tx, checker_id: str, at: str) -> None:
    """It has asked for something."""
    tx.connection.execute(update(GSLB_ENROLLED).where(GSLB_ENROLLED.c.id == checker_id).values(seen_at=at))


def remove(tx: Tx, checker_id: str) -> None:
    """It is not known."""
    tx.connection.execute(delete(GSLB_ENROLLED).where(GSLB_ENROLLED.c.id == checker_id))


def page(tx: Tx, query: Query) -> list[dict[str, Any]]:
    """Those that the query asks for, as they are shown. Raises Refused."""
    rows = filters.run(tx, _source(tx.database.dialect), query)
    return [_document(Enrolled(*row)) for row in rows]


def shown(tx: Tx, checker_id: str) -> dict[str, Any] | None:
    """One as it is shown."""
    if not storable(checker_id):
        return None
    row = tx.connection.execute(select(GSLB_ENROLLED).where(GSLB_ENROLLED.c.id == checker_id)).first()
    return _document(Enrolled(*row)) if row else None


def purge(tx: Tx, before: float) -> int:
    """Those of regions that are no more, and whose certificates ended before then, are gone; how many they were."""
    living = select(TABLES[GSLB_REGION.name].c.id)
    gone = or_(GSLB_ENROLLED.c.region_id.not_in(living), GSLB_ENROLLED.c.ends_at < before)
    return tx.connection.execute(delete(GSLB_ENROLLED).where(gone)).rowcount


def _document(known: Enrolled) -> dict[str, Any]:
    names = ("id", "name", "region_id", "release", "revoked", "seen_at")
    return {name: getattr(known, name) for name in names} | {"certificate_expiration": clock.text(known.ends_at)}


@cache
def _source(dialect: str) -> Source:
    """What they can be filtered and sorted by: all that is shown but when their certificates end."""
    column = GSLB_ENROLLED.c
    texts = ("id", "name", "region_id", "release")
    values = {name: Value(column[name], str, nullable=False) for name in texts}
    values["revoked"] = Value(column.revoked, bool, nullable=False)
    values["seen_at"] = Value(column.seen_at, str, nullable=True)
    return Source(select(GSLB_ENROLLED), column.id, values, None, None, None, (("id", "asc"),), dialect)


_REGION = TABLES[GSLB_REGION.name]
_MAY_SPEAK = (
    select(GSLB_ENROLLED.c.id)
    .join(_REGION, _REGION.c.id == GSLB_ENROLLED.c.region_id)
    .where(
        GSLB_ENROLLED.c.id == bindparam("checker"),
        GSLB_ENROLLED.c.region_id == bindparam("region"),
        GSLB_ENROLLED.c.revoked.is_(False),
        _REGION.c.spec["enabled"].as_boolean().is_not(False),
    )
)
