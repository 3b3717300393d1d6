# SPDX-License-Identifier: Apache-2.0
import json
import sqlite3
import subprocess
import sys
from contextlib import closing

from sqlalchemy import text

from caryatid.store import migrate
from caryatid.store.database import Database
from caryatid.store.gslb import elsewhere


def test_migrations_make_the_tables_that_the_code_declares(empty_url):
    migrate.upgrade(empty_url)
    assert migrate.differences(empty_url) == []


def test_a_database_is_checked_before_it_is_used(empty_url):
    assert not migrate.check(empty_url)
    migrate.upgrade(empty_url)
    assert migrate.check(empty_url)


def test_members_that_plugins_found_are_followed_from_where_they_were(empty_url):
    migrate.upgrade(empty_url, "0017")
    member = "INSERT INTO gslb_member (id, created_at, project_id, pool_id, address, spec) VALUES"
    database = Database(empty_url)
    with database.transaction() as tx:
        for key, kind in (("a", "pigeon"), ("b", "ip")):
            spec = json.dumps({"type": kind})
            tx.connection.execute(text(f"{member} ('{key}', 'now', 'p', 'q', '192.0.2.1', :spec)"), {"spec": spec})
    migrate.upgrade(empty_url)
    with database.read() as tx:
        (known,) = elsewhere.of(tx, ["a", "b"]).values()
    assert (known.member_id, known.addresses, known.word) == ("a", ("192.0.2.1",), None)
    database.close()


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


OLD_ROWS = """
INSERT INTO subnet (id, project_id, created_at, network_id, spec) VALUES
  ('here', 'p', 't', 'n', '{"attachment": "host"}'), ('there', 'p', 't', 'n', '{"attachment": "uplink"}');
INSERT INTO port (id, project_id, created_at, subnet_id, network_id, ip_address, device_id, spec) VALUES
  ('p1', 'p', 't', 'here', 'n', '192.0.2.5', 'lb1', '{"device_owner": "loadbalancer"}'),
  ('p2', 'p', 't', 'here', 'n', '192.0.2.6', 'lb2', '{"device_owner": "loadbalancer:given"}'),
  ('p3', 'p', 't', 'here', 'n', '192.0.2.7', '', '{"device_owner": ""}'),
  ('p4', 'p', 't', 'there', 'n', '198.51.100.5', 'lb3', '{"device_owner": "loadbalancer"}');
INSERT INTO listener (id, project_id, created_at, loadbalancer_id, protocol, protocol_port, created_generation,
  changed_generation, spec_generation, deleted_generation, spec) VALUES
  ('left', 'p', 't', 'lb1', 'HTTP', 80, 1, 1, 1, 2, '{}'), ('l1', 'p', 't', 'lb1', 'TCP', 80, 2, 2, 2, NULL, '{}'),
  ('l2', 'p', 't', 'lb1', 'UDP', 80, 1, 1, 1, NULL, '{}'), ('l3', 'p', 't', 'lb2', 'HTTPS', 443, 1, 1, 1, NULL, '{}'),
  ('l4', 'p', 't', 'lb3', 'HTTP', 80, 1, 1, 1, NULL, '{}');
"""


def test_load_balancers_that_were_on_a_host_s_addresses_share_them_and_have_their_ports(empty_url):
    migrate.upgrade(empty_url, "0007")
    database = Database(empty_url)
    with database.transaction() as tx:
        for statement in filter(str.strip, OLD_ROWS.split(";\n")):
            tx.connection.exec_driver_sql(statement)
    database.close()
    migrate.upgrade(empty_url)
    database = Database(empty_url)
    with database.read() as tx:
        shared = tx.connection.execute(text("SELECT id, sharer FROM port ORDER BY id")).all()
        bound = tx.connection.execute(text("SELECT * FROM binding ORDER BY listener_id")).all()
    database.close()
    assert [(*row,) for row in shared] == [("p1", "lb1"), ("p2", ""), ("p3", ""), ("p4", "")]
    assert [(*row,) for row in bound] == [
        ("192.0.2.5", 80, "TCP", "l1", "lb1"), ("192.0.2.5", 80, "UDP", "l2", "lb1"),
        ("192.0.2.6", 443, "TCP", "l3", "lb2"),
    ]  # fmt: skip
