# SPDX-License-Identifier: Apache-2.0
"""Subscriptions, as their owners wish them: made, changed, given new secrets, told to send again what was not taken."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, cast
from uuid import uuid4

from caryatid.drivers.outbound import Unreachable, literal, may_be_asked, parsed
from caryatid.errors import Fault, Forbidden, NotFound, Refused
from caryatid.model import LOADBALANCER, SUBSCRIPTION
from caryatid.model.event import Cursor, called, changed, system
from caryatid.model.event import cursor as cursor_from
from caryatid.model.eventtypes import TYPES
from caryatid.model.policy import Caller, require
from caryatid.model.subscription import SECRET_BYTES, Subscription, secret_bytes, secret_fault, secret_text
from caryatid.plan import webhooks as plan
from caryatid.plan.webhooks import Message
from caryatid.store import events, rows, subscriptions
from caryatid.store.database import Tx
from caryatid.store.subscriptions import Sealed

from .door import Door
from .precondition import Precondition, require_unchanged
from .receipt import Accepted, Wish, accepted, moment, project_of, rule

SEES_ALL = "caryatid_api:event:get_all-global"
"""Policy rule of whoever may see the events of all projects, and so have them sent."""
OVERLAP_S = 86_400
OVERLAP_MAX_S = 30 * 86_400
SENDER = system("webhooks")


@dataclass(frozen=True)
class Replayed:
    """What a replay has begun."""

    deliveries: int
    """How many of those that were dead are tried again."""
    cursor: str
    """From where in the log it goes on."""


def create(door: Door, caller: Caller, body: Any) -> Accepted:
    """Events that happen from now on are sent. The secret is shown here, and nowhere else. Raises Refused; Forbidden
    where the project has too many already."""
    project_id, at = project_of(caller, body), moment()
    require(caller, rule(SUBSCRIPTION, "post"), project_id)
    given = {"id": str(uuid4()), "project_id": project_id, "created_at": at, "updated_at": at}
    row = cast(Subscription, SUBSCRIPTION.new(body, given))
    secret = row.secret or secret_text(os.urandom(SECRET_BYTES))
    with door.database.transaction() as tx:
        _require_right(tx, door, caller, row)
        if rows.count(tx, SUBSCRIPTION, project_id=project_id) >= door.settings.subscriptions_max:
            raise Forbidden(f"A project has at most {door.settings.subscriptions_max} subscriptions.")
        rows.insert(tx, SUBSCRIPTION, [row])
        subscriptions.begin(tx, row.id, events.last(tx), _sealed(tx, door, row.id, secret))
        document = _document(tx, row.id)
        receipt = _accept(tx, caller, "create", document, called(document))
    return Accepted({**document, "signing_secret": secret}, receipt.job_id)


def change(door: Door, caller: Caller, key: str, body: Any, precondition: Precondition | None = None) -> Accepted:
    """It is as `body` says; what it does not name stays. Raises Refused, PreconditionFailed."""
    with door.database.transaction() as tx:
        before = _held(tx, caller, key, "put")
        require_unchanged(SUBSCRIPTION, before, precondition)
        row = cast(Subscription, SUBSCRIPTION.change(before, body))
        _require_right(tx, door, caller, row)
        rows.change(tx, SUBSCRIPTION, row, at=moment())
        subscriptions.tell(tx)
        document = _document(tx, key)
        return _accept(tx, caller, "update", document, changed(SUBSCRIPTION, before, document))


def delete(door: Door, caller: Caller, key: str, precondition: Precondition | None = None) -> Accepted:
    """Nothing is sent any more, and what could not be delivered is forgotten. Raises PreconditionFailed."""
    with door.database.transaction() as tx:
        document = _held(tx, caller, key, "delete")
        require_unchanged(SUBSCRIPTION, document, precondition)
        rows.delete(tx, SUBSCRIPTION, [key])
        subscriptions.end(tx, key)
        return _accept(tx, caller, "delete", document, called(document), shown=False)


def new_secret(door: Door, caller: Caller, key: str, body: Any) -> Accepted:
    """It has another secret, which is shown here. What is sent is signed with the old one, too, for `overlap_s`."""
    wanted = _body(body, {"secret": str, "overlap_s": int})
    overlap_s = wanted.get("overlap_s", OVERLAP_S)
    faults = [*secret_fault(wanted["secret"])] if "secret" in wanted else []
    if not 0 <= overlap_s <= OVERLAP_MAX_S:
        faults.append(Fault(f"overlap_s should be from 0 to {OVERLAP_MAX_S}.", "overlap_s"))
    if faults:
        raise Refused(faults)
    secret = wanted.get("secret") or secret_text(os.urandom(SECRET_BYTES))
    with door.database.transaction() as tx:
        _held(tx, caller, key, "post_secret")
        kept = subscriptions.sealed(tx, key)
        until = (datetime.now(UTC) + timedelta(seconds=overlap_s)).replace(tzinfo=None)
        old = kept.secret if kept and overlap_s else None
        sealed = Sealed(_sealed(tx, door, key, secret), old, until.isoformat(timespec="microseconds") if old else None)
        subscriptions.reseal(tx, key, sealed)
        document = _document(tx, key)
        receipt = _accept(tx, caller, "secret", document, called(document))
    return Accepted({**document, "signing_secret": secret}, receipt.job_id)


def replay(door: Door, caller: Caller, key: str, body: Any) -> Replayed:
    """Sent again: everything since a moment or after a place in the log; or what is dead, or some of it."""
    wanted = _body(body, {"since": str, "after": str, "deliveries": list})
    ids = wanted.get("deliveries")
    if len(wanted) > 1:
        raise Refused([Fault("One of since, after and deliveries can be given.")])
    if ids is not None and not all(isinstance(one, str) for one in ids):
        raise Refused([Fault("deliveries should be a list of ids.", "deliveries")])
    with door.database.transaction() as tx:
        _held(tx, caller, key, "post_replay")
        revived = 0
        if "since" in wanted:
            subscriptions.put(tx, key, subscriptions.before(tx, _moment(wanted["since"])))
        elif "after" in wanted:
            subscriptions.put(tx, key, _place(tx, wanted["after"]))
        else:
            revived = subscriptions.revive(tx, key, ids, moment())
        document = _document(tx, key)
        _accept(tx, caller, "replay", document, called(document))
        return Replayed(revived, document["cursor"])


@dataclass(frozen=True)
class Trial:
    """What is sent to see whether a receiver works."""

    url: str = field(repr=False)
    message: Message
    keys: tuple[bytes, ...] = field(repr=False)


def trial(door: Door, caller: Caller, key: str) -> Trial:
    """The test of a subscription."""
    with door.database.read() as tx:
        document = _allowed(tx, caller, key, "post_test")
        keys = keys_of(tx, door, key)
    return Trial(document["callback_url"], plan.test_message(str(uuid4()), moment(), key), keys)


def keys_of(tx: Tx, door: Door, key: str) -> tuple[bytes, ...]:
    """What deliveries are signed with now: the secret, and the one before it for a while. None: it is no more."""
    kept = subscriptions.sealed(tx, key)
    if kept is None:
        return ()
    both = [kept.secret]
    if kept.old_secret is not None and (kept.old_secret_until or "") > moment():
        both.append(kept.old_secret)
    master = door.vault.key(tx)
    return tuple(secret_bytes(master.unseal(_bound_to(key), one).decode()) for one in both)


def disable(tx: Tx, key: str, reason: str) -> None:
    """Nothing is sent until somebody enables it again: its receiver has said that it is gone."""
    before = _document(tx, key)
    row = cast(Subscription, SUBSCRIPTION.change(before, {"enabled": False}))
    rows.change(tx, SUBSCRIPTION, row, at=moment())
    subscriptions.tell(tx)
    detail = {**changed(SUBSCRIPTION, before, vars(row)), "reason": reason}
    theirs = before["project_id"]
    events.append(tx, "update", SUBSCRIPTION.name, key, by=SENDER, project_id=theirs, root_id=None, detail=detail)


def _require_right(tx: Tx, door: Door, caller: Caller, row: Subscription) -> None:
    """Raises Refused for what only we can know to be wrong; Forbidden for events that are not the caller's to see."""
    if row.all_projects:
        require(caller, SEES_ALL, None)
    faults = [*_type_faults(row), *_target_faults(door, row), *_loadbalancer_faults(tx, row)]
    if faults:
        raise Refused(faults)


