# SPDX-License-Identifier: Apache-2.0
"""The checker's process; and the same as a task of another one."""

import asyncio
import contextlib
import resource
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import uvloop

from caryatid import log, metrics, tracing
from caryatid.checker import identity
from caryatid.checker.identity import Identity, Place
from caryatid.checker.run import Checker
from caryatid.config import Settings
from caryatid.services import process

FILES_KEPT = 256
"""Open files that are not for checks."""
T = TypeVar("T")
TOKEN = "token"  # noqa: S105  a file's name


def place_of(settings: Settings, token_file: Path | None = None) -> Place:
    """Where the checker of the region that is set keeps who it is. A token is looked for there, where none is named."""
    directory = settings.state_dir / "checker" / (settings.checker_region or "any")
    urls = [url.rstrip("/") for url in settings.checker_join.split(",") if url]
    return Place(directory, settings.checker_region, urls, token_file or directory / TOKEN)


def run(settings: Settings, token_file: Path | None = None) -> None:
    """Checks until told to stop, and gives back what it holds. Raises CaryatidError if that cannot begin."""
    log.configure(settings.log_level, settings.log_format, service="checker")
    tracing.configure(settings.otel_endpoint, "checker")
    process.follow_parent()
    process.keep_memory()
    process.open_many()
    process.show_metrics(settings.checker_metrics_listen, metrics.shown((metrics.CHECKER,)))
    uvloop.run(_run(settings, place_of(settings, token_file)))


async def _run(settings: Settings, place: Place) -> None:
    stop = asyncio.Event()
    serving = asyncio.create_task(serve(settings, place, stop, process.ready))
    told = asyncio.create_task(process.stopped())
    await asyncio.wait({serving, told}, return_when=asyncio.FIRST_COMPLETED)
    stop.set()
    await serving
    told.cancel()


async def serve(settings: Settings, place: Place, stop: asyncio.Event, ready: Callable[[], None] | None = None) -> None:
    """Be this region's checker until `stop` is set; then what was held has been given back. `ready` is called when it
    is enrolled. Raises CaryatidError if it cannot be: `core` runs it so, too, through the same door."""
    begun = await _unless(stop, identity.obtain(place))
    if begun is None:
        return
    try:
        checker = Checker(
            begun.client,
            concurrency=_concurrency(settings.checker_concurrency),
            percent=settings.checker_quarantine_percent,
            programs=[word.strip() for word in settings.checker_programs.split(",") if word.strip()],
        )
        log.get().info("checker ready", checker=begun.enrolment.checker_id, region=begun.enrolment.region)
        if ready is not None:
            ready()
        await _unless(stop, _both(checker, begun))
    finally:
        await begun.close()


async def _both(checker: Checker, begun: Identity) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(checker.run())
        group.create_task(begun.keep())


async def _unless(stop: asyncio.Event, work: Coroutine[Any, Any, T]) -> T | None:
    """What comes of it, or None when `stop` is set before; it has ended then."""
    working, stopping = asyncio.create_task(work), asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else None
    finally:
        stopping.cancel()
        working.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await working


def _concurrency(wanted: int) -> int:
    """Each check has a connection, and some two."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return wanted if soft == resource.RLIM_INFINITY else max(1, min(wanted, (soft - FILES_KEPT) // 2))
