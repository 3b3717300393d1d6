# SPDX-License-Identifier: Apache-2.0
"""Events are brought to receivers: each subscription's one at a time, in the order of the log, at least once.

What a receiver does not accept is put aside, and tried again later; the rest goes on. When it accepts nothing at all,
what comes next waits in the log. The happy path writes nothing but the cursor, and that not often.
"""

import asyncio
import random
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from caryatid import log, metrics
from caryatid.model import DELIVERY
from caryatid.model.consequences import replace
from caryatid.model.event import Cursor, cursor_of, shown
from caryatid.model.subscription import Delivery, Subscription
from caryatid.plan import webhooks as plan
from caryatid.store import events, rows, subscriptions
from caryatid.store.clock import text
from caryatid.store.database import Tx

from . import webhooks
from .posting import Roads, Sent

PAGE = 100
PENDING_MAX = 1000
"""Of a subscription; more wait in the log."""
KEPT_S = 1.0
"""After which at the latest it is written down what was delivered: what a crash sends twice."""
LOOK_S = 60.0
"""After which the log is looked at, though nobody rang; then it is also written down that nothing was for it."""


class Outrun(Exception):
    """Somebody else has moved the cursor: what is in memory does not count."""


@dataclass(frozen=True)
class Standing:
    """Where a subscription stands."""

    subscription: Subscription
    keys: tuple[bytes, ...] = field(repr=False)
    keys_until: str | None
    """When it is signed with fewer keys. None: never."""
    at: Cursor
    pending: int
    """How many of those put aside are tried again."""


async def stand(roads: Roads, key: str) -> Standing | None:
    """None: nothing is to be sent."""

    def read(tx: Tx) -> Standing | None:
        subscription = subscriptions.get(tx, key)
        if subscription is None or not subscription.enabled:
            return None
        keys, until = webhooks.keys_of(tx, roads.door, key), subscription.old_secret_until
        at = subscriptions.place(tx, subscription.cursor)
        pending = rows.count(tx, DELIVERY, subscription_id=key, state="pending")
        return Standing(subscription, keys, until if len(keys) > 1 else None, at, pending)

    return await roads.read(read)


