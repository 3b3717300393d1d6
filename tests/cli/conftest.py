# SPDX-License-Identifier: Apache-2.0
"""Whole installations for commands to speak to: one that works in the noop world, one that has nowhere to build."""

import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest
from click.testing import CliRunner, Result

from caryatid.cli.main import cli

READY_S = 60
STOP_S = 30


@dataclass(frozen=True)
class Shell:
    """Runs commands in this process against one API."""

    url: str

    def run(self, *arguments, given=None) -> Result:
        words = [str(argument) for argument in arguments]
        return CliRunner(catch_exceptions=False).invoke(cli, words, input=given, env={"CARYATID_URL": self.url})

    def done(self, *arguments, given=None) -> Result:
        """The same, and it went well."""
        result = self.run(*arguments, given=given)
        assert result.exit_code == 0, result.output
        return result

    def json(self, *arguments, given=None):
        return json.loads(self.done(*arguments, "--json", given=given).stdout)


def free_port(kind=socket.SOCK_STREAM) -> int:
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def environment_of(directory, **settings) -> dict[str, str]:
    """Settings of an installation that shares nothing with another."""
    own = {
        "state_dir": directory,
        "listen": f"127.0.0.1:{free_port()}",
        "conductor_listen": f"127.0.0.1:{free_port()}",
        "health_listen": f"127.0.0.1:{free_port(socket.SOCK_DGRAM)}",
        "dns_listen": "",
        "identity_driver": "noauth",  # who asks is another matter
        **settings,
    }
    return {**os.environ, **{f"CARYATID_{name.upper()}": str(value) for name, value in own.items()}}


@contextmanager
def process(environment, *arguments, ready):
    """`caryatid …` from the moment it says `ready` on standard error."""
    command = [sys.executable, "-m", "caryatid", *arguments]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, start_new_session=True) as running:
        try:
            _wait_for(running, ready.encode())
            yield running
        finally:
            running.send_signal(signal.SIGINT)
            try:
                running.communicate(timeout=STOP_S)
            except subprocess.TimeoutExpired:
                os.killpg(running.pid, signal.SIGKILL)
                running.communicate()
                raise


def _wait_for(running, words):
    said, deadline = b"", time.monotonic() + READY_S
    while words not in said:
        left = deadline - time.monotonic()
        assert left > 0, said.decode()
        assert select.select([running.stderr], [], [], left)[0], said.decode()
        chunk = os.read(running.stderr.fileno(), 65536)
        assert chunk, said.decode()
        said += chunk


@pytest.fixture(scope="session")
def installation():
    """URL of an installation in the noop world: everything becomes ACTIVE by itself."""
    with tempfile.TemporaryDirectory(prefix="cy") as directory:
        environment = environment_of(directory)
        with process(environment, "up", "--drivers", "noop", ready="Caryatid is up"):
            yield f"http://{environment['CARYATID_LISTEN']}"


@pytest.fixture(scope="session")
def guarded():
    """Settings of one that knows its users, and has left what lets in its first administrator."""
    with tempfile.TemporaryDirectory(prefix="cy") as directory:
        environment = environment_of(directory, identity_driver="local")
        environment["CARYATID_URL"] = f"http://{environment['CARYATID_LISTEN']}"
        with process(environment, "up", "--drivers", "noop", ready="Caryatid is up"):
            yield environment


@pytest.fixture(scope="session")
def without_hosts():
    """URL of an installation that has no host to build on: jobs are retried, and fail after some seconds."""
    with tempfile.TemporaryDirectory(prefix="cy") as directory, ExitStack() as stack:
        settings = {"amphora_driver": "noop", "network_driver": "noop", "provisioning_deadline_s": 2}
        environment = environment_of(Path(directory), **settings)
        subprocess.run([sys.executable, "-m", "caryatid", "db", "upgrade"], env=environment, check=True)
        stack.enter_context(process(environment, "core", ready='"event": "ready"'))
        stack.enter_context(process(environment, "api", ready='"event": "ready"'))
        yield f"http://{environment['CARYATID_LISTEN']}"


@pytest.fixture
def shell(installation):
    return Shell(installation)


@pytest.fixture
def name():
    """A name that nothing else has."""
    return f"x{uuid4().hex[:12]}"


@pytest.fixture
def shell_of():
    return Shell


@pytest.fixture
def unused_port():
    return free_port()


@pytest.fixture
def environment_for():
    return environment_of
