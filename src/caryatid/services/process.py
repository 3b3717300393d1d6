# SPDX-License-Identifier: Apache-2.0
"""What every service's process does alike: tell that it is ready, end with its parent, stop when told."""

import asyncio
import contextlib
import ctypes
import gc
import os
import resource
import signal
from collections.abc import Iterator

import prometheus_client
from prometheus_client import CollectorRegistry

from caryatid import log
from caryatid.errors import CaryatidError

READY_FD = "CARYATID_READY_FD"
PARENT = "CARYATID_PARENT"
PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
CORE_BYTES = 1
"""Too few for a file; and of this number alone the kernel gives nothing to programs that collect dumps either, which
some of them keep even if the limit is 0 (core(5), fs/coredump.c)."""
GC_THRESHOLDS = (100_000, 20, 20)


def follow_parent() -> None:
    """SIGTERM comes to this process when the `caryatid up` that started it is no more; no effect without one."""
    parent = os.environ.get(PARENT)
    if not parent:
        return
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != int(parent):
        os.kill(os.getpid(), signal.SIGTERM)


def keep_memory() -> None:
    """What is secret in memory is not written anywhere if this process, or an HAProxy that it starts, crashes; and no
    other process of the same user can look at this one's."""
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    most = CORE_BYTES if hard == resource.RLIM_INFINITY else min(hard, CORE_BYTES)
    resource.setrlimit(resource.RLIMIT_CORE, (most, most))
    ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0)


def open_many() -> None:
    """As many connections as the system allows this process at all."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def ready() -> None:
    """Whoever started this process is told that it does its work now.

    What has been made until now stays; the garbage collector need not look at it again and again, nor look as often
    while long lists are being read.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    descriptor = os.environ.pop(READY_FD, "")
    if descriptor:
        with contextlib.suppress(OSError):
            os.write(int(descriptor), b"1")
            os.close(int(descriptor))


def show_metrics(address: str, registry: CollectorRegistry) -> None:
    """Metrics are shown at `address` (empty: nowhere); that somebody else listens there is no reason not to work."""
    if not address:
        return
    host, port = split(address)
    try:
        prometheus_client.start_http_server(port, host, registry)
    except OSError as error:
        log.get().warning("metrics are not shown", listen=address, reason=str(error))


async def stopped() -> signal.Signals:
    """The signal that ends this process: SIGINT (with the data plane) or SIGTERM (without)."""
    loop = asyncio.get_running_loop()
    told: asyncio.Future[signal.Signals] = loop.create_future()

    def tell(number: signal.Signals) -> None:
        if not told.done():
            told.set_result(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, tell, number)
    return await told


@contextlib.contextmanager
def cannot_listen(who: str, address: str) -> Iterator[None]:
    """An address that cannot be listened on is told in a sentence. Raises CaryatidError."""
    try:
        yield
    except OSError as error:
        raise CaryatidError(f"The {who} cannot listen on {address}: {error.strerror}.") from error


def split(address: str) -> tuple[str, int]:
    """Host and port of `host:port`; the host of an IPv6 address without its brackets."""
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)
