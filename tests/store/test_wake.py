# SPDX-License-Identifier: Apache-2.0
import socket
import subprocess
import sys
import threading

import pytest

from caryatid.store import wake
from caryatid.store.database import Database

SOON_S = 5
OTHER_PROCESS = """
import sys
from caryatid.store import wake
from caryatid.store.database import Database
database = Database(sys.argv[1])
with database.transaction() as tx:
    wake.notify(tx, "work")
database.close()
"""


class Bell(threading.Event):
    count = 0

    def ring(self):
        self.count += 1
        self.set()


@pytest.fixture
def wakeups(database):
    listening = wake.Wakeups(database)
    listening.start()
    yield listening
    listening.close()


@pytest.fixture
def bell(wakeups):
    bell = Bell()
    wakeups.subscribe("work", bell.ring)
    return bell


def ring(database, channel="work", *, fail=False):
    with database.transaction() as tx:
        wake.notify(tx, channel)
        wake.notify(tx, channel)
        if fail:
            raise ZeroDivisionError


def test_a_commit_wakes_who_listens(database, bell):
    ring(database)
    assert bell.wait(SOON_S)


def test_every_connected_process_is_woken_by_another(database, database_url, bell, wakeups):
    second = Bell()
    others = wake.Wakeups(Database(database_url))
    others.start()
    others.subscribe("work", second.ring)
    try:
        subprocess.run([sys.executable, "-c", OTHER_PROCESS, database_url], check=True, timeout=30)
        assert bell.wait(SOON_S)
        assert second.wait(SOON_S)
    finally:
        others.close()
        others._database.close()


def test_what_is_rolled_back_wakes_nobody_and_other_channels_neither(database, bell, wakeups):
    last = Bell()
    wakeups.subscribe("last", last.ring)
    with pytest.raises(ZeroDivisionError):
        ring(database, fail=True)
    ring(database, "other")
    ring(database, "last")
    assert last.wait(SOON_S)
    assert bell.count == 0


def test_one_commit_wakes_who_listens_to_any_of_its_channels(database, bell, wakeups):
    jobs = Bell()
    wakeups.subscribe("jobs", jobs.ring)
    with database.transaction() as tx:
        for channel in ("work", "jobs", "work"):
            wake.notify(tx, channel)
    assert bell.wait(SOON_S)
    assert jobs.wait(SOON_S)


def test_who_no_longer_listens_is_not_woken(database, wakeups):
    gone, last = Bell(), Bell()
    wakeups.subscribe("work", gone.ring)()
    wakeups.subscribe("work", last.ring)
    ring(database)
    assert last.wait(SOON_S)
    assert gone.count == 0


def test_sockets_of_dead_processes_are_removed(database, tmp_path, bell):
    if database.dialect == "postgresql":
        return  # has no sockets
    folder = tmp_path / "caryatid.db.wake"
    dead = wake.Wakeups(database)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as closed:
        dead._hear(closed, "work")
    assert len(list(folder.iterdir())) == 2
    ring(database)
    assert bell.wait(SOON_S)
    assert len(list(folder.iterdir())) == 1
    dead.close()
    assert folder.stat().st_mode & 0o777 == 0o700


def test_a_lost_connection_is_made_again(database, bell):
    if database.dialect == "sqlite":
        return  # has no connection to lose
    end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'caryatid-wake'"
    with database.transaction() as tx:
        tx.connection.exec_driver_sql(end)
    assert bell.wait(SOON_S), "who may have missed something looks again"
    for _ in range(20):
        bell.clear()
        ring(database)
        if bell.wait(0.5):
            return
    pytest.fail("nobody listens any more")


def test_who_does_not_listen_to_a_channel_is_not_rung(database, tmp_path, bell):
    if database.dialect == "postgresql":
        return  # the server decides
    others = wake.Wakeups(database)
    others.start()
    heard = threading.Event()
    others.subscribe("jobs", heard.set)
    others.subscribe("events", heard.set)
    names = sorted(path.name.split(".")[0] for path in (tmp_path / "caryatid.db.wake").iterdir())
    assert names == ["events", "jobs", "work"]
    ring(database)
    assert bell.wait(SOON_S)
    assert not heard.is_set()
    with database.transaction() as tx:
        wake.notify(tx, "events")
    assert heard.wait(SOON_S)
    others.close()