def _type_faults(row: Subscription) -> Iterator[Fault]:
    kinds = {name.partition(".")[0] for name in TYPES}
    for name in row.event_types:
        kind, _, action = name.partition(".")
        if name not in TYPES and not (action == "*" and kind in kinds):
            yield Fault(f"{name} is no type of event, nor all of a kind (`member.*`).", "event_types")


def _target_faults(door: Door, row: Subscription) -> Iterator[Fault]:
    """A name is looked up when something is sent, and what it then stands for is looked at."""
    try:
        address = literal(parsed(row.callback_url).host)
    except Unreachable as error:
        yield Fault(f"Invalid input for field/attribute callback_url. {error}", "callback_url")
        return
    if address is not None and not may_be_asked(address, door.settings.webhook_networks):
        why = f"{address} is not public, and the operator does not allow it (`webhook_private_targets`)."
        yield Fault(f"Invalid input for field/attribute callback_url. {why}", "callback_url")


def _loadbalancer_faults(tx: Tx, row: Subscription) -> Iterator[Fault]:
    if row.loadbalancer_id is None:
        return
    place = rows.place(tx, LOADBALANCER, row.loadbalancer_id)
    if place is None or not (row.all_projects or place.project_id == row.project_id):
        yield Fault(f"{LOADBALANCER.title} {row.loadbalancer_id} not found.", "loadbalancer_id")


