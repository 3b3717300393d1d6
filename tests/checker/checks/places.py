# SPDX-License-Identifier: Apache-2.0
"""Places to be checked, good ones and bad ones, and one try of them."""

import asyncio
import select
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from subprocess import PIPE, STDOUT

from caryatid.checker.outcome import Outcome
from caryatid.checker.targets import Targets
from caryatid.checker.trying import Tries
from caryatid.wire.checks import Check

LOOPBACK = ("127.0.0.0/8", "::1/128")
LONG_S = 20
START_S = 20


def check(kind, port=None, *, address="127.0.0.1", timeout_s=LONG_S, parameters=None, **named) -> Check:
    return Check(
        monitor_id="m",
        member_id="1",
        share=0,
        version="1",
        type=kind,
        address=address,
        port=port,
        interval_s=60,
        timeout_s=timeout_s,
        retries=0,
        rise=1,
        fall=1,
        rapid_recheck=False,
        inverted=False,
        parameters={**(parameters or {}), **named},
    )


def tried(wanted: Check, *, allowed=LOOPBACK, programs=(), names=None, contents=None) -> Outcome:
    """What comes of one try. `names`: what the machine's name servers know; `contents`: what the conductor has told of
    the key store."""

    async def look_up(name):
        return (names or {})[name], 60.0

    async def once():
        tries = Tries(Targets(allowed, []), programs, look_up)
        tries.know(contents or {})
        try:
            return await tries.once(wanted)
        finally:
            await tries.close()

    return asyncio.run(once())


def bound() -> socket.socket:
    return socket.create_server(("127.0.0.1", 0), backlog=1024)


@contextmanager
def silent() -> Iterator[int]:
    """The port of a server that takes connections and says nothing."""
    with bound() as listener:
        yield listener.getsockname()[1]


@contextmanager
def serving(talk: Callable[[socket.socket], None]) -> Iterator[int]:
    """The port of a server that talks so to each who comes, and then closes."""
    with bound() as listener:
        threading.Thread(target=_accept, args=(listener, talk), daemon=True).start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)


def _accept(listener, talk):
    with suppress(OSError):
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=_talk, args=(connection, talk), daemon=True).start()


def _talk(connection, talk):
    with suppress(OSError), connection:
        connection.settimeout(LONG_S)
        talk(connection)


def saying(answer: bytes):
    """Reads a request, answers so, and waits until the other has gone."""

    def talk(connection):
        connection.recv(65536)
        connection.sendall(answer)
        connection.recv(1)

    return talk


@contextmanager
def openssl(folder, paper, *options) -> Iterator[int]:
    """The port of an `openssl s_server` with the certificate."""
    file = folder / "server.pem"
    file.write_bytes(paper.pem + paper.key_pem)
    words = ["openssl", "s_server", "-accept", "127.0.0.1:0", "-cert", str(file), "-key", str(file), *options]
    with subprocess.Popen(words, bufsize=0, stdin=PIPE, stdout=PIPE, stderr=STDOUT) as process:
        try:
            yield _told(process)
        finally:
            process.kill()


def _told(process) -> int:
    """The port that it says it listens at."""
    while select.select([process.stdout], [], [], START_S)[0] and (line := process.stdout.readline()):
        if line.startswith(b"ACCEPT"):
            return int(line.rsplit(b":", 1)[1])
    raise AssertionError("openssl s_server does not start")