class Courier:
    """Brings one subscription its events. Moments are seconds since the epoch."""

    def __init__(self, roads: Roads, standing: Standing) -> None:
        self.key = standing.subscription.id
        self.outdated = False
        """Something about the subscription has changed: another is to go on."""
        self.sought = standing.subscription.sought
        self._roads = roads
        self._standing = standing
        self._at = standing.at
        """Everything before was delivered or put aside."""
        self._kept = standing.subscription.cursor
        """The same, as the database has it."""
        self._kept_at = time.time()
        self._delivered_at: float | None = None
        """If that is not written yet."""
        self._failures = standing.subscription.failures
        """Events in a row that it has not accepted when they were new."""
        self._pending = standing.pending
        self._held_until = 0.0
        self._retry_at: float | None = 0.0
        """Not before this is anything to be tried again; None: there is nothing."""
        self._bell = asyncio.Event()
        self._waiting = False

    # -- what others tell it

    def ring(self) -> None:
        """There may be something for it."""
        self._bell.set()

    def end(self) -> None:
        """It ends as soon as what is under way has."""
        self.outdated = True
        self._bell.set()

    def passed(self, page: Sequence[dict[str, Any]], since: Cursor, until: Cursor) -> None:
        """The log goes on from `since` to `until`; the page has what there is of its project in between."""
        if any(map(self.sought.matches, page)):
            self._bell.set()
        elif self._waiting and since <= self._at < until:
            self._at = until

    # -- what it does

    async def work(self) -> None:
        """Until it is outdated. Raises Outrun."""
        while not self.outdated:
            pause_s = await self._turn()
            if pause_s > 0:
                await self._wait(pause_s)
        await self.keep()

    async def keep(self, older_s: float = 0.0) -> None:
        """How far it is is written down, if that was not done for so long. Raises Outrun."""
        now, place = time.time(), self._at.text
        if place == self._kept or now - self._kept_at < older_s:
            return
        seen = {} if self._delivered_at is None else {"delivered_at": text(self._delivered_at)}
        await self._roads.write(lambda tx: self._move(tx, place, **seen))
        self._kept, self._kept_at, self._delivered_at = place, now, None

    async def _wait(self, timeout_s: float) -> None:
        self._waiting = not self._bell.is_set()
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._bell.wait()
        self._waiting = False
        self._bell.clear()

    async def _turn(self) -> float:
        """Something is done, if anything is to be done; seconds until there may be more, if nobody rings. What is new
        and what is tried again take turns: neither waits for the other to end."""
        now = time.time()
        if self._standing.keys_until is not None and self._standing.keys_until <= text(now):
            self.outdated = True
            return 0
        due = self._retry_at is not None and self._retry_at <= now
        if due:
            await self._again(now)
        held = self._is_held(now)
        went_on = not held and not self.outdated and await self._go_on()
        return 0 if due or went_on else await self._rest(now, held=held)

    def _is_held(self, now: float) -> bool:
        """What is new has to wait in the log: the receiver is down, or has left too much."""
        return now < self._held_until or self._pending >= PENDING_MAX

    async def _rest(self, now: float, *, held: bool) -> float:
        """Nothing is to be done; seconds until there is."""
        await self.keep(LOOK_S if self._delivered_at is None else KEPT_S)
        until = [now + LOOK_S]
        until += [] if self._delivered_at is None else [max(now + 0.01, self._kept_at + KEPT_S)]
        until += [] if self._retry_at is None else [self._retry_at]
        until += [self._held_until] if held and self._held_until > now else []
        return min(until) - now

    async def _go_on(self) -> bool:
        """Some of what comes next in the log is brought; False: there is nothing."""
        page, end = await self._roads.read(
            lambda tx: (events.after(tx, self._at, sought=self.sought, limit=PAGE), events.last(tx))
        )
        for row in page:
            if not await self._bring(row) or self.outdated:
                return True
            await self.keep(KEPT_S)
        if len(page) < PAGE:
            self._at = max(self._at, end)
        return bool(page)

    async def _bring(self, row: dict[str, Any]) -> bool:
        """The event is delivered, or put aside; False: stop here."""
        event, place = shown(row), cursor_of(row)
        sent = await self._send(event)
        if sent.verdict == "delivered":
            self._at, self._delivered_at = place, time.time()
            metrics.WEBHOOK_SECONDS.observe(max(0.0, self._delivered_at - _seconds(row["at"])))
            if self._failures:
                await self._well()
            return True
        if sent.verdict == "gone":
            await self._gone(sent)
            return False
        await self._fail(place, sent, self._put_aside(event, sent), self._failures + 1)
        self._at, self._pending = place, self._pending + 1
        if plan.is_down(self._failures):
            pause_s = plan.again_s(self._failures - plan.DOWN_AFTER + 1, random.random())  # noqa: S311  jitter
            self._held_until = time.time() + pause_s
        return not self._is_held(time.time())

    async def _again(self, now: float) -> None:
        """What is due first is tried again."""
        delivery = await self._roads.read(lambda tx: subscriptions.due(tx, self.key))
        self._retry_at = _seconds(delivery.next_at) if delivery and delivery.next_at else None
        if delivery is None or self._retry_at is None or self._retry_at > now:
            return
        sent = await self._send(delivery.event)
        if sent.verdict == "delivered":
            await self._well(delivery)
        elif sent.verdict == "gone":
            await self._gone(sent)
        else:
            tried = _tried(delivery, sent)
            await self._fail(self._at, sent, tried, self._failures)
            self._pending -= tried.state == "dead"

    async def _send(self, event: dict[str, Any]) -> Sent:
        url, keys = self._standing.subscription.callback_url, self._standing.keys
        return await self._roads.send(url, plan.message(event), keys, failing=self._failures > 0)

    # -- what it writes down

    async def _well(self, delivery: Delivery | None = None) -> None:
        """The receiver works (again: then all that waits for it is due). `delivery` was delivered."""
        place, now, was_down = self._at.text, time.time(), plan.is_down(self._failures)

        def write(tx: Tx) -> None:
            self._move(tx, place, delivered_at=text(now), failures=0, trouble=None)
            if was_down:
                subscriptions.hasten(tx, self.key, text(now))
            if delivery is not None:
                subscriptions.drop(tx, delivery.id)

        await self._roads.write(write)
        self._kept, self._kept_at, self._delivered_at = place, now, None
        self._failures, self._held_until, self._retry_at = 0, 0.0, 0.0
        self._pending -= delivery is not None

    async def _fail(self, place: Cursor, sent: Sent, delivery: Delivery, failures: int) -> None:
        """The receiver has not accepted the delivery, which is kept as given; all before `place` is done."""
        now = time.time()

        def write(tx: Tx) -> None:
            self._move(tx, place.text, failures=failures, failed_at=text(now), trouble=sent.reason)
            subscriptions.keep(tx, delivery)

        await self._roads.write(write)
        self._kept, self._kept_at, self._failures, self._retry_at = place.text, now, failures, 0.0
        if delivery.state == "dead":
            metrics.WEBHOOKS.labels("dead").inc()
        log.get().info("webhook failed", subscription=self.key, delivery=delivery.id, reason=sent.reason)

    def _put_aside(self, event: dict[str, Any], sent: Sent) -> Delivery:
        """The event, to be tried again."""
        now = time.time()
        at, next_at = text(now), text(now + plan.again_s(1, random.random()))  # noqa: S311  jitter
        return Delivery.model_construct(
            id=str(uuid4()), created_at=at, updated_at=at, since=at, next_at=next_at, attempts=1, state="pending",
            project_id=self._standing.subscription.project_id, subscription_id=self.key,
            event_id=event["id"], event_type=event["type"], event=event, status=sent.status, reason=sent.reason,
        )  # fmt: skip

    async def _gone(self, sent: Sent) -> None:
        await self.keep()
        await self._roads.write(lambda tx: webhooks.disable(tx, self.key, sent.reason))
        log.get().info("webhook gone", subscription=self.key)
        self.outdated = True

    def _move(self, tx: Tx, place: str, **seen: Any) -> None:
        if not subscriptions.move(tx, self.key, self._kept, place, **seen):
            raise Outrun


def _tried(delivery: Delivery, sent: Sent) -> Delivery:
    """The delivery after one more attempt in vain."""
    now, attempts = time.time(), delivery.attempts + 1
    dead = plan.given_up(_seconds(delivery.since), now)
    next_at = None if dead else text(now + plan.again_s(attempts, random.random()))  # noqa: S311  jitter
    seen = {"attempts": attempts, "state": "dead" if dead else "pending", "next_at": next_at}
    return replace(delivery, **seen, updated_at=text(now), status=sent.status, reason=sent.reason)


def _seconds(moment: str) -> float:
    return datetime.fromisoformat(moment).replace(tzinfo=UTC).timestamp()
