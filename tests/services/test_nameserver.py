# SPDX-License-Identifier: Apache-2.0
"""The embedded name server is nobody else's, answers while all the rest is away, and is put right by who comes next."""

import contextlib
import os
import signal
import stat
import subprocess
import sys
from dataclasses import replace

import pytest

from bench.waiting import until
from caryatid.config import Settings
from caryatid.drivers.dns.asking import Question, ask
from caryatid.services import nameserver
from caryatid.services.nameserver import NameServer
from tests.drivers.powerdns_server import own_port

WAIT_S = 30


@pytest.fixture
def server(tmp_path):
    made = NameServer(tmp_path / "dns", "127.0.0.1", own_port())
    yield made
    made.stop()


@contextlib.contextmanager
def ended(server):
    try:
        yield
    finally:
        server.stop()


@contextlib.contextmanager
def looked_after(server, **environment):
    """`caryatid dns` runs; it has ended afterwards."""
    known = {
        "CARYATID_STATE_DIR": str(server.directory.parent),
        "CARYATID_DNS_LISTEN": f"{server.address}:{server.port}",
        "CARYATID_LOG_FORMAT": "json",
    }
    words = [sys.executable, "-m", "caryatid", "dns"]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CARYATID_")}
    with (server.directory.parent / "said").open("ab") as log:
        process = subprocess.Popen(words, env={**kept, **known, **environment}, stdout=log, stderr=log)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def told(process, number):
    process.send_signal(number)
    return process.wait(WAIT_S)


def answers(server):
    question = Question("nobody.example.", "A")
    (replies,) = ask([(server.address, server.port)], [question], 0.5).values()
    return replies[question].problem == "answers REFUSED"  # it is there, and has no such zone


def up(server, *, other_than=None):
    """The process that answers."""
    until(lambda: server.running() not in {None, other_than} and answers(server), "it answers", WAIT_S)
    return server.running()


def test_what_it_keeps_is_nobody_elses_to_read(server):
    server.prepare()
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in server.directory.iterdir()}
    assert modes == {"api.key": 0o600, "api.port": 0o600, "pdns.conf": 0o600, "run": 0o700, "zones.sqlite3": 0o600}
    assert stat.S_IMODE(server.directory.stat().st_mode) == 0o700
    assert len(server.key) >= 32


def test_key_port_and_zones_stay_whoever_prepares_it(server):
    assert server.prepare()
    before = server.key, server.url, (server.directory / "zones.sqlite3").read_bytes()
    again = NameServer(server.directory, "127.0.0.1", server.port)
    assert not again.prepare()
    assert (again.key, again.url, (again.directory / "zones.sqlite3").read_bytes()) == before
    assert replace(again, port=server.port + 1).prepare()


def test_it_outlives_who_looks_after_it_and_is_taken_up_again(server):
    with looked_after(server) as process:
        pid = up(server)
        assert told(process, signal.SIGTERM) == 0
    assert up(server) == pid
    with looked_after(server) as process:
        until(lambda: '"found": ' + str(pid) in (server.directory.parent / "said").read_text(), "it is found", WAIT_S)
        assert up(server) == pid
        os.kill(pid, signal.SIGKILL)  # it is put right also by who has only found it
        another = up(server, other_than=pid)
        os.kill(another, signal.SIGKILL)
        up(server, other_than=another)
        assert told(process, signal.SIGINT) == 0
    assert server.running() is None
    assert not answers(server)


def test_another_configuration_replaces_it(server):
    server = replace(server, directory=server.directory.parent / ("x" * 120) / "dns")  # no socket may be called so
    server.prepare()
    before = server.start()
    up(server)
    moved = replace(server, port=own_port())
    with ended(moved), looked_after(moved) as process:
        before.wait(WAIT_S)
        assert up(moved) != before.pid
        assert not answers(server)
        told(process, signal.SIGINT)


def test_what_keeps_it_from_starting_is_said_and_it_starts_when_that_is_over(server):
    said = server.directory.parent / "said"
    server.prepare()
    (server.directory / "zones.sqlite3").rename(server.directory / "away")
    (server.directory / "zones.sqlite3").mkdir()
    with looked_after(server) as process:
        until(lambda: "the name server has ended" in said.read_text(), "it is said", WAIT_S)
        (server.directory / "zones.sqlite3").rmdir()
        (server.directory / "away").rename(server.directory / "zones.sqlite3")
        up(server)
        assert told(process, signal.SIGINT) == 0


def test_without_powerdns_there_is_none_and_what_is_missing_is_said(tmp_path, monkeypatch):
    settings = Settings(state_dir=tmp_path, dns_listen="127.0.0.1:5300")
    assert nameserver.embedded(settings)
    monkeypatch.setattr(nameserver, "PATH", str(tmp_path))
    assert nameserver.embedded(settings) is None
    assert "pdns-server" in nameserver.missing()


def test_an_empty_address_is_none(tmp_path):
    assert nameserver.embedded(Settings(state_dir=tmp_path, dns_listen="")) is None


def test_nobody_elses_process_is_taken_for_it(server):
    server.prepare()
    words = [sys.executable, "-c", "input()", f"--config-dir={server.directory}"]
    with subprocess.Popen(words, stdin=subprocess.PIPE) as other:
        assert server.running() is None
        assert not server.stop()
        assert other.poll() is None
        other.communicate(b"\n")
    assert NameServer(server.directory / "another", "127.0.0.1", 0).running() is None
