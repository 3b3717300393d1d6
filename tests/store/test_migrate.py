# SPDX-License-Identifier: Apache-2.0
import sqlite3
import subprocess
import sys
from contextlib import closing

from sqlalchemy import text

from caryatid.store import migrate
from caryatid.store.database import Database


def test_migrations_make_the_tables_that_the_code_declares(empty_url):
    migrate.upgrade(empty_url)
    assert migrate.differences(empty_url) == []


def test_a_database_is_checked_before_it_is_used(empty_url):
    assert not migrate.check(empty_url)
    migrate.upgrade(empty_url)
    assert migrate.check(empty_url)


def test_migrating_twice_changes_nothing(empty_url):
    migrate.upgrade(empty_url)
    database = Database(empty_url)
    with database.transaction() as tx:
        tx.connection.execute(text("INSERT INTO lease (name, holder, until) VALUES ('n', 'h', 1)"))
    migrate.upgrade(empty_url)
    with database.read() as tx:
        assert tx.connection.execute(text("SELECT count(*) FROM lease")).scalar() == 1
    database.close()


def test_several_processes_may_start_at_once(empty_url):
    program = "import sys; from caryatid.store import migrate; migrate.upgrade(sys.argv[1])"
    started = [subprocess.Popen([sys.executable, "-c", program, empty_url]) for _ in range(3)]
    assert [process.wait(60) for process in started] == [0, 0, 0]
    assert migrate.check(empty_url)


def test_a_difference_would_be_found(database_url):
    database = Database(database_url)
    with database.transaction() as tx:
        tx.connection.execute(text("DROP INDEX ix_work_due_at"))
        tx.connection.execute(text("ALTER TABLE work ADD COLUMN surplus INTEGER"))
    database.close()
    assert len(migrate.differences(database_url)) == 2


def test_a_new_sqlite_file_is_its_owners_alone(tmp_path):
    migrate.upgrade(f"sqlite:///{tmp_path}/a/b/c.db")
    assert (tmp_path / "a/b/c.db").stat().st_mode & 0o777 == 0o600


def test_there_is_a_copy_of_what_was_before_a_migration(tmp_path):
    path = tmp_path / "c.db"
    url = f"sqlite:///{path}"
    assert migrate.backup(url, tmp_path / "backups") is None
    with closing(sqlite3.connect(path)) as old:
        old.executescript("CREATE TABLE precious (x); INSERT INTO precious VALUES (7);")
    copy = migrate.backup(url, tmp_path / "backups")
    migrate.upgrade(url)
    with closing(sqlite3.connect(copy)) as found:
        assert found.execute("SELECT x FROM precious").fetchall() == [(7,)]
    assert copy.stat().st_mode & 0o777 == 0o600
    assert migrate.backup(url, tmp_path / "backups") is None, "nothing to migrate"


def test_postgresql_is_backed_up_by_its_own_tools(postgresql, tmp_path):
    assert migrate.backup(postgresql.format("postgres"), tmp_path / "backups") is None
    assert not (tmp_path / "backups").exists()
