# SPDX-License-Identifier: Apache-2.0
"""A program of the operator's. It gets an empty environment, limits and a process group, which is ended with it."""

import asyncio
import math
import os
import signal
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

from caryatid.model.gslb.parameters import Exec as Parameters

from .base import BYTES_MAX, Failed, Means, Place, Unable, read

LIMITED: Final = (
    'ulimit -c 0 && ulimit -n 64 && ulimit -f 2048 && ulimit -v 1048576 && ulimit -t "$1" && shift && exec "$@"'
)
"""Said to a shell, which becomes the program: no core, 64 files, none over 1 MiB, 1 GiB of memory, `$1` seconds of CPU.
Before that no code of somebody else runs, so nothing escapes the limits."""
NOT_STARTED: Final = frozenset({126, 127})
"""What the shell ends with if it could not become the program."""
PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
RUNNING_MAX: Final = 64
SHOWN_MAX: Final = 200
END_S: Final = 1.0
"""For which the end of what was killed is waited for."""


class Exec:
    def __init__(self, parameters: Mapping[str, Any], means: Means) -> None:
        self._wanted = read(Parameters, parameters)
        self._programs = means.programs
        if self._wanted.program not in self._programs.allowed:
            raise ValueError("program: it is none of those that this checker may start")

    async def ask(self, place: Place) -> None:
        if self._programs.running >= RUNNING_MAX:
            raise Unable(f"{RUNNING_MAX} programs are running already")
        self._programs.running += 1
        try:
            await self._run(place)
        finally:
            self._programs.running -= 1

    async def _run(self, place: Place) -> None:
        place.doing, place.measured = "waiting for the program's end", False
        arguments = [str(math.ceil(place.timeout_s) + 1), self._wanted.program, *self._wanted.arguments]
        process = await asyncio.create_subprocess_exec(
            *("/bin/sh", "-c", LIMITED, "check", *arguments),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=_environment(place),
            cwd="/",
            start_new_session=True,
        )
        try:
            said = await _said(process)
            code = await process.wait()
        finally:
            await _ended(process)
        if code in NOT_STARTED:
            raise Unable(f"{self._wanted.program} cannot be started: {_first(said)}")
        if code:
            raise Failed(f"{_first(said) or 'it says nothing'} (exit code {code}, expected 0)")


def _environment(place: Place) -> dict[str, str]:
    port = {"CARYATID_PORT": str(place.port)} if place.port is not None else {}
    told = {"CARYATID_ADDRESS": place.address, "CARYATID_TIMEOUT_S": f"{place.timeout_s:g}", **port}
    return {"PATH": PATH, "LANG": "C.UTF-8", **told}


async def _said(process: asyncio.subprocess.Process) -> bytes:
    said = bytearray()
    while process.stdout and (more := await process.stdout.read(BYTES_MAX)):
        said += more
        if len(said) > BYTES_MAX:
            raise Failed("it wrote more than 64 KiB")
    return bytes(said)


async def _ended(process: asyncio.subprocess.Process) -> None:
    """Nothing of its group runs any more."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    with suppress(TimeoutError):
        async with asyncio.timeout(END_S):
            await process.wait()


def _first(said: bytes) -> str:
    lines = said.decode(errors="replace").split("\n", 1)
    return lines[0].strip()[:SHOWN_MAX]
