# SPDX-License-Identifier: Apache-2.0
"""What a command shows of who gives it, and to whom."""

import os
import shutil
import subprocess
import sys

import pytest

from caryatid.cli import credentials
from caryatid.cli.client import local_port

SOMEBODY = 12345
PYTHON = shutil.which("python3", path="/usr/bin:/bin") or sys.executable
"""That anybody may run."""
LISTEN = """
import socket, sys
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
sys.stdin.read()
"""


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("CARYATID_STATE_DIR", str(tmp_path))
    monkeypatch.delenv("CARYATID_TOKEN", raising=False)
    (tmp_path / "admin.token").write_text("cyt_secret\n")


@pytest.fixture
def listening():
    """The port of a program that listens, as the user of that number."""
    started = []

    def start(uid):
        words = [] if uid == os.getuid() else ["setpriv", f"--reuid={uid}", "--clear-groups"]
        process = subprocess.Popen(
            [*words, PYTHON, "-c", LISTEN], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        return int(process.stdout.readline())

    yield start
    for process in started:
        process.communicate("", timeout=10)


def test_the_first_administrators_token_is_shown_to_our_own_machine(home, listening):
    port = listening(os.getuid())
    assert credentials.headers(None, None, port) == {"X-Auth-Token": "cyt_secret"}
    assert credentials.headers(None, None, None) == {}


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be somebody else")
def test_the_first_administrators_token_is_not_shown_to_whoever_has_taken_the_port(home, listening):
    assert credentials.headers(None, None, listening(SOMEBODY)) == {}


@pytest.mark.parametrize(
    ("url", "port"),
    [
        ("http://127.0.0.1:9876", 9876),
        ("http://localhost", 80),
        ("https://[::1]/x", 443),
        ("http://192.0.2.1:9876", None),
        ("http://example.org", None),
        ("http://127.0.0.1:x", None),
    ],
)
def test_only_loopback_is_this_machine(url, port):
    assert local_port(url) == port
