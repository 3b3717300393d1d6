# SPDX-License-Identifier: Apache-2.0
"""`caryatid up` as an operator meets it: crashes, upgrades, stops and starts."""

import os
import shutil
import signal
import sqlite3
import subprocess
from pathlib import Path

import pytest

from bench.backends import Server, ask
from bench.installation import Installation
from bench.waiting import alive, until


def serves(loadbalancer: dict) -> bool:
    return ask(loadbalancer["vip_address"])[0] == 200


@pytest.fixture
def started(own_installation: Installation) -> Installation:
    return own_installation.start()


def test_traffic_flows_while_a_killed_core_is_started_again(started: Installation, servers: list[Server]) -> None:
    loadbalancer = started.loadbalancer([servers[0].port])
    core = started.services()["core"]
    os.kill(core, signal.SIGKILL)
    assert all(serves(loadbalancer) for _ in range(20))
    until(lambda: started.services().get("core", core) != core, "another core is there")
    pool_id = loadbalancer["pools"][0]["id"]
    member = {"address": "127.0.0.1", "protocol_port": servers[1].port}
    made = started.post(f"pools/{pool_id}/members", {"member": member})
    started.active(f"pools/{pool_id}/members/{made['id']}")
    assert {ask(loadbalancer["vip_address"])[2] for _ in range(4)} == {"one", "two"}


def test_sigterm_leaves_traffic_and_the_next_start_takes_it_up(started: Installation, servers: list[Server]) -> None:
    loadbalancer = started.loadbalancer([servers[0].port])
    before = started.haproxies()
    assert started.stop(signal.SIGTERM) == 0
    assert serves(loadbalancer)
    assert started.haproxies() == before
    assert {pid for one in before.values() for pid in (one.master, *one.workers)} == set(started.leftovers())

    started.start()
    assert started.haproxies() == before, "it was started anew, not taken up"
    pool_id = loadbalancer["pools"][0]["id"]
    started.put(f"pools/{pool_id}/members", {"members": [{"address": "127.0.0.1", "protocol_port": servers[1].port}]})
    until(lambda: ask(loadbalancer["vip_address"])[2] == "two", "the new member serves")

    assert started.stop(signal.SIGINT) == 0
    assert not serves(loadbalancer)
    assert started.leftovers() == []


def test_an_installation_that_was_killed_whole_comes_back(started: Installation, servers: list[Server]) -> None:
    loadbalancer = started.loadbalancer([servers[0].port])
    before = started.haproxies()
    for pid in (started.process.pid, *started.services().values()):
        os.kill(pid, signal.SIGKILL)
    started.process.wait()
    assert serves(loadbalancer)
    started.start()
    assert started.haproxies() == before
    assert serves(loadbalancer)


def test_down_stops_everything(started: Installation, servers: list[Server]) -> None:
    loadbalancer = started.loadbalancer([servers[0].port])
    done = started.command("down")
    assert (done.returncode, done.stdout.strip()) == (0, "Stopped.")
    assert started.process.wait(20) == 0
    assert not serves(loadbalancer)
    assert started.leftovers() == []
    assert "Nothing was running" in started.command("down").stdout


def test_down_ends_what_an_up_that_is_gone_has_left_serving(started: Installation, servers: list[Server]) -> None:
    loadbalancer = started.loadbalancer([servers[0].port])
    assert started.stop(signal.SIGTERM) == 0
    assert serves(loadbalancer)
    assert started.command("down").stdout.strip() == "Stopped."
    assert not serves(loadbalancer)
    assert started.leftovers() == []


def test_a_second_up_refuses(installation: Installation) -> None:
    services = installation.services()
    second = installation.command("up")
    assert second.returncode == 1
    assert "is up already" in second.stderr
    assert str(installation.process.pid) in second.stderr
    assert installation.services() == services


def test_keys_are_nobody_elses(installation: Installation) -> None:
    for path in installation.directory.rglob("*"):
        if path.name in {"master.key", "caryatid.db"} or "key" in path.suffix:
            assert path.stat().st_mode & 0o077 == 0, path
    assert installation.directory.stat().st_mode & 0o077 == 0


def test_an_older_database_is_copied_before_it_is_migrated(own_installation: Installation) -> None:
    database = own_installation.directory / "caryatid.db"
    with sqlite3.connect(database) as old:
        old.execute("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)")
        old.execute("CREATE TABLE of_old (word TEXT)")
        old.execute("INSERT INTO of_old VALUES ('kept')")
    old.close()
    own_installation.start()
    (copy,) = (own_installation.directory / "backups").iterdir()
    assert "alembic_version" in tables(copy)
    assert "loadbalancer" not in tables(copy)
    assert "loadbalancer" in tables(database)
    assert copy.stat().st_mode & 0o077 == 0
    assert own_installation.stop() == 0
    own_installation.start()
    assert len(list((own_installation.directory / "backups").iterdir())) == 1, "nothing was to be migrated"


def tables(database: Path) -> set[str]:
    with sqlite3.connect(database) as connection:
        found = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    connection.close()
    return found


def test_no_secret_is_in_a_process_list_or_a_log(installation: Installation, servers: list[Server]) -> None:
    made = installation.loadbalancer([servers[0].port])
    token = installation.command("host-token").stdout.strip()
    assert len(token) > 40
    listed = subprocess.run([shutil.which("ps"), "-eo", "args"], capture_output=True, text=True, check=True).stdout
    secret = (installation.directory / "master.key").read_bytes().strip()
    for text in (installation.log(1 << 20), listed):
        assert "PRIVATE KEY" not in text
        assert secret not in text.encode()
    installation.delete(f"loadbalancers/{made['id']}?cascade=true")


def test_it_says_so_when_its_port_is_taken(installation: Installation) -> None:
    other = Installation(environment={"CARYATID_LISTEN": installation.listen})
    try:
        process = other.spawn()
        assert process.wait(60) == 1
        assert "address already in use" in other.log().lower()
        assert not any(alive(pid) for pid in other.leftovers())
    finally:
        other.process = None
        other.close()
