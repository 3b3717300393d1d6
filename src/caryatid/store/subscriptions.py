# SPDX-License-Identifier: Apache-2.0
"""How far each subscription is in the log of events, and what its receiver has not accepted yet."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, cast

from sqlalchemy import delete, select, tuple_, update

from caryatid.model import DELIVERY, SUBSCRIPTION
from caryatid.model.consequences import replace
from caryatid.model.event import BEGINNING, Cursor, cursor_of
from caryatid.model.event import cursor as cursor_from
from caryatid.model.subscription import Delivery, Subscription

from . import events, rows, wake
from .database import Tx
from .filters import Query
from .tables import EVENT, TABLES
from .tables import SUBSCRIPTION_STATE as STATE

CHANNEL = "webhooks"
"""Rung when somebody other than who delivers has changed something here."""
REVIVED_AT_ONCE = 1000


@dataclass(frozen=True)
class Sealed:
    """The secrets of a subscription, encrypted."""

    secret: bytes = field(repr=False)
    old_secret: bytes | None = field(repr=False)
    old_secret_until: str | None


def begin(tx: Tx, subscription_id: str, cursor: Cursor, secret: bytes) -> None:
    """What happens after the cursor will be delivered. `secret`: encrypted."""
    values = {"subscription_id": subscription_id, "cursor": cursor.text, "version": 0, "secret": secret, "failures": 0}
    tx.connection.execute(STATE.insert(), values)
    wake.notify(tx, CHANNEL)


def tell(tx: Tx) -> None:
    """Whoever delivers looks at the subscriptions again."""
    wake.notify(tx, CHANNEL)


def end(tx: Tx, subscription_id: str) -> None:
    """Nothing is left of it but its row."""
    tx.connection.execute(delete(_DELIVERY).where(_DELIVERY.c.subscription_id == subscription_id))
    tx.connection.execute(delete(STATE).where(STATE.c.subscription_id == subscription_id))
    wake.notify(tx, CHANNEL)


def enabled(tx: Tx) -> dict[str, tuple[str, int]]:
    """Those to which events are to be sent, by id; and what differs when something about one has changed."""
    mine = select(_SUBSCRIPTION.c.id, _SUBSCRIPTION.c.updated_at, STATE.c.version, _SUBSCRIPTION.c.spec)
    found = tx.connection.execute(mine.join(STATE, STATE.c.subscription_id == _SUBSCRIPTION.c.id))
    return {row.id: (row.updated_at, row.version) for row in found if row.spec["enabled"]}


def get(tx: Tx, subscription_id: str) -> Subscription | None:
    document = rows.get(tx, SUBSCRIPTION, subscription_id)
    return cast(Subscription, SUBSCRIPTION.load(document)) if document else None


def sealed(tx: Tx, subscription_id: str) -> Sealed | None:
    """None: the subscription is no more."""
    columns = (STATE.c.secret, STATE.c.old_secret, STATE.c.old_secret_until)
    row = tx.connection.execute(select(*columns).where(STATE.c.subscription_id == subscription_id)).first()
    return Sealed(*row) if row else None


def reseal(tx: Tx, subscription_id: str, secrets: Sealed) -> None:
    """These are its secrets from now on."""
    _set(tx, subscription_id, **vars(secrets))


def place(tx: Tx, text: str) -> Cursor:
    """Where in the log as it is now a subscription goes on whose cursor is `text`: if its event was removed by age,
    with the oldest that is kept."""
    return events.known(tx, cursor_from(text)) or BEGINNING


def before(tx: Tx, moment: str) -> Cursor:
    """The place in the log before everything that was written at the moment or later."""
    order = (EVENT.c.xid, EVENT.c.seq)
    first = select(EVENT).where(EVENT.c.at >= moment).order_by(*order).limit(1)
    found = tx.connection.execute(first).mappings().first()
    if found is None:
        return events.last(tx)
    earlier = select(EVENT).where(tuple_(*order) < tuple_(found["xid"], found["seq"]))
    last = tx.connection.execute(earlier.order_by(*(one.desc() for one in order)).limit(1)).mappings().first()
    return cursor_of(dict(last)) if last else BEGINNING


def move(tx: Tx, subscription_id: str, there: str, to: str, **seen: Any) -> bool:
    """Its cursor is `to`, if it was `there`, and it is as was seen; else nothing is changed."""
    mine = STATE.c.subscription_id == subscription_id, STATE.c.cursor == there
    return tx.connection.execute(update(STATE).where(*mine).values(cursor=to, **seen)).rowcount == 1


def put(tx: Tx, subscription_id: str, cursor: Cursor) -> None:
    """It goes on from the cursor, wherever it was."""
    _set(tx, subscription_id, cursor=cursor.text)


def keep(tx: Tx, delivery: Delivery) -> None:
    """The delivery is as given; there is one for each event at most."""
    known = rows.find(tx, DELIVERY, subscription_id=delivery.subscription_id, event_id=delivery.event_id)
    if known:
        delivery = replace(delivery, id=known[0]["id"])
        rows.change(tx, DELIVERY, delivery, at=delivery.updated_at or delivery.created_at)
    else:
        rows.insert(tx, DELIVERY, [delivery])


def drop(tx: Tx, delivery_id: str) -> None:
    """It was delivered."""
    rows.delete(tx, DELIVERY, [delivery_id])


def due(tx: Tx, subscription_id: str) -> Delivery | None:
    """What is to be tried again first."""
    mine = (_DELIVERY.c.subscription_id == subscription_id, _DELIVERY.c.next_at.is_not(None))
    first = select(_DELIVERY.c.id).where(*mine).order_by(_DELIVERY.c.next_at, _DELIVERY.c.created_at).limit(1)
    key = tx.connection.execute(first).scalar()
    document = rows.get(tx, DELIVERY, key) if key else None
    return cast(Delivery, DELIVERY.load(document)) if document else None


def hasten(tx: Tx, subscription_id: str, at: str) -> None:
    """What waits to be tried again is due: the receiver is back."""
    mine = (_DELIVERY.c.subscription_id == subscription_id, _DELIVERY.c.next_at > at)
    tx.connection.execute(update(_DELIVERY).where(*mine).values(next_at=at))


def revive(tx: Tx, subscription_id: str, ids: Iterable[str] | None, at: str) -> int:
    """Those that are dead (of these ids; None: the oldest) are tried as if for the first time; how many they
    are, REVIVED_AT_ONCE at most."""
    dead: dict[str, Any] = {"subscription_id": subscription_id, "state": "dead"}
    sought = dead if ids is None else {**dead, "id": list(ids)}
    chosen = rows.page(tx, DELIVERY, Query(sought, sort=[("created_at", "asc")], limit=REVIVED_AT_ONCE))
    for document in chosen:
        again = {**document, "state": "pending", "since": at, "next_at": at, "attempts": 0}
        rows.change(tx, DELIVERY, DELIVERY.load(again), at=document["updated_at"])
    _set(tx, subscription_id)
    return len(chosen)


def _set(tx: Tx, subscription_id: str, **values: Any) -> None:
    """These are so, whatever who delivers has in mind."""
    mine = update(STATE).where(STATE.c.subscription_id == subscription_id)
    tx.connection.execute(mine.values(**values, version=STATE.c.version + 1))
    wake.notify(tx, CHANNEL)


def purge(tx: Tx, before: str) -> None:
    """What could not be delivered before that moment is gone, unless it is still being tried."""
    tx.connection.execute(delete(_DELIVERY).where(_DELIVERY.c.created_at < before, _DELIVERY.c.state == "dead"))


_DELIVERY = TABLES[DELIVERY.name]
_SUBSCRIPTION = TABLES[SUBSCRIPTION.name]
