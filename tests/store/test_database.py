# SPDX-License-Identifier: Apache-2.0
import threading
import time

import pytest
from sqlalchemy import text

from caryatid.errors import Busy
from caryatid.model import LOADBALANCER
from caryatid.store import clock, database, rows
from caryatid.store.database import Database
from caryatid.store.tables import SETTING


def leases(tx):
    return tx.connection.execute(text("SELECT count(*) FROM lease")).scalar()


def take(tx):
    tx.connection.execute(text("INSERT INTO lease (name, holder, until) VALUES ('n', 'h', 1)"))


def test_everything_is_written_or_nothing(database):
    acts = []
    with pytest.raises(ZeroDivisionError), database.transaction() as tx:  # noqa: PT012  what came before is undone
        tx.after_commit(lambda: acts.append("never"))
        take(tx)
        raise ZeroDivisionError
    with database.read() as tx:
        assert leases(tx) == 0
    with database.transaction() as tx:
        tx.after_commit(lambda: acts.append("after"))
        take(tx)
        assert acts == []
    assert acts == ["after"]
    with database.read() as tx:
        assert leases(tx) == 1


def test_a_reader_sees_one_moment(database):
    with database.read() as reader:
        assert leases(reader) == 0
        with database.transaction() as tx:
            take(tx)
        assert leases(reader) == 0
    with database.read() as reader:
        assert leases(reader) == 1


def test_one_connection_serves_any_thread(database, garden):
    root = garden.root()
    found = []

    def read():
        with database.read() as tx:
            found.append(rows.get(tx, LOADBALANCER, root)["id"])

    read()
    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [root] * 5


def test_a_lock_held_too_long_is_busy(database_url, monkeypatch, garden):
    monkeypatch.setattr(database, "BUSY_TIMEOUT_S", 1)
    root = garden.root()
    impatient = Database(database_url)
    with garden.database.transaction() as tx:
        rows.lock_root(tx, root)
        with pytest.raises(Busy) as refused, impatient.transaction() as other:
            rows.lock_root(other, root)
    assert refused.value.status == 503
    with impatient.transaction() as other:
        assert rows.lock_root(other, root).generation == 1
    impatient.close()


def test_no_connection_left_is_busy(database_url, monkeypatch):
    monkeypatch.setattr(database, "BUSY_TIMEOUT_S", 1)
    monkeypatch.setattr(database, "SPARE_CONNECTIONS", 0)
    small = Database(database_url, pool_size=1)
    with small.read(), pytest.raises(Busy), small.read():
        pass
    small.close()


def test_an_absent_server_is_busy(tmp_path):
    away = Database(f"postgresql://postgres@/none?host={tmp_path}")
    with pytest.raises(Busy), away.read() as tx:
        leases(tx)
    away.close()


@pytest.mark.parametrize("url", ["mysql://x/y", "sqlite://", "sqlite:///:memory:", "nothing"])
def test_other_databases_are_refused(url):
    with pytest.raises(Exception, match=r"database|parse"):
        Database(url)


def test_the_clock_is_the_databases(tx):
    assert abs(clock.now(tx) - time.time()) < 5
    assert clock.text(1.5) == "1970-01-01T00:00:01.500000"


def test_errors_do_not_tell_what_was_written(database):
    with pytest.raises(Exception) as error, database.transaction() as tx:  # noqa: PT012
        statement = text("INSERT INTO setting (name, value) VALUES (:name, :value)")
        for _ in range(2):
            tx.connection.execute(statement, {"name": "key", "value": b"hush-hush"})
    assert "hush" not in str(error.value)


def test_the_version_is_the_same_until_somebody_commits_something(database_url):
    database, other = Database(database_url), Database(database_url)
    setting = SETTING.insert().values
    try:
        for one in (database, other):  # each prepares the file when it opens it
            with one.read() as tx:
                tx.connection.execute(SETTING.select())
        before = database.version()
        with database.read() as tx:
            tx.connection.execute(SETTING.select())
        assert database.version() == before
        for number, who in enumerate((other, database)):
            with who.transaction() as tx:
                tx.connection.execute(setting(name=str(number), value=b""))
                if who is other:
                    assert database.version() == before
            assert database.version() != before
            before = database.version()
    finally:
        database.close()
        other.close()
