# SPDX-License-Identifier: Apache-2.0
"""The `caryatid` of a shell that types many commands: loaded once, and forked for each.

A command is the same function with the same arguments, environment, directory and files as one that is started; what
it does not do is to load Python's modules again, which is most of what it takes.
"""

import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

LONG = ("up", "down", "agent", "checker", "api", "core", "worker", "health", "housekeeping", "conductor", "db", "host")
"""Commands that are started as they are: they run long, or with the database."""
CLIENT = """#!{python} -SE
import json, os, socket, sys
if sys.argv[1:2] and sys.argv[1] in {long!r} and sys.argv[1:3] not in {short!r}:
    os.execv({program!r}, [{program!r}, *sys.argv[1:]])
door = socket.socket(socket.AF_UNIX)
door.connect({place!r})
said = json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ)]).encode()
socket.send_fds(door, [len(said).to_bytes(4, "big")], [0, 1, 2])
door.sendall(said)
sys.exit(door.recv(1)[0])
"""
SHORT = [["host", word] for word in ("list", "show", "set", "drain", "enable", "evacuate", "delete")]


class Loaded:
    """A folder for the front of PATH, in which `caryatid` is such a one."""

    def __init__(self, folder: Path) -> None:
        place = folder / "door"
        (folder / "bin").mkdir(parents=True)
        program = Path(sys.executable).parent / "caryatid"
        client = folder / "bin" / "caryatid"
        client.write_text(
            CLIENT.format(python=sys.executable, long=LONG, short=SHORT, program=str(program), place=str(place))
        )
        client.chmod(0o755)
        self.bin = client.parent
        self._process = subprocess.Popen([sys.executable, __file__, str(place)], stdout=subprocess.PIPE)
        assert self._process.stdout.readline() == b"ready\n"

    def close(self) -> None:
        self._process.stdout.close()
        self._process.terminate()
        self._process.wait(10)


def serve(place: str) -> None:
    import httpx2  # noqa: F401  loaded late by commands
    import rich.progress
    import rich.table  # noqa: F401  loaded late by commands

    import caryatid.cli.commands  # noqa: F401  loaded late, too
    from caryatid.__main__ import main

    door = socket.socket(socket.AF_UNIX)
    door.bind(place)
    door.listen()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    print("ready", flush=True)
    while True:
        asked, _ = door.accept()
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            _watch(asked, main)
        asked.close()


def _watch(asked: socket.socket, main) -> None:
    """One command: a child of its own, whose status is told."""
    length, files, _, _ = socket.recv_fds(asked, 4, 3)
    said = asked.recv(int.from_bytes(length, "big"), socket.MSG_WAITALL)
    if (child := os.fork()) == 0:
        _become(json.loads(said), files, main)
    with suppress(OSError):
        asked.sendall(bytes([os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) & 255]))
    os._exit(0)


def _become(said, files, main) -> None:
    words, directory, environment = said
    for target, source in enumerate(files):
        os.dup2(source, target)
    os.chdir(directory)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["caryatid", *words]
    status = 1
    try:
        main()
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    serve(sys.argv[1])
