# SPDX-License-Identifier: Apache-2.0
import threading
from contextlib import ExitStack

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st
from sqlalchemy import text

from caryatid.model.event import BEGINNING, Sought, cursor, cursor_of
from caryatid.model.policy import Caller
from caryatid.store import events, migrate
from caryatid.store.database import Database

SOMEBODY = Caller("u1", "p1", request_id="req-1")


def append(tx, key, **given):
    values = {"project_id": "p1", "root_id": None, "by": SOMEBODY} | given
    events.append(tx, values.pop("action", "create"), "pool", key, **values)


def seen(database, cursor=BEGINNING, **given):
    with database.read() as tx:
        return [event["resource_id"] for event in events.after(tx, cursor, **given)]


def test_events_are_told_in_order_from_any_of_them(database):
    for number in range(5):
        with database.transaction() as tx:
            append(tx, str(number), project_id=f"p{number % 2}")
    assert seen(database) == ["0", "1", "2", "3", "4"]
    assert seen(database, project_id="p1") == ["1", "3"]
    assert seen(database, limit=2) == ["0", "1"]
    with database.read() as tx:
        second = cursor_of(events.after(tx, BEGINNING, limit=2)[-1])
        assert events.last(tx) > second
        assert events.after(tx, events.last(tx)) == []
        assert [event["resource_id"] for event in events.newest(tx, limit=2)] == ["3", "4"]
    assert seen(database, second) == ["2", "3", "4"]


def test_an_event_says_who_did_it_and_for_which_job(database):
    with database.transaction() as tx:
        append(tx, "a", root_id="r1", job_id="j1", detail={"name": "n"})
    with database.read() as tx:
        (event,) = events.after(tx, BEGINNING)
    assert (event["user_id"], event["request_id"], event["job_id"]) == ("u1", "req-1", "j1")
    assert (event["loadbalancer_id"], event["detail"]) == ("r1", {"name": "n"})


def test_what_is_rolled_back_did_not_happen(database):
    try:
        with database.transaction() as tx:
            append(tx, "x")
            raise ZeroDivisionError  # noqa: TRY301  what came before is undone
    except ZeroDivisionError:
        assert seen(database) == []


def test_a_type_that_is_not_declared_does_not_happen(database):
    with database.transaction() as tx, pytest.raises(ValueError, match=r"pool\.explode"):
        append(tx, "x", action="explode")


@pytest.mark.parametrize(
    ("sought", "found"),
    [
        (Sought(), ["a", "b", "c"]),
        (Sought(types=["pool.delete"]), ["b"]),
        (Sought(types=["pool.*"]), ["a", "b", "c"]),
        (Sought(types=["member.*", "pool.update"]), ["c"]),
        (Sought(resource_type="pool", resource_id="a"), ["a"]),
        (Sought(resource_type="member"), []),
        (Sought(loadbalancer_id="r1", user_id="u1"), ["a"]),
        (Sought(project_id="p2"), ["c"]),
        (Sought(until="2000"), []),
        (Sought(since="2000", until="2999"), ["a", "b", "c"]),
    ],
)
def test_what_is_sought_is_the_same_in_the_store_and_in_a_stream(database, sought, found):
    with database.transaction() as tx:
        append(tx, "a", root_id="r1")
        append(tx, "b", root_id="r1", action="delete", by=Caller("u2", "p1"))
        append(tx, "c", action="update", project_id="p2")
    with database.read() as tx:
        everything = events.after(tx, BEGINNING)
        assert [event["resource_id"] for event in events.after(tx, BEGINNING, sought=sought)] == found
    assert [event["resource_id"] for event in everything if sought.matches(event)] == found


def test_an_event_that_is_committed_late_is_not_missed(new_database):
    database = Database(new_database())
    with database.transaction() as late:
        append(late, "first")
        with database.transaction() as tx:
            append(tx, "second")
        assert seen(database) == [], "the first may still come"
        with database.read() as tx:
            assert events.held(tx, BEGINNING)
    assert seen(database) == ["first", "second"]
    with database.read() as tx:
        assert not events.held(tx, events.last(tx))
    database.close()


def test_an_event_with_a_lower_number_that_is_committed_later_is_not_missed(new_database):
    """A begins first and writes last: its number is the higher one, and B's, the lower, is not committed yet."""
    database = Database(new_database())
    with ExitStack() as stack:
        a, b = stack.enter_context(database.transaction()), ExitStack()
        a.connection.execute(text("SELECT pg_current_xact_id()"))
        of_b = b.enter_context(database.transaction())
        append(of_b, "b")
        append(a, "a")
        stack.close()
        assert seen(database) == ["a"], "nobody older than A is under way"
        with database.read() as tx:
            after_a = events.last(tx)
        b.close()
        assert seen(database, after_a) == ["b"]
        assert seen(database) == ["a", "b"], "the order stays"
    database.close()


def test_a_reading_transaction_holds_nothing_back(new_database):
    database = Database(new_database())
    with database.read() as reading:
        events.last(reading)
        with database.transaction() as tx:
            append(tx, "x")
        assert seen(database) == ["x"]
    database.close()


STEPS = st.lists(
    st.tuples(st.sampled_from(["begin", "write", "commit", "undo", "read"]), st.integers(0, 3)), max_size=40
)


@given(steps=STEPS)
@examples(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), database=None)
def test_whatever_order_transactions_begin_write_and_end_in_each_event_is_read_once(shared, steps):
    """Four writers at a time on PostgreSQL, one on SQLite; a reader goes on from where it was."""
    check_readings(shared, steps)


@pytest.fixture
def shared(database):
    with database.transaction() as tx:
        append(tx, "before all")
    return database


