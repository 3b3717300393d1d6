# SPDX-License-Identifier: Apache-2.0
"""What references of listeners and pools stand for, load balancer by load balancer, and who names them.

The document of each is a row of its kind; what HAProxy is given lies beside it, encrypted by whoever writes it.
"""

from collections.abc import Collection, Sequence
from functools import cache
from typing import Any, NamedTuple, cast

from sqlalchemy import Select, bindparam, case, delete, func, null, or_, select, update

from caryatid.model import BY_NAME, CERTIFICATE, LISTENER, LOADBALANCER, POOL
from caryatid.model.bundle import Reference, named
from caryatid.model.certificate import Certificate

from . import rows
from .database import Tx
from .sql import among, insert, listed
from .tables import BUNDLE, TABLES

NEVER = ""
"""`checked_at` of what is to be read at once."""
NOTHING_TO_STAPLE, NOT_STAPLED = "never", "off"
"""`staple_due` of what names no responder, and of what is not asked for because stapling is off. Both come after any
moment."""
NAMING = (LISTENER, POOL)
_TABLE = TABLES[CERTIFICATE.name]


class Kept(NamedTuple):
    """A certificate in use, and what HAProxy is given for it."""

    certificate: Certificate
    sealed: bytes
    staple: bytes | None


class Use(NamedTuple):
    """A listener or pool that names references, in one of its forms."""

    kind: str
    id: str
    root_id: str
    references: tuple[Reference, ...]


def of(tx: Tx, root_id: str, references: Collection[str] | None = None) -> list[Kept]:
    """What the load balancer has for these references; None: all that it has."""
    if references is None:
        return [_kept(row) for row in tx.connection.execute(_OF, {"root": root_id})]
    dialect = tx.database.dialect
    values = {"root": root_id, "references": listed(dialect, references)}
    return [_kept(row) for row in tx.connection.execute(_for(dialect), values)]


def due(tx: Tx, before: str, limit: int) -> list[Kept]:
    """Those that were last read before that moment, the oldest first."""
    return [_kept(row) for row in tx.connection.execute(_DUE, {"before": before, "many": limit})]


def one(tx: Tx, certificate_id: str) -> Kept | None:
    row = tx.connection.execute(_ONE, {"key": certificate_id}).first()
    return _kept(row) if row else None


def unstapled(tx: Tx, at: str, limit: int) -> list[Kept]:
    """Certificates for which an OCSP response is due at that moment, or whose turn has not come yet."""
    due = or_(_staple_due.is_(None), _staple_due <= at, _staple_due == NOT_STAPLED)
    return [_kept(row) for row in tx.connection.execute(_KEYPAIRS.where(due).limit(limit))]


def stapled(tx: Tx, limit: int) -> list[Kept]:
    """Certificates for which OCSP responses are shown, or of which it is not known whether they should be."""
    due = or_(_staple_due.is_(None), _staple_due.not_in((NOTHING_TO_STAPLE, NOT_STAPLED)))
    return [_kept(row) for row in tx.connection.execute(_KEYPAIRS.where(due).limit(limit))]


def keep(tx: Tx, certificate: Certificate, sealed: bytes) -> None:
    """The load balancer has this. The caller has the root's lock, and knows whether there was such a row before."""
    if rows.existing(tx, CERTIFICATE, [certificate.id]):
        note(tx, certificate)
    else:
        rows.insert(tx, CERTIFICATE, [certificate])
    values = {"sealed": sealed, "staple": None}
    statement = insert(tx.database.dialect, BUNDLE).values(certificate_id=certificate.id, **values)
    tx.connection.execute(statement.on_conflict_do_update(index_elements=["certificate_id"], set_=values))


def note(tx: Tx, certificate: Certificate) -> None:
    """Its document is so; what HAProxy is given stays."""
    rows.change(tx, CERTIFICATE, certificate, at=certificate.updated_at or certificate.created_at)


def staple(tx: Tx, certificate: Certificate, response: bytes | None) -> None:
    """With it, `response` (of OCSP) is shown; None: nothing."""
    note(tx, certificate)
    tx.connection.execute(update(BUNDLE).where(BUNDLE.c.certificate_id == certificate.id).values(staple=response))


def remove(tx: Tx, ids: Sequence[str]) -> None:
    rows.delete(tx, CERTIFICATE, ids)
    mine = among(tx.database.dialect, BUNDLE.c.certificate_id, "ids")
    tx.connection.execute(delete(BUNDLE).where(mine), {"ids": listed(tx.database.dialect, ids)})


