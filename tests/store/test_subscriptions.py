# SPDX-License-Identifier: Apache-2.0
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest

from caryatid.model import DELIVERY, SUBSCRIPTION
from caryatid.model.event import BEGINNING, cursor_of
from caryatid.model.policy import Caller
from caryatid.model.subscription import Delivery
from caryatid.store import events, rows, subscriptions

AT = "2026-11-21T10:00:00.000000"
LATER = "2026-11-21T11:00:00.000000"
BY = Caller("u1", "p1")


@pytest.fixture
def key(database):
    """A subscription that begins with the log."""
    made = str(uuid4())
    given = {"id": made, "project_id": "p1", "created_at": AT, "updated_at": AT}
    with database.transaction() as tx:
        rows.insert(tx, SUBSCRIPTION, [SUBSCRIPTION.new({"callback_url": "https://hooks.example/"}, given)])
        subscriptions.begin(tx, made, BEGINNING, b"sealed")
    return made


def delivery(key, number, **more):
    about = {"event_id": f"0.{number}.00000000", "event_type": "pool.create", "event": {}, "since": AT}
    given = {"id": str(uuid4()), "project_id": "p1", "created_at": AT, "updated_at": AT, "subscription_id": key}
    return Delivery(**given, **about, **more)


def keep(database, *wanted):
    with database.transaction() as tx:
        for one in wanted:
            subscriptions.keep(tx, one)


def found(database, key, **columns):
    with database.read() as tx:
        return rows.find(tx, DELIVERY, subscription_id=key, **columns)


def test_a_subscription_is_shown_with_how_far_it_is(database, key):
    with database.transaction() as tx:
        assert subscriptions.move(tx, key, "0", "0.1.aaaaaaaa", failures=2, trouble="It hangs.", failed_at=AT)
    with database.read() as tx:
        shown = rows.get(tx, SUBSCRIPTION, key)
        (listed,) = rows.find(tx, SUBSCRIPTION, project_id="p1")
    assert shown == listed
    assert (shown["cursor"], shown["failures"], shown["trouble"]) == ("0.1.aaaaaaaa", 2, "It hangs.")


def test_of_two_that_move_a_cursor_one_does(database, key):
    def move(number):
        with database.transaction() as tx:
            return subscriptions.move(tx, key, "0", f"0.{number}.aaaaaaaa")

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(move, range(1, 9))) == 1


def test_there_is_one_delivery_for_an_event(database, key):
    keep(database, delivery(key, 1, attempts=1), delivery(key, 2), delivery(key, 1, attempts=5))
    assert sorted(one["attempts"] for one in found(database, key)) == [1, 5]


def test_what_is_due_first_comes_first_and_what_is_dead_never(database, key):
    keep(database, delivery(key, 1, next_at=LATER), delivery(key, 2, next_at=AT), delivery(key, 3, state="dead"))
    with database.transaction() as tx:
        assert subscriptions.due(tx, key).event_id.startswith("0.2.")
        subscriptions.drop(tx, subscriptions.due(tx, key).id)
        assert subscriptions.due(tx, key).next_at == LATER
        subscriptions.hasten(tx, key, AT)
        assert subscriptions.due(tx, key).next_at == AT


def test_the_dead_are_tried_again_as_if_for_the_first_time(database, key, monkeypatch):
    keep(database, *(delivery(key, number, state="dead", attempts=9) for number in range(4)), delivery(key, 5))
    wanted = [one["id"] for one in found(database, key, state="dead")][:1]
    with database.transaction() as tx:
        assert subscriptions.revive(tx, key, [*wanted, str(uuid4())], LATER) == 1
        assert subscriptions.revive(tx, key, [], LATER) == 0
    (one,) = [each for each in found(database, key) if each["id"] in wanted]
    assert (one["state"], one["attempts"], one["since"], one["next_at"]) == ("pending", 0, LATER, LATER)
    monkeypatch.setattr(subscriptions, "REVIVED_AT_ONCE", 2)
    with database.transaction() as tx:
        assert [subscriptions.revive(tx, key, None, LATER) for _ in range(3)] == [2, 1, 0]


def test_only_what_is_dead_is_removed_by_age(database, key):
    keep(database, delivery(key, 1, state="dead"), delivery(key, 2, next_at=AT))
    with database.transaction() as tx:
        subscriptions.purge(tx, AT)
    assert len(found(database, key)) == 2
    with database.transaction() as tx:
        subscriptions.purge(tx, LATER)
    assert [one["state"] for one in found(database, key)] == ["pending"]


def test_whoever_ends_a_subscription_leaves_nothing_of_it(database, key):
    keep(database, delivery(key, 1))
    with database.transaction() as tx:
        rows.delete(tx, SUBSCRIPTION, [key])
        subscriptions.end(tx, key)
        assert subscriptions.sealed(tx, key) is None
        assert subscriptions.enabled(tx) == {}
    assert found(database, key) == []


def test_a_moment_is_a_place_in_the_log(database):
    for number in range(3):
        with database.transaction() as tx:
            row = events.happened("create", "pool", str(number), by=BY, project_id="p1", root_id=None)
            events.append_all(tx, [row | {"at": f"2026-11-21T1{number}:00:00.000000"}])
    with database.read() as tx:
        places = [cursor_of(row) for row in events.after(tx, BEGINNING)]
        assert subscriptions.before(tx, "2026-11-21T09:00:00") == BEGINNING
        assert subscriptions.before(tx, "2026-11-21T10:30:00") == places[0]
        assert subscriptions.before(tx, "2026-11-21T12:00:00") == places[1]
        assert subscriptions.before(tx, "2030-01-01T00:00:00") == places[2]