def _document(tx: Tx, key: str) -> dict[str, Any]:
    document = rows.get(tx, SUBSCRIPTION, key)
    if document is None:
        raise NotFound(SUBSCRIPTION.title, key)
    return document


def _allowed(tx: Tx, caller: Caller, key: str, action: str) -> dict[str, Any]:
    document = _document(tx, key)
    require(caller, rule(SUBSCRIPTION, action), document["project_id"])
    if document["all_projects"]:  # who could change where it goes would see all
        require(caller, SEES_ALL, None)
    return document


def _held(tx: Tx, caller: Caller, key: str, action: str) -> dict[str, Any]:
    """The document, which nobody else changes until this transaction ends. Raises NotFound, Forbidden."""
    rows.lock(tx, SUBSCRIPTION, key)
    return _allowed(tx, caller, key, action)


def _sealed(tx: Tx, door: Door, key: str, secret: str) -> bytes:
    return door.vault.ensured(tx).seal(_bound_to(key), secret.encode())


def _bound_to(key: str) -> str:
    return f"subscription {key}"


def _body(body: Any, known: Mapping[str, type]) -> dict[str, Any]:
    """What the body of an act says; nulls are as if they were not there. Raises Refused."""
    if body is None:
        return {}
    if not isinstance(body, dict):
        raise Refused([Fault("The body should be an object.")])
    faults = [Fault(f"Unknown attribute: {name}", name) for name in body if name not in known]
    for name, kind in known.items():
        value = body.get(name)
        if value is not None and (not isinstance(value, kind) or isinstance(value, bool)):
            faults.append(Fault(f"Invalid input for field/attribute {name}.", name))
    if faults:
        raise Refused(faults)
    return {name: value for name, value in body.items() if value is not None}


def _moment(text: str) -> str:
    try:
        found = datetime.fromisoformat(text)
        found = found.astimezone(UTC).replace(tzinfo=None) if found.tzinfo else found
    except (ValueError, OverflowError):
        raise Refused([Fault("since should be a moment, like 2030-01-01T00:00:00.", "since")]) from None
    return found.isoformat(timespec="microseconds")


def _place(tx: Tx, text: str) -> Cursor:
    try:
        found = events.known(tx, cursor_from(text))
    except ValueError:
        found = None
    if found is None:
        raise Refused([Fault("after should be the id of an event that is still kept, or 0.", "after")])
    return found


def _accept(
    tx: Tx, caller: Caller, action: str, document: dict[str, Any], detail: Mapping[str, Any], *, shown: bool = True
) -> Accepted:
    wish = Wish(action, SUBSCRIPTION.name, document["id"], None, document["project_id"], detail=detail)
    return accepted(tx, caller, wish, document if shown else None)
