# SPDX-License-Identifier: Apache-2.0
"""`caryatid dns`: looks after the embedded name server of this installation.

SIGINT ends the name server; SIGTERM, and the death of this process, leave it answering, and the next start takes it up.
"""

import os
import random
import select
import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from caryatid import log
from caryatid.config import Settings
from caryatid.errors import CaryatidError
from caryatid.services import process
from caryatid.services.nameserver import GEO_PACKAGE, NameServer, embedded, has_geo, missing, watched

BACK_OFF_MAX_S = 30.0
STEADY_S = 5.0


def run(settings: Settings) -> None:
    """Until told to stop. Raises CaryatidError if there is nothing to look after."""
    log.configure(settings.log_level, settings.log_format, service="dns")
    process.follow_parent()
    process.keep_memory()
    server = embedded(settings)
    if server is None:
        packages = missing()
        what = f"It needs PowerDNS: apt-get install {packages}." if packages else "The setting dns_listen is empty."
        raise CaryatidError(f"There is no name server to look after. {what}")
    if settings.dns_geo_databases and not has_geo():
        log.get().warning("the name server does not know where clients are", remedy=f"apt-get install {GEO_PACKAGE}")
    with _signals() as told:
        _look_after(server, told)
        if told.first == signal.SIGINT:
            server.stop()


class _Told:
    """The first signal that came, and a descriptor that can be read from then on."""

    def __init__(self, descriptor: int) -> None:
        self.first: int | None = None
        self.descriptor = descriptor

    def wait(self, seconds: float | None, *others: int) -> bool:
        """Until a signal comes, something can be read of the others, or the time is over. True: a signal came."""
        select.select([self.descriptor, *others], [], [], seconds)
        return self.first is not None


@contextmanager
def _signals() -> Iterator[_Told]:
    reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    told = _Told(reader)

    def tell(number: int, _frame: object) -> None:
        told.first = told.first or number

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, tell)
    signal.set_wakeup_fd(writer)
    try:
        yield told
    finally:
        signal.set_wakeup_fd(-1)
        os.close(reader)
        os.close(writer)


def _look_after(server: NameServer, told: _Told) -> None:
    """Whatever ends it, it is started again, later each time that it does not last."""
    process.ready()
    log.get().info("ready", listen=f"{server.address}:{server.port}", found=server.running())
    failures = 0
    while told.first is None:
        began = time.monotonic()
        try:
            _serve_once(server, told)
            why = server.complaint()
        except (OSError, sqlite3.Error) as error:
            why = str(error)
        if told.first is not None:
            return
        failures = 0 if time.monotonic() - began > STEADY_S else failures + 1
        pause_s = min(BACK_OFF_MAX_S, 0.2 * 2**failures) * random.uniform(0.5, 1)  # noqa: S311  jitter
        log.get().warning("the name server has ended", again_in_s=round(pause_s, 1), said=why)
        told.wait(pause_s if failures else 0)


def _serve_once(server: NameServer, told: _Told) -> None:
    """One process, found or started, until it ends or a signal comes."""
    if server.prepare() and server.stop():
        log.get().info("the name server is configured otherwise")
    pid = server.running()
    ours = server.start() if pid is None else None
    with suppress(ProcessLookupError), watched(ours.pid if ours else pid or 0) as ended:
        if told.wait(None, ended):
            return
    if ours is not None:
        ours.wait()
