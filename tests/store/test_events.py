# SPDX-License-Identifier: Apache-2.0
from caryatid.store import events
from caryatid.store.database import Database


def append(tx, key, **given):
    events.append(tx, "create", "pool", key, project_id=given.get("project_id", "p1"), root_id=None)


def seen(database, seq=0, **given):
    with database.read() as tx:
        return [event["resource_id"] for event in events.after(tx, seq, **given)]


def test_events_are_told_in_order_from_any_of_them(database):
    for number in range(5):
        with database.transaction() as tx:
            append(tx, str(number), project_id=f"p{number % 2}")
    assert seen(database) == ["0", "1", "2", "3", "4"]
    assert seen(database, project_id="p1") == ["1", "3"]
    assert seen(database, limit=2) == ["0", "1"]
    with database.read() as tx:
        second = events.after(tx, 0, limit=2)[-1]["seq"]
        assert events.last(tx) == second + 3
    assert seen(database, second) == ["2", "3", "4"]


def test_what_is_rolled_back_did_not_happen(database):
    try:
        with database.transaction() as tx:
            append(tx, "x")
            raise ZeroDivisionError  # noqa: TRY301  what came before is undone
    except ZeroDivisionError:
        assert seen(database) == []


def test_an_event_that_is_committed_late_is_not_missed(new_database):
    database = Database(new_database())
    with database.transaction() as late:
        append(late, "first")
        with database.transaction() as tx:
            append(tx, "second")
        assert seen(database) == [], "the first may still come"
    assert seen(database) == ["first", "second"]
    database.close()


def test_old_events_are_forgotten(database):
    with database.transaction() as tx:
        append(tx, "x")
        assert events.purge(tx, "2000-01-01T00:00:00.000000") == 0
        assert events.purge(tx, "2999-01-01T00:00:00.000000") == 1
    assert seen(database) == []
