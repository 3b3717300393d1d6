# SPDX-License-Identifier: Apache-2.0
"""What the references of monitors stand for, monitor by monitor; encrypted by whoever writes it."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from typing import Any

from sqlalchemy import bindparam, delete, func, or_, select, update

from caryatid.model import GSLB_MONITOR
from caryatid.model.bundle import PURPOSES, Purpose
from caryatid.model.gslb.parameters import REFERENCES
from caryatid.store.database import Tx
from caryatid.store.gslb.tables import GSLB_BUNDLE
from caryatid.store.sql import among, insert, listed
from caryatid.store.tables import TABLES

NEVER = ""
"""`checked_at` of what is to be read at once."""
PARAMETERS: Mapping[Purpose, str] = {PURPOSES[name]: name for name in REFERENCES}
"""By which parameter a monitor names what serves for this."""


@dataclass(frozen=True, slots=True)
class Held:
    """What one reference of a monitor stands for."""

    monitor_id: str
    purpose: Purpose
    project_id: str
    """In whose name it is read."""
    reference: str
    digest: str
    """SHA-256 of what is sealed."""
    subject: str
    not_before: str
    not_after: str
    problem: str | None
    """What was wrong when it was last read."""
    announced: int | None
    """How many days before its end an event said so last."""
    checked_at: str
    """When it was last read; NEVER: it is to be read at once."""
    changed_at: float
    sealed: bytes = field(repr=False)

    @property
    def key(self) -> tuple[str, Purpose]:
        """As what is read is kept by."""
        return self.reference, self.purpose


def of(tx: Tx, monitor_ids: Sequence[str]) -> dict[str, list[Held]]:
    """By monitor; those that name nothing are not in it."""
    found: dict[str, list[Held]] = {}
    if monitor_ids:
        dialect = tx.database.dialect
        for row in tx.connection.execute(_of(dialect, "monitor_id"), {"ids": listed(dialect, monitor_ids)}):
            found.setdefault(row.monitor_id, []).append(_held(row))
    return found


def digests(tx: Tx, monitor_ids: Sequence[str]) -> dict[str, dict[str, str]]:
    """By monitor: parameter → digest of what it stands for."""
    return {key: {PARAMETERS[one.purpose]: one.digest for one in some} for key, some in of(tx, monitor_ids).items()}


def some(tx: Tx, wanted: Collection[str]) -> list[Held]:
    """Those with these digests; of monitors that name the same, one each."""
    if not wanted:
        return []
    dialect = tx.database.dialect
    return [_held(row) for row in tx.connection.execute(_of(dialect, "digest"), {"ids": listed(dialect, wanted)})]


def due(tx: Tx, before: str, limit: int) -> list[Held]:
    """Those that were last read before that moment, the oldest first."""
    return [_held(row) for row in tx.connection.execute(_DUE, {"before": before, "many": limit})]


def locked(tx: Tx, monitor_id: str, purpose: Purpose) -> Held | None:
    """The same, nobody else changing it before the transaction ends."""
    row = tx.connection.execute(_ONE, {"monitor": monitor_id, "purpose": purpose}).first()
    return _held(row) if row else None


def keep(tx: Tx, held: Held) -> None:
    """The reference stands for this."""
    new = insert(tx.database.dialect, GSLB_BUNDLE)
    values = {name: new.excluded[name] for name in _NAMES if name not in ("monitor_id", "purpose")}
    tx.connection.execute(
        new.on_conflict_do_update(index_elements=["monitor_id", "purpose"], set_=values), [asdict(held)]
    )


def drop(tx: Tx, monitor_id: str, purposes: Collection[Purpose]) -> None:
    """The monitor names nothing any more that serves for these."""
    if purposes:
        own = GSLB_BUNDLE.c.monitor_id == monitor_id, GSLB_BUNDLE.c.purpose.in_(sorted(purposes))
        tx.connection.execute(delete(GSLB_BUNDLE).where(*own))


def look_again(tx: Tx, ids: Collection[str]) -> int:
    """References in which one of these ids stands, however it is written, are read at once; how many they are."""
    reference = func.lower(GSLB_BUNDLE.c.reference)
    forms = {form for one in ids for form in (one.lower(), one.lower().replace("-", ""))}
    if not forms:
        return 0
    these = or_(*(reference.contains(form, autoescape=True) for form in sorted(forms)))
    return tx.connection.execute(update(GSLB_BUNDLE).where(these).values(checked_at=NEVER)).rowcount


def looked_at(tx: Tx, monitor_id: str, at: str) -> None:
    """What the monitor names is not read again before it is time, counted from that moment."""
    own = GSLB_BUNDLE.c.monitor_id == monitor_id
    tx.connection.execute(update(GSLB_BUNDLE).where(own).values(checked_at=at))


def ends(tx: Tx) -> list[tuple[str, str | None]]:
    """When each ends, and what is wrong with it."""
    return [(row[0], row[1]) for row in tx.connection.execute(_ENDS)]


def purge(tx: Tx) -> int:
    """Those of monitors that are no more are gone; how many they were."""
    living = select(TABLES[GSLB_MONITOR.name].c.id)
    return tx.connection.execute(delete(GSLB_BUNDLE).where(GSLB_BUNDLE.c.monitor_id.not_in(living))).rowcount


def _held(row: Any) -> Held:
    return Held(*row)


_NAMES = tuple(column.name for column in GSLB_BUNDLE.c)
_ALL = select(GSLB_BUNDLE).order_by(GSLB_BUNDLE.c.monitor_id, GSLB_BUNDLE.c.purpose)
_DUE = (
    select(GSLB_BUNDLE)
    .where(GSLB_BUNDLE.c.checked_at < bindparam("before"))
    .order_by(GSLB_BUNDLE.c.checked_at, GSLB_BUNDLE.c.monitor_id)
    .limit(bindparam("many"))
)
_ONE = (
    select(GSLB_BUNDLE)
    .where(GSLB_BUNDLE.c.monitor_id == bindparam("monitor"), GSLB_BUNDLE.c.purpose == bindparam("purpose"))
    .with_for_update()
)
_ENDS = select(GSLB_BUNDLE.c.not_after, GSLB_BUNDLE.c.problem)
FINGERPRINT = select(func.count(), func.max(GSLB_BUNDLE.c.changed_at)).select_from(GSLB_BUNDLE)
"""Another one: what some reference stands for is another."""


@cache
def _of(dialect: str, column: str) -> Any:
    return _ALL.where(among(dialect, GSLB_BUNDLE.c[column], "ids"))