class Play:
    """Transactions that overlap as told, and a reader that goes on from where it was."""

    def __init__(self, database):
        self.database = database
        self.alone = database.dialect == "sqlite"
        self.open, self.written = {}, {}
        self.committed, self.read = [], []
        with database.read() as tx:
            self.where = self.begun = events.last(tx)

    def step(self, number, what, name):
        if what == "read":
            self.look()
        elif what == "begin" and name not in self.open:
            self.begin(name, early=bool(number % 2))
        elif what == "write" and name in self.open:
            self.written[name].append(f"{name}.{number}")
            append(self.open[name][1], self.written[name][-1])
        elif what in ("commit", "undo") and name in self.open:
            self.end(name, undone=what == "undo")

    def begin(self, name, *, early):
        """`early`: it has its number before it writes an event."""
        stack = ExitStack()
        self.open[name] = stack, stack.enter_context(self.database.transaction())
        self.written[name] = []
        if early and not self.alone:
            self.open[name][1].connection.execute(text("SELECT pg_current_xact_id()"))

    def end(self, name, *, undone):
        stack, tx = self.open.pop(name)
        if undone:
            tx.connection.get_transaction().rollback()
        else:
            self.committed += self.written[name]
        stack.close()

    def look(self):
        with self.database.read() as tx:
            for event in events.after(tx, self.where, limit=3):
                self.read.append(event["resource_id"])
                self.where = cursor_of(event)


def check_readings(database, steps):
    play = Play(database)
    for number, (what, which) in enumerate(steps):
        play.step(number, what, 0 if play.alone else which)
    for name in list(play.open):
        play.end(name, undone=False)
    for _ in range(len(play.committed) + 1):
        play.look()
    assert sorted(play.read) == sorted(play.committed)
    assert seen(database, play.begun) == play.read


def test_many_writers_at_once_are_all_read_once_and_in_order(database):
    """Real threads; the reader never waits for them."""
    done = threading.Event()

    def write(name):
        for number in range(25):
            with database.transaction() as tx:
                append(tx, f"{name}.{number}.0")
                append(tx, f"{name}.{number}.1")

    threads = [threading.Thread(target=write, args=[name]) for name in range(4)]
    watcher = threading.Thread(target=lambda: ([thread.join() for thread in threads], done.set()))
    for thread in (*threads, watcher):
        thread.start()
    read, where, ended = [], BEGINNING, False
    while True:
        ended = ended or done.is_set()
        with database.read() as tx:
            found = events.after(tx, where, limit=7)
        read += [event["resource_id"] for event in found]
        where = cursor_of(found[-1]) if found else where
        if not found and ended:
            break
        ended = done.is_set()
    watcher.join()
    assert len(read) == len(set(read)) == 200
    for name in range(4):
        mine = [key for key in read if key.startswith(f"{name}.")]
        assert mine == [f"{name}.{number}.{part}" for number in range(25) for part in range(2)]


def test_old_events_are_forgotten_but_the_newest(database):
    with database.transaction() as tx:
        append(tx, "x")
        append(tx, "y")
    with database.read() as tx:
        first, newest = [cursor_of(event) for event in events.after(tx, BEGINNING)]
    with database.transaction() as tx:
        assert events.purge(tx, "2000-01-01T00:00:00.000000") == 0
        assert events.purge(tx, "2999-01-01T00:00:00.000000") == 1
    assert seen(database) == ["y"]
    with database.read() as tx:
        assert events.known(tx, first) is None, "what came after it may be gone too"
        assert events.known(tx, newest) == newest
        assert events.known(tx, BEGINNING) == BEGINNING


def test_a_cursor_of_a_log_that_was_put_back_is_not_mistaken_for_one_of_its_successor(database):
    with database.transaction() as tx:
        append(tx, "x")
    with database.read() as tx:
        mine = events.last(tx)
    with database.transaction() as tx:
        tx.connection.execute(text("UPDATE event SET at = '2026-01-01T00:00:00.000000'"))
        assert events.known(tx, mine) is None


@pytest.mark.parametrize(
    "said", ["", "1", "1.2", "a.b.c", "1.0.aa", " 1.2.aa", "1.2.aa.b", f"1.{1 << 63}.aa", "-0.1.a"]
)
def test_what_is_no_cursor_is_refused(said):
    with pytest.raises(ValueError):
        cursor(said)


def test_a_cursor_is_read_as_it_is_written(database):
    with database.transaction() as tx:
        append(tx, "x")
        assert cursor(BEGINNING.text) == BEGINNING
    with database.read() as tx:
        assert cursor(events.last(tx).text) == events.last(tx)


def test_events_of_another_postgresql_come_before_those_of_this_one(new_database):
    """As after a restore: transactions there were numbered far higher than they are here."""
    url = new_database()
    database = Database(url)
    for key in ("a", "b", "c"):
        with database.transaction() as tx:
            append(tx, key)
    with database.read() as tx:
        old = [cursor_of(event) for event in events.after(tx, BEGINNING)]
    with database.transaction() as tx:
        tx.connection.execute(text("UPDATE event SET xid = xid + 1000000000000 WHERE resource_id <> 'a'"))
    assert seen(database) == ["a"], "the rest is of the future"
    migrate.upgrade(url)
    with database.transaction() as tx:
        append(tx, "d")
    assert seen(database) == ["a", "b", "c", "d"]
    with database.read() as tx:
        found = events.known(tx, old[1])
        assert [event["resource_id"] for event in events.after(tx, found)] == ["c", "d"]
    migrate.upgrade(url)
    assert seen(database) == ["a", "b", "c", "d"], "only once"
    database.close()