def remove_all(tx: Tx, root_id: str) -> None:
    """The load balancer has none any more."""
    found = tx.connection.execute(select(_TABLE.c.id).where(_TABLE.c.loadbalancer_id == root_id)).scalars().all()
    if found:
        remove(tx, found)


def look_again(tx: Tx, ids: Collection[str]) -> int:
    """References in which one of these ids stands, however it is written, are read at once; how many they are."""
    reference = func.lower(_TABLE.c.reference)
    forms = {form for one in ids for form in (one.lower(), one.lower().replace("-", ""))}
    if not forms:
        return 0
    these = or_(*(reference.contains(form, autoescape=True) for form in sorted(forms)))
    # in the order in which everybody changes several: nobody waits in a circle
    found = tx.connection.execute(select(_TABLE.c.id).where(these).order_by(_TABLE.c.id).with_for_update())
    ids = found.scalars().all()
    looked_at(tx, ids, NEVER)
    return len(ids)


def look_at(tx: Tx, root_id: str) -> None:
    """All that the load balancer has is read at once."""
    ids = tx.connection.execute(select(_TABLE.c.id).where(_TABLE.c.loadbalancer_id == root_id)).scalars().all()
    looked_at(tx, ids, NEVER)


def looked_at(tx: Tx, ids: Sequence[str], at: str) -> None:
    """They are not read again before it is time, counted from that moment."""
    these = among(tx.database.dialect, _TABLE.c.id, "ids")
    tx.connection.execute(update(_TABLE).where(these).values(checked_at=at), {"ids": listed(tx.database.dialect, ids)})


def uses(tx: Tx, root_ids: Collection[str], *, good: bool = False) -> list[Use]:
    """Who names which references in these load balancers; with `good`, in the form that was last in effect too, if
    the present one is not."""
    found: list[Use] = []
    dialect = tx.database.dialect
    for kind in NAMING:
        statement = _naming(kind.name, dialect)
        for key, root_id, spec, good_spec in tx.connection.execute(statement, {"roots": listed(dialect, root_ids)}):
            forms = [tuple(named(form)) for form in (spec, good_spec if good else None) if form]
            found += [Use(kind.name, key, root_id, references) for references in forms if references]
    return found


def ends(tx: Tx) -> list[tuple[str, str | None]]:
    """When each ends, and what is wrong with it."""
    return [(row[0] or "", row[1]) for row in tx.connection.execute(_ENDS)]


def _kept(row: Any) -> Kept:
    *values, spec, sealed, shown = row
    document = {**spec, **dict(zip(_NAMES, values, strict=True))}
    return Kept(cast(Certificate, CERTIFICATE.load(document)), sealed, shown)


_NAMES = ("id", *(attribute.name for attribute in CERTIFICATE.columns))
_SELECT = select(*(_TABLE.c[name] for name in _NAMES), _TABLE.c.spec, BUNDLE.c.sealed, BUNDLE.c.staple).select_from(
    _TABLE.join(BUNDLE, BUNDLE.c.certificate_id == _TABLE.c.id)
)
_OF = _SELECT.where(_TABLE.c.loadbalancer_id == bindparam("root"))
_DUE = _SELECT.where(_TABLE.c.checked_at < bindparam("before")).order_by(_TABLE.c.checked_at, _TABLE.c.id)
_DUE = _DUE.limit(bindparam("many"))
_ENDS = select(_TABLE.c.spec["not_after"].as_string(), _TABLE.c.spec["problem"].as_string())
_ONE = _SELECT.where(_TABLE.c.id == bindparam("key"))
_staple_due = _TABLE.c.spec["staple_due"].as_string()
_KEYPAIRS = _SELECT.where(_TABLE.c.purpose == "keypair").order_by(_TABLE.c.id)


@cache
def _for(dialect: str) -> Select[Any]:
    return _OF.where(among(dialect, _TABLE.c.reference, "references"))


@cache
def _naming(name: str, dialect: str) -> Select[Any]:
    """Those that are going are still served."""
    kind, table = BY_NAME[name], TABLES[name]
    good = case((rows.in_effect(kind, table), null()), else_=table.c.good_spec)
    root = table.c[f"{LOADBALANCER.name}_id"]
    return select(table.c.id, root, table.c.spec, good.label("good")).where(among(dialect, root, "roots"))
